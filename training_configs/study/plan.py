"""What a study is: its rows, and which runs and files follow from it."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

SPLITS = ("train", "dev", "test")
# Named like a split: the sentences without tags.
UNLABELLED = "unlabelled"
# Sentences made of the tagged ones.
RECOMBINED = "recombined"
# What stores may hold beside the tagged sentences, as their folders' names end.
MORE = (UNLABELLED, RECOMBINED, f"{UNLABELLED}_{RECOMBINED}")
# The reader of sentences that are lines.
PLAIN_TEXT = "structkd_plain_text"


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
    seeds : `Sequence[int]`
        One for each of its students.
    unlabelled, recombined : `Sequence[str]`
        The languages of which it learns from unlabelled sentences too, and from recombined ones.
    zero_shot_teachers : `Sequence[str]`
        The slugs of the rows, in their order, whose students together speak of unlabelled sentences of zero-shot
        languages; none where the row's teachers together do.
    """

    name: str
    slug: str
    config: str
    options: Mapping[str, Any]
    teachers: Optional[str]
    family: Optional[str]
    k: Optional[int]
    seeds: Sequence[int]
    unlabelled: Sequence[str] = ()
    recombined: Sequence[str] = ()
    zero_shot_teachers: Sequence[str] = ()

    @property
    def speakers(self) -> str:
        """Who speaks of zero-shot languages in the place of its teachers, in names of files; nothing if these do."""
        # No slug has a plus.
        return "+".join(self.zero_shot_teachers)

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
        return suffix_of(self.files)

    def source(self, language: str, split: str) -> str:
        """The user's file."""
        if split == UNLABELLED and self.unlabelled is not None:
            return self.unlabelled.files[language]
        if language in self.zero_shot:
            return self.zero_shot[language]
        return filled(self.files, language=language, split=split)

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
        lines = split == UNLABELLED and self.unlabelled is not None and self.unlabelled.reader.get("type") == PLAIN_TEXT
        return f"{self.skip(language, split)} {self.limit(split)} {'lines' if lines else 'blocks'}"

    def data(self, language: str, split: str) -> str:
        """The study's file, with as many sentences of the user's as it uses."""
        suffix = self.suffix
        if split == UNLABELLED and self.unlabelled is not None:
            suffix = suffix_of(self.unlabelled.files[language])
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

    def store_of_students(self, speakers: str, language: str) -> str:
        """The folder of a store of unlabelled sentences of which all students of some rows speak together."""
        # No name of teachers has an underscore: it is no kind's folder.
        return f"{self.folder}/stores/of_students/{speakers}/{language}"

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
            if row.speakers and language in self.zero_shot:
                found[language] = self.store_of_students(row.speakers, language)
            elif more:
                found[language] = self.store_of_more(row.teachers, more, language)
            else:
                found[language] = self.store(row.teachers, language)
        return found

    def data_of_row(self, row: Row) -> List[str]:
        """What the training of a row reads."""
        unlabelled = [self.data(language, UNLABELLED) for language in row.unlabelled]
        return [*self.data_of_training(self.languages), *unlabelled]

    def student(self, row: Row, seed: int) -> str:
        """The folder of a student."""
        return f"{self.folder}/students/{row.slug}_seed{seed}"

    def students(self, row: Row) -> List[str]:
        """The folders of a row's students, one for each seed."""
        return [self.student(row, seed) for seed in row.seeds]

    def speaking(self, speakers: str) -> List[Row]:
        """The rows that speak together, of their `Row.speakers`."""
        return [self.row(slug) for slug in speakers.split("+")]

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
        return _legal_k(row for row in self.rows if row.teachers == teachers)

    def k_best_of_students(self, speakers: str) -> int:
        """The same of the stores of students."""
        return _legal_k(row for row in self.rows if row.speakers == speakers)

    def benchmark(self, what: str) -> str:
        """The file with the time and the memory of a run, as Snakemake writes it."""
        return f"{self.folder}/benchmarks/{what}.tsv"

    def log(self, what: str) -> str:
        """The file with the output of a run."""
        return f"{self.folder}/logs/{what}.log"


def _legal_k(rows: Iterable[Row]) -> int:
    return max((row.options["k"] for row in rows if row.options.get("labellings") == "legal"), default=0)


def teacher_name(teachers: str, language: str) -> str:
    """What files of a teacher are named: its configuration, log and benchmark."""
    return f"teacher_{teachers}_{language}"


def student_name(slug: str, seed: int) -> str:
    """What files of a student are named: its configuration, log and benchmark."""
    return f"student_{slug}_seed{seed}"


def store_of_students_name(speakers: str, language: str) -> str:
    """What files of the capture of a store of students are named: its log and benchmark."""
    # Both may have underscores.
    return f"store_{UNLABELLED}_students_{speakers}.{language}"


def suffix_of(path: str) -> str:
    """The ending of a file, unpacked."""
    return Path(path.removesuffix(".gz")).suffix


def filled(pattern: str, **values: str) -> str:
    """A pattern of files with values in place of what stands in braces."""
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern
