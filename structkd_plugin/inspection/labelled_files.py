"""The sentences of files beside a store: which of them it has, and what their gold tags are."""

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union

from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params
from allennlp.data.dataset_readers.dataset_reader import DatasetReader

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.teacher.capture import Source
from structkd_plugin.teacher.format import Manifest
from structkd_plugin.teacher.store import RecordLengthError, StoredRecord, TeacherStore

# How many sentences are looked up at a time.
_WINDOW = 1024


class FoundSentence(NamedTuple):
    """A sentence of a file that the store has."""

    key: str
    sentence: Sentence


@dataclass
class LanguageCoverage:
    """How many sentences of a language the files have, and what of them the store has."""

    sentences: int = 0
    found: int = 0
    labelled: int = 0  # of those found
    first_missing: Optional[str] = None  # shown with its place

    @property
    def missing(self) -> int:
        """Sentences that the store has no record of."""
        return self.sentences - self.found


@dataclass
class Coverage:
    """What of files is in a store; filled while `found_sentences` is gone through."""

    languages: Dict[str, LanguageCoverage] = field(default_factory=dict)
    # Gold labels that the teacher has not, with how many words have them.
    foreign_labels: Counter[str] = field(default_factory=Counter)

    def total(self, what: str) -> int:
        """`sentences`, `found`, `missing` or `labelled`, of all languages."""
        return sum(getattr(language, what) for language in self.languages.values())

    @property
    def first_missing(self) -> Optional[str]:
        """The first sentence that the store has not, of the languages in alphabetical order."""
        shown = [self.languages[language].first_missing for language in sorted(self.languages)]
        return next((sentence for sentence in shown if sentence is not None), None)


def reader_of(manifests: Sequence[Manifest], settings: Optional[Mapping[str, Any]] = None) -> ShardedReader:
    """
    A reader for files beside a store.

    # Parameters

    manifests : `Sequence[Manifest]`
        Those of the store; they say how its sentences were read.
    settings : `Mapping[str, Any]`, optional
        Configuration of another reader.

    # Raises

    `ConfigurationError` : for settings that make no reader of this plugin.
    """
    if settings is None:
        settings = manifests[0].reader
        if any(manifest.reader != settings for manifest in manifests):
            raise ConfigurationError(
                "the parts of the store were read by different readers: say with --dataset-reader how to read the files"
            )
    # Only what is read counts here; an indexer could need files that are elsewhere.
    settings = {name: value for name, value in settings.items() if name != "token_indexers"}
    advice = 'name one with --dataset-reader, for example \'{"type": "structkd_column"}\''
    try:
        reader = DatasetReader.from_params(Params(settings).duplicate())
    except (ConfigurationError, TypeError) as error:
        raise ConfigurationError(f"there is no reader for the files ({error}): {advice}") from None
    if not isinstance(reader, ShardedReader):
        raise ConfigurationError(f"{type(reader).__name__} is not one of this plugin's readers: {advice}")
    return reader


def sentences_of(reader: ShardedReader, sources: Sequence[Source]) -> Iterator[Sentence]:
    """The sentences of files, one file after the other."""
    paths: List[Union[List[str], Mapping[str, List[str]]]] = [
        [source.path] if source.language is None else {source.language: [source.path]} for source in sources
    ]
    return chain.from_iterable(map(reader.sentences, paths))


def found_sentences(store: TeacherStore, sentences: Iterable[Sentence], coverage: Coverage) -> Iterator[FoundSentence]:
    """
    The labelled ones of `sentences` that the store has, in their order.

    # Parameters

    store : `TeacherStore`
    sentences : `Iterable[Sentence]`
    coverage : `Coverage`
        Complete once the iterator is exhausted.
    """
    known = set(store.labels)
    stream = iter(sentences)
    while True:
        window = [
            FoundSentence(sentence_key(sentence.language, sentence.words), sentence)
            for sentence in islice(stream, _WINDOW)
        ]
        if not window:
            return
        there = store.contains([item.key for item in window]).tolist()
        for item, has in zip(window, there, strict=True):
            sentence = item.sentence
            language = coverage.languages.setdefault(sentence.language, LanguageCoverage())
            language.sentences += 1
            coverage.foreign_labels.update(tag for tag in sentence.tags or () if tag not in known)
            if not has:
                language.first_missing = language.first_missing or show(sentence)
                continue
            language.found += 1
            if sentence.tags is not None:
                language.labelled += 1
                yield item


def records_of(store: TeacherStore, items: Sequence[FoundSentence]) -> List[StoredRecord]:
    """
    The records of sentences that the store has.

    # Raises

    `ConfigurationError` : for a record of another length than its sentence.
    """
    try:
        records = store.get_batch([item.key for item in items], [len(item.sentence.words) for item in items])
    except RecordLengthError as error:
        raise ConfigurationError(
            f"the record of the sentence {show(items[error.position].sentence)} in {store.path} has "
            f"{error.num_words} words. The store was made with another sentence key; capture the teacher again."
        ) from None
    return [record for record in records if record is not None]


def reservoir(items: Iterable[FoundSentence], size: int, seed: int) -> List[FoundSentence]:
    """`size` of `items` drawn alike, or all if there are no more; in their order."""
    draw = random.Random(seed)
    kept: Dict[int, FoundSentence] = {}  # place in the reservoir -> item
    order: Dict[int, int] = {}
    for number, item in enumerate(items):
        place = number if number < size else draw.randrange(number + 1)
        if place < size:
            kept[place], order[place] = item, number
    return [kept[place] for place in sorted(kept, key=order.__getitem__)]


def show(sentence: Sentence) -> str:
    """A sentence and where it stands, for a message."""
    place = f"{sentence.language}, {sentence.file}:{sentence.line}" if sentence.file else sentence.language
    return f"{' '.join(sentence.words)!r} ({place})"
