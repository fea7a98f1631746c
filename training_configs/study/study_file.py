"""
The file of a study, checked: each mistake is one sentence that names the key.

Read by the Snakefile in Snakemake's own environment, so that it needs nothing but the standard library.
"""

import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import plan

# Where studies write to unless they say otherwise.
OUTPUT = "runs/study"
# What a row says that learns from gold tags alone.
NO_TEACHERS = "none"

_KEYS = (
    "baseline",
    "corpus",
    "cuda_device",
    "dev_sentences",
    "files",
    "frozen_encoder",
    "languages",
    "name",
    "output",
    "recombined",
    "rows",
    "samples",
    "seeds",
    "students",
    "task",
    "task_options",
    "teachers",
    "train_sentences",
    "unlabelled",
    "zero_shot",
)
_REQUIRED = ("name", "task", "files", "languages", "teachers", "rows", "baseline")
_ROW_KEYS = (
    "config",
    "k",
    "name",
    "options",
    "recombined",
    "seeds",
    "teachers",
    "unlabelled",
    "zero_shot_teachers",
)
_TEACHER_KEYS = ("config", "options")
_RECOMBINED_KEYS = ("languages", "new_words", "reader", "sentences")
_UNLABELLED_KEYS = ("files", "languages", "reader", "sentences", "skip")
# What the study itself decides on, for each run anew.
_OURS = (
    "frozen_encoder",
    "language",
    "languages",
    "seed",
    "stores",
    "task",
    "unlabelled",
    "unlabelled_reader",
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Neither what `allennlp compare NAME=PATH,PATH` splits at, nor what a table of Markdown does.
_ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .+()_-]*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEACHERS_NAME = re.compile(r"[a-z][a-z0-9]*")
# File systems take 255 bytes; logs have some more in their names.
_LONGEST_SPEAKERS = 180


class StudyError(Exception):
    """A mistake in the file of a study: one sentence that names the key."""


def study_of(given: Mapping[str, Any]) -> plan.Study:
    """
    Check the file of a study.

    # Parameters

    given : `Mapping[str, Any]`
        Its content.

    # Returns

    `Study` : with everything that the file leaves out at its default.

    # Raises

    `StudyError` : for the first mistake.
    """
    _known("", given, _KEYS)
    for key in _REQUIRED:
        if given.get(key) is None:
            raise StudyError(f"{key} is missing: {_PURPOSE[key]}")
    name = _text("name", given["name"], _STUDY_NAME, "letters, digits, '-', '_' and '.'")
    languages = _languages(given["languages"])
    corpus = given.get("corpus")
    if corpus is not None:
        _string("corpus", corpus)
    files = _pattern("files", given["files"], corpus, ("{language}", "{split}"))
    zero_shot = _zero_shot(given.get("zero_shot"), files, corpus, languages)
    teachers = _teachers(given["teachers"])
    unlabelled = _unlabelled(given.get("unlabelled"), corpus, [*languages, *zero_shot])
    recombined = _recombined(given.get("recombined"), languages)
    students = _mapping("students", given.get("students"))
    _known("students.", students, ("options",))
    shared = _options("students.options", students.get("options"))
    # The languages of further sentences; none where the study has no such sentences.
    more = {
        plan.UNLABELLED: None if unlabelled is None else list(unlabelled.files),
        plan.RECOMBINED: None if recombined is None else recombined.languages,
    }
    seeds = _seeds("seeds", given.get("seeds", [1]))
    rows = _with_speakers(_rows(given["rows"], shared, seeds, teachers, more), zero_shot)
    baselines = [row for row in rows if row.name == given["baseline"]]
    if not baselines:
        raise StudyError(
            f"baseline is {given['baseline']!r}, but the rows are {', '.join(row.name for row in rows)}: "
            "name one of them"
        )
    if len(rows) < 2:
        raise StudyError("rows has one row: a study compares at least one more with its baseline")
    for key in ("train_sentences", "dev_sentences"):
        if given.get(key) is not None and plan.suffix_of(files) == ".xml":
            raise StudyError(f"{key} is given, but XML cannot be cut: leave it out, or cut the files yourself")
    output = _string("output", given.get("output", OUTPUT))
    if any(character in output for character in "{},"):
        # Snakemake reads braces as wildcards, `allennlp compare` a comma as the end of a path.
        raise StudyError(f"output is {output}, but a folder here has neither braces nor commas")
    frozen = given.get("frozen_encoder")
    study = plan.Study(
        name=name,
        folder=f"{output.rstrip('/')}/{name}",
        task=_existing("task", given["task"]),
        task_options=_named_values("task_options", given.get("task_options"), ("file", "languages")),
        files=files,
        languages=languages,
        zero_shot=zero_shot,
        train_sentences=_optional_count("train_sentences", given.get("train_sentences")),
        dev_sentences=_optional_count("dev_sentences", given.get("dev_sentences")),
        teachers=teachers,
        rows=rows,
        baseline=baselines[0],
        frozen_encoder=None if frozen is None else _frozen_encoder(frozen),
        unlabelled=unlabelled,
        recombined=recombined,
        samples=_count("samples", given.get("samples", 10_000), least=100),
        cuda_device=_count("cuda_device", given.get("cuda_device", -1), least=-1),
    )
    _check_overlap(study)
    return study


def _check_overlap(study: plan.Study) -> None:
    """Sentences without tags must be others than the tagged ones."""
    if study.unlabelled is None:
        return
    for language, file in study.unlabelled.files.items():
        skipped = study.unlabelled.skip[language]
        if language in study.languages and os.path.normpath(file) == os.path.normpath(study.source(language, "train")):
            if study.train_sentences is None:
                raise StudyError(
                    f"unlabelled.files has the training sentences of {language}, all of which are trained on with "
                    "their tags: give train_sentences, and skip as many, or take other files"
                )
            if skipped < study.train_sentences:
                raise StudyError(
                    f"unlabelled.skip is {skipped} for {language}, but the first {study.train_sentences} sentences of "
                    "the same file are trained on with their tags (train_sentences): skip at least as many"
                )


def check_files(study: plan.Study) -> None:
    """
    Check that the user's files are there.

    # Raises

    `StudyError` : naming the first that is not.
    """
    missing = [source for source in study.sources() if not os.path.isfile(source)]
    if missing:
        more = f", nor {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StudyError(
            f"there is no file {missing[0]}{more}: correct files, zero_shot, unlabelled.files or corpus, "
            "which may be given on the command line as --config corpus=FOLDER"
        )


def _rows(
    given: Any,
    shared: Mapping[str, Any],
    seeds: Sequence[int],
    teachers: Mapping[str, plan.Teachers],
    more: Mapping[str, Optional[Sequence[str]]],
) -> List[plan.Row]:
    if not isinstance(given, list) or not given:
        raise StudyError("rows is a list of rows, each with name and config")
    rows: List[plan.Row] = []
    for number, row in enumerate(given, 1):
        rows += _expanded(f"rows, number {number}", row, shared, seeds, teachers, more)
    entries = [row.get("name") for row in given]
    named = (("name", entries), ("name", [row.name for row in rows]), ("name in files", [row.slug for row in rows]))
    for key, values in named:
        for value in values:
            if values.count(value) > 1:
                raise StudyError(f"rows has two of the {key} {value!r}: give each a name of its own")
    return rows


def _expanded(
    where: str,
    given: Any,
    shared: Mapping[str, Any],
    seeds: Sequence[int],
    teachers: Mapping[str, plan.Teachers],
    more: Mapping[str, Optional[Sequence[str]]],
) -> List[plan.Row]:
    """The rows of one entry: one for each K where it has several."""
    if not isinstance(given, Mapping):
        raise StudyError(f"{where}: a row is a mapping with name and config, not {given!r}")
    for key in ("name", "config"):
        if given.get(key) is None:
            raise StudyError(f"{where}: {key} is missing")
    name = _text(f"{where}: name", given["name"], _ROW_NAME, "letters, digits, spaces and . + - _ ( )")
    where = f"rows, {name}"
    _known(f"{where}: ", given, _ROW_KEYS)
    config = _existing(f"{where}: config", given["config"])
    options = {**shared, **_options(f"{where}: options", given.get("options"))}
    of_row = given.get("teachers", next(iter(teachers)))
    if not isinstance(of_row, str) or (of_row != NO_TEACHERS and of_row not in teachers):
        known = ", ".join((*teachers, NO_TEACHERS))
        raise StudyError(f"{where}: teachers is {of_row!r}, but must be one of {known}")
    learnt_from = None if of_row == NO_TEACHERS else of_row
    of_more = {
        kind: _more_of_row(where, kind, given.get(kind, False), learnt_from, languages)
        for kind, languages in more.items()
    }
    speakers = _names_of_rows(f"{where}: zero_shot_teachers", given.get("zero_shot_teachers"))
    if given.get("seeds") is not None:
        seeds = _seeds(f"{where}: seeds", given["seeds"])
    several = isinstance(given.get("k"), list)
    ks = _ks(where, given.get("k"), options)
    return [
        plan.Row(
            name=f"{name} ({k})" if several else name,
            slug=_slug(f"{name} {k}" if several else name),
            config=config,
            options=options if k is None else {**options, "k": k},
            teachers=learnt_from,
            family=None if k is None else name,
            k=k,
            seeds=seeds,
            # Names, until all rows are known.
            zero_shot_teachers=speakers,
            **of_more,
        )
        for k in ks
    ]


def _ks(where: str, given: Any, options: Mapping[str, Any]) -> Sequence[Optional[int]]:
    """The K of an entry's rows, one row each; of an entry without K, none for its one row."""
    if given is None:
        if options.get("labellings") == "legal" and not isinstance(options.get("k"), int):
            raise StudyError(f"{where}: labellings is legal, so that k must be given: stores hold the K best")
        return [None]
    if "k" in options:
        raise StudyError(f"{where}: k is given twice, for the row and in options")
    ks = [_count(f"{where}: k", k, least=1) for k in (given if isinstance(given, list) else [given])]
    if not ks or len(set(ks)) < len(ks):
        raise StudyError(f"{where}: k is {given}, but must be a number or a list of different numbers")
    return ks


def _names_of_rows(key: str, given: Any) -> List[str]:
    """One name or several, whether there are such rows or not."""
    names = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(names, list) or (given is not None and not names):
        raise StudyError(f"{key} is the name of a row or a list of names, not {given!r}")
    for name in names:
        _string(key, name)
        if names.count(name) > 1:
            raise StudyError(f"{key} names {name!r} twice")
    return names


def _with_speakers(rows: Sequence[plan.Row], zero_shot: Mapping[str, str]) -> List[plan.Row]:
    """Rows with the slugs of those that speak of zero-shot languages for them: rows above them, so that none waits."""
    above: Dict[str, str] = {}
    found = []
    for row in rows:
        key = f"rows, {row.name}: zero_shot_teachers"
        for name in row.zero_shot_teachers:
            if name not in above:
                known = f"there are {', '.join(above)}" if above else "there is none"
                raise StudyError(f"{key} has {name!r}, which is no row above it: {known}")
        if row.zero_shot_teachers and not any(language in zero_shot for language in row.unlabelled):
            raise StudyError(
                f"{key} is given, but the row has no sentences of a zero-shot language: add some to unlabelled, "
                "or leave it out"
            )
        # In the order of the rows: the same students are the same store.
        speakers = [slug for name, slug in above.items() if name in row.zero_shot_teachers]
        if len("+".join(speakers)) > _LONGEST_SPEAKERS:
            raise StudyError(f"{key}: {len(speakers)} rows with so long names are too much for the name of a file")
        found.append(row._replace(zero_shot_teachers=speakers))
        above[row.name] = row.slug
    return found


def _teachers(given: Any) -> Dict[str, plan.Teachers]:
    found: Dict[str, plan.Teachers] = {}
    for name, described in _mapping("teachers", given).items():
        _text("teachers: a name", name, _TEACHERS_NAME, "small letters and digits, a letter first")
        if name == NO_TEACHERS:
            raise StudyError(f"teachers: {NO_TEACHERS} is what rows without teachers say; name them otherwise")
        where = f"teachers.{name}"
        if not isinstance(described, Mapping) or described.get("config") is None:
            raise StudyError(
                f"{where}: config is missing, as in {name}: {{config: training_configs/teacher.libsonnet}}"
            )
        _known(f"{where}.", described, _TEACHER_KEYS)
        config = _existing(f"{where}.config", described["config"])
        # Teachers have one seed, which a study may want to choose.
        options = _options(f"{where}.options", described.get("options"), allowed=("seed",))
        found[name] = plan.Teachers(name, config, options)
    if not found:
        raise StudyError("teachers is empty: name at least one kind, as in crf: {config: ...}")
    return found


def _more_of_row(
    where: str, kind: str, given: Any, teachers: Optional[str], languages: Optional[Sequence[str]]
) -> Sequence[str]:
    """The languages of which a row has further sentences of a kind, of those that the study has them of."""
    if given is False:
        return ()
    if languages is None:
        raise StudyError(f"{where}: {kind} is given, but the study has no {kind} sentences: add the key {kind}")
    if teachers is None:
        raise StudyError(f"{where}: {kind} needs teachers: there is nothing else to learn from it")
    if given is True:
        return languages
    if not isinstance(given, list) or not given or any(language not in languages for language in given):
        raise StudyError(f"{where}: {kind} is {given!r}, but must be true or a list of {', '.join(languages)}")
    return given


def _unlabelled(given: Any, corpus: Optional[str], languages: Sequence[str]) -> Optional[plan.Unlabelled]:
    if given is None:
        return None
    described = _mapping("unlabelled", given)
    _known("unlabelled.", described, _UNLABELLED_KEYS)
    for key in ("files", "languages"):
        if described.get(key) is None:
            raise StudyError(f"unlabelled.{key} is missing, as in {{files: 'text/{{language}}.txt', languages: [en]}}")
    pattern = _pattern("unlabelled.files", described["files"], corpus, ("{language}",))
    named = _languages(described["languages"], "unlabelled.languages")
    for language in named:
        if language not in languages:
            raise StudyError(
                f"unlabelled.languages has {language}, which is neither trained on nor tested: take it out, or add it "
                "to languages or zero_shot"
            )
    reader = _reader("unlabelled.reader", described.get("reader", {"type": plan.PLAIN_TEXT}))
    skip = _skipped(described.get("skip", 0), named)
    sentences = _count("unlabelled.sentences", described.get("sentences", 0), least=0)
    if plan.suffix_of(pattern) == ".xml" and (sentences or any(skip.values())):
        raise StudyError("unlabelled has skip or sentences, but XML cannot be cut: leave them out")
    files = {language: plan.filled(pattern, language=language, split="train") for language in named}
    return plan.Unlabelled(files, reader, skip, sentences)


def _reader(key: str, given: Any) -> Mapping[str, Any]:
    reader = _mapping(key, given)
    if not isinstance(reader.get("type"), str):
        raise StudyError(f"{key}.type is missing, as in {{type: structkd_conllu, label: null}}")
    return reader


def _skipped(given: Any, languages: Sequence[str]) -> Dict[str, int]:
    """Of each language: what a number says of all, or a mapping of some, of the others nothing."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(languages, _count("unlabelled.skip", given, least=0))
    for language in given:
        if language not in languages:
            raise StudyError(f"unlabelled.skip has {language}, which unlabelled.languages does not have")
    return {language: _count(f"unlabelled.skip.{language}", given.get(language, 0), least=0) for language in languages}


def _recombined(given: Any, languages: Sequence[str]) -> Optional[plan.Recombined]:
    if given is None:
        return None
    described = _mapping("recombined", given)
    _known("recombined.", described, _RECOMBINED_KEYS)
    for key in ("reader", "sentences"):
        if described.get(key) is None:
            raise StudyError(
                f"recombined.{key} is missing, as in {{sentences: 900, reader: {{type: structkd_conllu, label: null}}}}"
            )
    named = _languages(described.get("languages", list(languages)), "recombined.languages")
    for language in named:
        if language not in languages:
            raise StudyError(
                f"recombined.languages has {language}, which is not trained on: there are no sentences to recombine"
            )
    reader = {
        "type": "structkd_recombined",
        "reader": _reader("recombined.reader", described["reader"]),
        "sentences": _count("recombined.sentences", described["sentences"], least=1),
    }
    new_words = described.get("new_words")
    if new_words is not None:
        if isinstance(new_words, bool) or not isinstance(new_words, (int, float)) or not 0 <= new_words <= 1:
            raise StudyError(f"recombined.new_words is {new_words!r}, but a probability is a number from 0 to 1")
        reader["new_words"] = new_words
    return plan.Recombined(named, reader)


def _zero_shot(given: Any, files: str, corpus: Optional[str], languages: Sequence[str]) -> Dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, (Mapping, list)):
        raise StudyError("zero_shot is a list of languages, or a mapping from languages to their test files")
    for language in given:
        _check_language("zero_shot", language)
    if isinstance(given, Mapping):
        patterns = {language: _pattern(f"zero_shot.{language}", file, corpus, ()) for language, file in given.items()}
    else:
        patterns = dict.fromkeys(given, files)
    if len(patterns) < len(given):
        raise StudyError("zero_shot names a language twice")
    for language in patterns:
        if language in languages:
            raise StudyError(f"zero_shot has {language}, which is trained on: take it out of one of the two lists")
    return {language: plan.filled(pattern, language=language, split="test") for language, pattern in patterns.items()}


def _languages(given: Any, key: str = "languages") -> List[str]:
    if not isinstance(given, list) or not given:
        raise StudyError(f"{key} is a list of at least one language, as in [de, en]")
    for language in given:
        _check_language(key, language)
    if len(set(given)) < len(given):
        raise StudyError(f"{key} names a language twice")
    return given


def _check_language(key: str, language: Any) -> None:
    if language is False:
        raise StudyError(f"{key} has false, which is what YAML makes of no: write 'no' with quotes for Norwegian")
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise StudyError(f"{key} has {language!r}, which is no code of a language such as en or pt-BR")


def _seeds(key: str, given: Any) -> List[int]:
    if not isinstance(given, list) or not given:
        raise StudyError(f"{key} is a list of at least one number, as in [1, 2, 3]")
    # From the command line lists come as text.
    numbers = [int(seed) if isinstance(seed, str) and seed.isdigit() else seed for seed in given]
    seeds = [_count(key, seed, least=0) for seed in numbers]
    if len(set(seeds)) < len(seeds):
        raise StudyError(f"{key} has a number twice: the same seed gives the same student")
    return seeds


def _frozen_encoder(given: Any) -> Mapping[str, Any]:
    encoder = _mapping("frozen_encoder", given)
    for key in ("type", "size"):
        if key not in encoder:
            raise StudyError(
                f"frozen_encoder.{key} is missing, as in "
                "{type: universal_sentence_encoder, cache: runs/vectors, size: 2560}"
            )
    _count("frozen_encoder.size", encoder["size"], least=1)
    return encoder


def _options(key: str, given: Any, allowed: Tuple[str, ...] = ()) -> Dict[str, Any]:
    options = _named_values(key, given, tuple(name for name in _OURS if name not in allowed))
    _no_number_as_text(key, options)
    return options


def _named_values(key: str, given: Any, forbidden: Tuple[str, ...]) -> Dict[str, Any]:
    options = _mapping(key, given)
    for name in options:
        if not isinstance(name, str) or not _OPTION.fullmatch(name):
            raise StudyError(f"{key} has {name!r}, which cannot be the name of an option")
        if name in forbidden:
            raise StudyError(f"{key} has {name}, which the study sets itself: take it out")
    return dict(options)


def _no_number_as_text(key: str, value: Any) -> None:
    """YAML reads 1e-3 as a text, and Snakemake all numbers within a mapping on the command line."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _no_number_as_text(f"{key}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            _no_number_as_text(key, inner)
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        raise StudyError(
            f"{key} is the text {value!r}, not a number: write 1.0e-3 for 1e-3, and what is within a mapping in the "
            "file, not on the command line"
        )


def _pattern(key: str, given: Any, corpus: Optional[str], required: Tuple[str, ...]) -> str:
    pattern = _string(key, given)
    if "{corpus}" in pattern:
        if corpus is None:
            raise StudyError(
                f"corpus is missing, which {key} has as {{corpus}}: give the folder there, or on the command line as "
                "--config corpus=FOLDER"
            )
        pattern = pattern.replace("{corpus}", corpus)
    for part in required:
        if part not in pattern:
            raise StudyError(f"{key} is {pattern}, but must have {part}, as in data/{{language}}/{{split}}.conllu")
    for part in re.findall(r"\{[^{}]*\}", pattern):
        if part not in ("{language}", "{split}"):
            raise StudyError(f"{key} has {part}, but only {{corpus}}, {{language}} and {{split}} stand for something")
    if not plan.suffix_of(pattern):
        raise StudyError(f"{key} is {pattern}, but must have an ending such as .conllu or .conll")
    return pattern


def _existing(key: str, given: Any) -> str:
    path = _string(key, given)
    if not os.path.isfile(path):
        raise StudyError(f"{key} is {path}, but there is no such file in {os.getcwd()}")
    return path


def _string(key: str, given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise StudyError(f"{key} is a text, not {given!r}")
    return given


def _text(key: str, given: Any, allowed: "re.Pattern[str]", description: str) -> str:
    if not isinstance(given, str) or not allowed.fullmatch(given):
        raise StudyError(f"{key} is {given!r}, but may have {description} only")
    return given


def _mapping(key: str, given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise StudyError(f"{key} is a mapping of names to values, not {given!r}")
    return given


def _optional_count(key: str, given: Any) -> Optional[int]:
    return None if given is None else _count(key, given, least=1)


def _count(key: str, given: Any, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise StudyError(f"{key} is {given!r}, but must be a whole number of at least {least}")
    return given


def _known(prefix: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise StudyError(f"{prefix}{key} is no key of a study; there are {', '.join(known)}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


_PURPOSE = {
    "name": "what the folder of the study is called",
    "task": "the Jsonnet of the task, such as training_configs/upos.libsonnet",
    "files": "where gold files are, as in '{corpus}/{language}/{split}.conllu'",
    "languages": "the list of languages to train on",
    "teachers": "their configurations, as in crf: {config: training_configs/teacher.libsonnet}",
    "rows": "the list of methods, each with name and config",
    "baseline": "the name of the row that others are compared with",
}
