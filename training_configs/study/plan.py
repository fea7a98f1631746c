"""
What a study is: its file checked, and everything that follows from it: runs, their files, their configurations.

Read by the Snakefile in Snakemake's own environment, so that it needs nothing but the standard library.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

# Where studies write to unless they say otherwise.
OUTPUT = "runs/study"
SPLITS = ("train", "dev", "test")
# Named like a split: the sentences without tags.
UNLABELLED = "unlabelled"
# Sentences made of the tagged ones.
RECOMBINED = "recombined"
# What stores may hold beside the tagged sentences, as their folders' names end.
MORE = (UNLABELLED, RECOMBINED, f"{UNLABELLED}_{RECOMBINED}")
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
_ROW_KEYS = ("config", "k", "name", "options", "recombined", "teachers", "unlabelled")
_TEACHER_KEYS = ("config", "options")
_RECOMBINED_KEYS = ("languages", "new_words", "reader", "sentences")
_UNLABELLED_KEYS = ("files", "languages", "reader", "sentences", "skip")
# The reader of sentences that are lines.
_PLAIN_TEXT = "structkd_plain_text"
# Beside this file's folder: what adds sentences without tags to a configuration.
_UNLABELLED_CONFIG = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "unlabelled.libsonnet")
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
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEACHERS_NAME = re.compile(r"[a-z][a-z0-9]*")
_IMPORT = re.compile(r"\bimport\s+(['\"])(.+?)\1")


class StudyError(Exception):
    """A mistake in the file of a study: one sentence that names the key."""


class Row(NamedTuple):
    """
    A line of the table: one method, trained with every seed.

    # Parameters

    name : `str`
        As the table has it.
    slug : `str`
        The same in names of files.
    config : `str`
        The configuration that is trained.
    options : `Mapping[str, Any]`
        Its hidden options, with those of all students.
    teachers : `Optional[str]`
        The name of the teachers learnt from; `None` for gold tags alone.
    family, k : `Optional[str]`, `Optional[int]`
        Of a row with `k`: the name it is given in the file, and this row's K.
    unlabelled, recombined : `Sequence[str]`
        The languages of which it learns from unlabelled sentences too, and from recombined ones.
    """

    name: str
    slug: str
    config: str
    options: Mapping[str, Any]
    teachers: Optional[str]
    family: Optional[str]
    k: Optional[int]
    unlabelled: Sequence[str] = ()
    recombined: Sequence[str] = ()

    def more(self, language: str) -> str:
        """What it learns from of a language beside the tagged sentences: one of `MORE`, or nothing."""
        kinds = ((UNLABELLED, self.unlabelled), (RECOMBINED, self.recombined))
        return "_".join(kind for kind, languages in kinds if language in languages)


class Teachers(NamedTuple):
    """Teachers that are alike: one for each language."""

    name: str
    config: str
    options: Mapping[str, Any]


class Unlabelled(NamedTuple):
    """
    Sentences without tags, or whose tags are not looked at.

    # Parameters

    files : `Mapping[str, str]`
        The user's file of each language; languages may be among them that are not trained on otherwise.
    reader : `Mapping[str, Any]`
        The dataset reader of the files, which takes no tags.
    skip : `Mapping[str, int]`
        How many sentences of each language are left out before the first that is used.
    sentences : `int`
        How many are used of each language; all if 0.
    """

    files: Mapping[str, str]
    reader: Mapping[str, Any]
    skip: Mapping[str, int]
    sentences: int


class Recombined(NamedTuple):
    """
    Sentences made of the tagged ones.

    # Parameters

    languages : `Sequence[str]`
        Of those trained on.
    reader : `Mapping[str, Any]`
        The dataset reader that makes them of a file of training sentences.
    """

    languages: Sequence[str]
    reader: Mapping[str, Any]


class Study(NamedTuple):
    """
    A study whose file was checked.

    # Parameters

    name : `str`
    folder : `str`
        Where everything is written to.
    task, task_options : `str`, `Mapping[str, Any]`
        The task's Jsonnet, and hidden fields of it that are otherwise here.
    files : `str`
        The gold files: a pattern of `{language}` and `{split}`.
    languages : `Sequence[str]`
        Trained on.
    zero_shot : `Mapping[str, str]`
        The test file of each language that is not.
    seeds : `Sequence[int]`
        Of the students.
    train_sentences, dev_sentences : `Optional[int]`
        How many of the first sentences are used; `None` for all.
    teachers : `Mapping[str, Teachers]`
        By name; the first ones are those of rows that name none.
    rows : `Sequence[Row]`
    baseline : `Row`
        The one that others are compared with.
    frozen_encoder : `Optional[Mapping[str, Any]]`
    unlabelled : `Optional[Unlabelled]`
    recombined : `Optional[Recombined]`
    samples : `int`
        Of the significance tests and the intervals.
    cuda_device : `int`
        Number of the GPU, -1 for the CPU.
    """

    name: str
    folder: str
    task: str
    task_options: Mapping[str, Any]
    files: str
    languages: Sequence[str]
    zero_shot: Mapping[str, str]
    seeds: Sequence[int]
    train_sentences: Optional[int]
    dev_sentences: Optional[int]
    teachers: Mapping[str, Teachers]
    rows: Sequence[Row]
    baseline: Row
    frozen_encoder: Optional[Mapping[str, Any]]
    unlabelled: Optional[Unlabelled]
    recombined: Optional[Recombined]
    samples: int
    cuda_device: int

    @property
    def suffix(self) -> str:
        """That of the study's data files, as `.conllu`."""
        return _suffix(self.files)

    def source(self, language: str, split: str) -> str:
        """The user's file."""
        if split == UNLABELLED and self.unlabelled is not None:
            return self.unlabelled.files[language]
        if language in self.zero_shot:
            return self.zero_shot[language]
        return _filled(self.files, language=language, split=split)

    def sources(self) -> List[str]:
        """All of the user's files."""
        trained = [self.source(language, split) for language in self.languages for split in SPLITS]
        unlabelled = self.unlabelled.files.values() if self.unlabelled is not None else ()
        return [*trained, *self.zero_shot.values(), *unlabelled]

    def limit(self, split: str) -> int:
        """How many sentences of a split are used; 0 for all."""
        if split == UNLABELLED and self.unlabelled is not None:
            return self.unlabelled.sentences
        return {"train": self.train_sentences, "dev": self.dev_sentences}.get(split) or 0

    def skip(self, language: str, split: str) -> int:
        """How many sentences of a file are left out before the first that is used."""
        return self.unlabelled.skip[language] if split == UNLABELLED and self.unlabelled is not None else 0

    def cut(self, language: str, split: str) -> str:
        """What is taken of a file, as `cut.py` is told: SKIP LIMIT KIND."""
        lines = (
            split == UNLABELLED and self.unlabelled is not None and self.unlabelled.reader.get("type") == _PLAIN_TEXT
        )
        return f"{self.skip(language, split)} {self.limit(split)} {'lines' if lines else 'blocks'}"

    def data(self, language: str, split: str) -> str:
        """The study's file, with as many sentences of the user's as it uses."""
        suffix = self.suffix
        if split == UNLABELLED and self.unlabelled is not None:
            suffix = _suffix(self.unlabelled.files[language])
        return f"{self.folder}/data/{language}/{split}{suffix}"

    def data_of_training(self, languages: Sequence[str]) -> List[str]:
        """What a training on `languages` reads."""
        return [self.data(language, split) for language in languages for split in ("train", "dev")]

    def test_files(self) -> List[str]:
        """The test files of all languages, each as `LANGUAGE=FILE`."""
        return [f"{language}={self.data(language, 'test')}" for language in (*self.languages, *self.zero_shot)]

    def teacher(self, teachers: str, language: str) -> str:
        """The folder of a teacher."""
        return f"{self.folder}/teachers/{teachers}/{language}"

    def store(self, teachers: str, language: str) -> str:
        """The folder of a teacher's store."""
        return f"{self.folder}/stores/{teachers}/{language}"

    def store_of_more(self, teachers: str, more: str, language: str) -> str:
        """The folder of a store with further sentences, those that `more` names: of one teacher, or of all together."""
        return f"{self.folder}/stores/{teachers}_{more}/{language}"

    def more_data(self, more: str, language: str) -> List[Tuple[str, Mapping[str, Any]]]:
        """The files of further sentences of a language, each with the dataset reader that takes no tags of it."""
        found = []
        if self.unlabelled is not None and UNLABELLED in more:
            found.append((self.data(language, UNLABELLED), self.unlabelled.reader))
        if self.recombined is not None and RECOMBINED in more:
            found.append((self.data(language, "train"), self.recombined.reader))
        return found

    def stores(self, row: Row) -> Dict[str, str]:
        """The stores that a row learns from, by language."""
        if row.teachers is None:
            return {}
        found = {}
        for language in dict.fromkeys((*self.languages, *row.unlabelled)):
            more = row.more(language)
            found[language] = (
                self.store_of_more(row.teachers, more, language) if more else self.store(row.teachers, language)
            )
        return found

    def data_of_row(self, row: Row) -> List[str]:
        """What the training of a row reads."""
        unlabelled = [self.data(language, UNLABELLED) for language in row.unlabelled]
        return [*self.data_of_training(self.languages), *unlabelled]

    def configs_of_row(self, row: Row) -> List[str]:
        """The Jsonnet files that the configuration of a row is made of, apart from the task's."""
        # Below the current directory as the others: a moved checkout is no other study.
        more = [os.path.relpath(_UNLABELLED_CONFIG)] if row.unlabelled or row.recombined else []
        return [*imported_files(row.config), *more]

    def student(self, row: Row, seed: int) -> str:
        """The folder of a student."""
        return f"{self.folder}/students/{row.slug}_seed{seed}"

    def students(self, row: Row) -> List[str]:
        """The folders of a row's students, one for each seed."""
        return [self.student(row, seed) for seed in self.seeds]

    def row(self, slug: str) -> Row:
        """The row of a name in files."""
        return next(row for row in self.rows if row.slug == slug)

    def families(self) -> Dict[str, Dict[int, Row]]:
        """The methods that the study has with several K: their rows by K."""
        found: Dict[str, Dict[int, Row]] = {}
        for row in self.rows:
            if row.family is not None and row.k is not None:
                found.setdefault(row.family, {})[row.k] = row
        return {family: rows for family, rows in found.items() if len(rows) > 1}

    def needed_teachers(self) -> List[str]:
        """The names of the teachers that rows learn from, and of the first ones, which the table shows in any case."""
        named = {row.teachers for row in self.rows}
        return [name for number, name in enumerate(self.teachers) if name in named or not number]

    def k_best(self, teachers: str) -> int:
        """How many labellings the stores of some teachers hold: as many as any row takes of the legal ones."""
        return max(
            (
                row.options["k"]
                for row in self.rows
                if row.teachers == teachers and row.options.get("labellings") == "legal"
            ),
            default=0,
        )

    def benchmark(self, what: str) -> str:
        """The file with the time and the memory of a run, as Snakemake writes it."""
        return f"{self.folder}/benchmarks/{what}.tsv"

    def log(self, what: str) -> str:
        """The file with the output of a run."""
        return f"{self.folder}/logs/{what}.log"


def study_of(given: Mapping[str, Any]) -> Study:
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
    rows = _rows(given["rows"], shared, teachers, unlabelled, recombined)
    baselines = [row for row in rows if row.name == given["baseline"]]
    if not baselines:
        raise StudyError(
            f"baseline is {given['baseline']!r}, but the rows are {', '.join(row.name for row in rows)}: "
            "name one of them"
        )
    if len(rows) < 2:
        raise StudyError("rows has one row: a study compares at least one more with its baseline")
    for key in ("train_sentences", "dev_sentences"):
        if given.get(key) is not None and _suffix(files) == ".xml":
            raise StudyError(f"{key} is given, but XML cannot be cut: leave it out, or cut the files yourself")
    output = _string("output", given.get("output", OUTPUT))
    frozen = given.get("frozen_encoder")
    return Study(
        name=name,
        folder=f"{output.rstrip('/')}/{name}",
        task=_existing("task", given["task"]),
        task_options=_named_values("task_options", given.get("task_options"), ()),
        files=files,
        languages=languages,
        zero_shot=zero_shot,
        seeds=_seeds(given.get("seeds", [1])),
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


def check_files(study: Study) -> None:
    """
    Check that the user's files are there.

    # Raises

    `StudyError` : naming the first that is not.
    """
    missing = [source for source in study.sources() if not os.path.isfile(source)]
    if missing:
        more = f", nor {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StudyError(
            f"there is no file {missing[0]}{more}: correct files, zero_shot or corpus, which may be given on "
            "the command line as --config corpus=FOLDER"
        )


def task_text(study: Study) -> str:
    """The Jsonnet of the task: that of the study file, reading the study's data."""
    folder = json.dumps(f"{study.folder}/data/", ensure_ascii=False)
    options = {"languages": list(study.languages), **study.task_options}
    return "\n".join(
        [
            f"(import {_relative(study.task, study.folder)}) {{",
            # A mapping adds to the task's own, as settings of its reader.
            *_hidden(options, merged=True),
            f"  file(language, split):: {folder} + language + '/' + split + {json.dumps(study.suffix)},",
            "}",
            "",
        ]
    )


def teacher_text(study: Study, teachers: str, language: str) -> str:
    """The configuration of a teacher."""
    described = study.teachers[teachers]
    return _config_text(study, described.config, {"language": language, **described.options})


def student_text(study: Study, row: Row, seed: int) -> str:
    """The configuration of a student."""
    options: Dict[str, Any] = {"languages": list(study.languages), "seed": seed, **row.options}
    if row.teachers is not None:
        # A folder where there is one for each language in it: shorter to read.
        more = row.unlabelled or row.recombined
        options["stores"] = study.stores(row) if more else f"{study.folder}/stores/{row.teachers}"
    parts = _more_parts(study, row)
    if not parts:
        return _config_text(study, row.config, options)
    if len(parts) == 1:
        ((options["unlabelled_reader"], options["unlabelled"]),) = parts.values()
    else:
        readers = {name: reader for name, (reader, _) in parts.items()}
        options["unlabelled_reader"] = {"type": "structkd_mixture", "readers": readers}
        options["unlabelled"] = {name: files for name, (_, files) in parts.items()}
    return _config_text(study, row.config, options, _UNLABELLED_CONFIG)


def _more_parts(study: Study, row: Row) -> Dict[str, Tuple[Mapping[str, Any], Dict[str, str]]]:
    """For each kind of further sentences of a row: their reader and, by language, their files."""
    parts: Dict[str, Tuple[Mapping[str, Any], Dict[str, str]]] = {}
    for kind, languages in ((UNLABELLED, row.unlabelled), (RECOMBINED, row.recombined)):
        for language in languages:
            ((file, reader),) = study.more_data(kind, language)
            parts.setdefault(kind, (reader, {}))[1][language] = file
    return parts


def teachers_together(study: Study, teachers: str) -> str:
    """The description of all teachers of a kind as one, for languages that have none of their own."""
    members = [
        {"type": "structkd", "path": f"{study.teacher(teachers, language)}/model.tar.gz"}
        for language in study.languages
    ]
    return json.dumps({"type": "ensemble", "members": members}, indent=2) + "\n"


def configurations(study: Study) -> Dict[str, str]:
    """The text of every configuration, by the name of its file without folder and ending."""
    texts = {
        teacher_name(teachers, language): teacher_text(study, teachers, language)
        for teachers in study.needed_teachers()
        for language in study.languages
    }
    for row in study.rows:
        texts.update({student_name(row.slug, seed): student_text(study, row, seed) for seed in study.seeds})
    return texts


def teacher_name(teachers: str, language: str) -> str:
    """What files of a teacher are named: its configuration, log and benchmark."""
    return f"teacher_{teachers}_{language}"


def student_name(slug: str, seed: int) -> str:
    """What files of a student are named: its configuration, log and benchmark."""
    return f"student_{slug}_seed{seed}"


def imported_files(config: str) -> List[str]:
    """
    A Jsonnet file and all files that it imports, by whatever way, in the order in which they are met.

    # Parameters

    config : `str`
        Its path; imports are looked for beside the file that has them.
    """
    return list(_imported(os.path.normpath(config), set()))


def _imported(path: str, met: Set[str]) -> Iterator[str]:
    if path in met or not os.path.isfile(path):
        return
    met.add(path)
    yield path
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        for match in _IMPORT.finditer(line.partition("//")[0]):
            yield from _imported(os.path.normpath(os.path.join(os.path.dirname(path), match[2])), met)


def _config_text(study: Study, config: str, options: Mapping[str, Any], *additions: str) -> str:
    imports = [f"(import {_relative(file, f'{study.folder}/configs')})" for file in (config, *additions)]
    lines = [
        f"{' + '.join(imports)} {{",
        "  task:: import '../task.libsonnet',",
    ]
    if study.frozen_encoder is not None:
        options = {"frozen_encoder": study.frozen_encoder, **options}
    return "\n".join(
        [
            "// Written by the study: change its file instead.",
            *lines,
            *_hidden(options),
            # Students and teachers are evaluated on their own, in more detail.
            "  evaluate_on_test: false,",
            "  test_data_path: null,",
            f"  trainer+: {{ cuda_device: {study.cuda_device} }},",
            "}",
            "",
        ]
    )


def _hidden(options: Mapping[str, Any], merged: bool = False) -> List[str]:
    return [
        f"  {name}{'+' if merged and isinstance(value, Mapping) else ''}:: {json.dumps(value, ensure_ascii=False)},"
        for name, value in options.items()
    ]


def _relative(file: str, folder: str) -> str:
    # Real paths: the folder of the runs may be a link to another disk, where `..` leads elsewhere.
    return json.dumps(os.path.relpath(os.path.realpath(file), os.path.realpath(folder)), ensure_ascii=False)


def _rows(
    given: Any,
    shared: Mapping[str, Any],
    teachers: Mapping[str, Teachers],
    unlabelled: Optional[Unlabelled],
    recombined: Optional[Recombined],
) -> List[Row]:
    if not isinstance(given, list) or not given:
        raise StudyError("rows is a list of rows, each with name and config")
    rows: List[Row] = []
    for number, row in enumerate(given, 1):
        rows += _expanded(f"rows, number {number}", row, shared, teachers, unlabelled, recombined)
    for key, values in (("name", [row.name for row in rows]), ("name in files", [row.slug for row in rows])):
        for value in values:
            if values.count(value) > 1:
                raise StudyError(f"rows has two of the {key} {value!r}: give each a name of its own")
    return rows


def _expanded(
    where: str,
    given: Any,
    shared: Mapping[str, Any],
    teachers: Mapping[str, Teachers],
    unlabelled: Optional[Unlabelled],
    recombined: Optional[Recombined],
) -> List[Row]:
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
    if of_row != NO_TEACHERS and of_row not in teachers:
        known = ", ".join((*teachers, NO_TEACHERS))
        raise StudyError(f"{where}: teachers is {of_row!r}, but must be one of {known}")
    learnt_from = None if of_row == NO_TEACHERS else of_row
    more = [
        _more_of_row(where, kind, given.get(kind, False), learnt_from, languages)
        for kind, languages in (
            (UNLABELLED, None if unlabelled is None else list(unlabelled.files)),
            (RECOMBINED, None if recombined is None else recombined.languages),
        )
    ]
    if given.get("k") is None:
        if options.get("labellings") == "legal" and not isinstance(options.get("k"), int):
            raise StudyError(f"{where}: labellings is legal, so that k must be given: stores hold the K best")
        return [Row(name, _slug(name), config, options, learnt_from, None, None, *more)]
    if "k" in options:
        raise StudyError(f"{where}: k is given twice, for the row and in options")
    several = isinstance(given["k"], list)
    ks = [_count(f"{where}: k", k, least=1) for k in (given["k"] if several else [given["k"]])]
    if not ks or len(set(ks)) < len(ks):
        raise StudyError(f"{where}: k is {given['k']}, but must be a number or a list of different numbers")
    return [
        Row(
            name=f"{name} ({k})" if several else name,
            slug=_slug(f"{name} {k}" if several else name),
            config=config,
            options={**options, "k": k},
            teachers=learnt_from,
            family=name,
            k=k,
            unlabelled=more[0],
            recombined=more[1],
        )
        for k in ks
    ]


def _teachers(given: Any) -> Dict[str, Teachers]:
    found: Dict[str, Teachers] = {}
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
        found[name] = Teachers(name, config, options)
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


def _unlabelled(given: Any, corpus: Optional[str], languages: Sequence[str]) -> Optional[Unlabelled]:
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
    reader = _mapping("unlabelled.reader", described.get("reader", {"type": _PLAIN_TEXT}))
    return Unlabelled(
        {language: _filled(pattern, language=language, split="train") for language in named},
        reader,
        _skipped(described.get("skip", 0), named),
        _count("unlabelled.sentences", described.get("sentences", 0), least=0),
    )


def _skipped(given: Any, languages: Sequence[str]) -> Dict[str, int]:
    """Of each language: what a number says of all, or a mapping of some, of the others nothing."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(languages, _count("unlabelled.skip", given, least=0))
    for language in given:
        if language not in languages:
            raise StudyError(f"unlabelled.skip has {language}, which unlabelled.languages does not have")
    return {language: _count(f"unlabelled.skip.{language}", given.get(language, 0), least=0) for language in languages}


def _recombined(given: Any, languages: Sequence[str]) -> Optional[Recombined]:
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
        "reader": _mapping("recombined.reader", described["reader"]),
        "sentences": _count("recombined.sentences", described["sentences"], least=1),
    }
    new_words = described.get("new_words")
    if new_words is not None:
        if isinstance(new_words, bool) or not isinstance(new_words, (int, float)) or not 0 <= new_words <= 1:
            raise StudyError(f"recombined.new_words is {new_words!r}, but a probability is a number from 0 to 1")
        reader["new_words"] = new_words
    return Recombined(named, reader)


def _zero_shot(given: Any, files: str, corpus: Optional[str], languages: Sequence[str]) -> Dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        patterns = {language: _pattern(f"zero_shot.{language}", file, corpus, ()) for language, file in given.items()}
    elif isinstance(given, list):
        patterns = dict.fromkeys(given, files)
    else:
        raise StudyError("zero_shot is a list of languages, or a mapping from languages to their test files")
    if isinstance(given, list) and len(patterns) < len(given):
        raise StudyError("zero_shot names a language twice")
    for language in patterns:
        _check_language("zero_shot", language)
        if language in languages:
            raise StudyError(f"zero_shot has {language}, which is trained on: take it out of one of the two lists")
    return {language: _filled(pattern, language=language, split="test") for language, pattern in patterns.items()}


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


def _seeds(given: Any) -> List[int]:
    if not isinstance(given, list) or not given:
        raise StudyError("seeds is a list of at least one number, as in [1, 2, 3]")
    # From the command line lists come as text.
    numbers = [int(seed) if isinstance(seed, str) and seed.isdigit() else seed for seed in given]
    seeds = [_count("seeds", seed, least=0) for seed in numbers]
    if len(set(seeds)) < len(seeds):
        raise StudyError("seeds has a number twice: the same seed gives the same student")
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
    return _named_values(key, given, tuple(name for name in _OURS if name not in allowed))


def _named_values(key: str, given: Any, forbidden: Tuple[str, ...]) -> Dict[str, Any]:
    options = _mapping(key, given)
    for name in options:
        if not isinstance(name, str) or not _OPTION.fullmatch(name):
            raise StudyError(f"{key} has {name!r}, which cannot be the name of an option")
        if name in forbidden:
            raise StudyError(f"{key} has {name}, which the study sets itself: take it out")
    return dict(options)


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
    if not _suffix(pattern):
        raise StudyError(f"{key} is {pattern}, but must have an ending such as .conllu or .conll")
    return pattern


def _suffix(path: str) -> str:
    """The ending of a file, unpacked."""
    return Path(path.removesuffix(".gz")).suffix


def _filled(pattern: str, **values: str) -> str:
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", value)
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
