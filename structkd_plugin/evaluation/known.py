"""What a system saw in training: words and entities."""

from dataclasses import dataclass
from itertools import islice
from typing import Any, Container, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
from allennlp.data import Vocabulary
from allennlp.data.token_indexers import SingleIdTokenIndexer

from structkd_plugin.evaluation.span_tally import CONVENTIONS
from structkd_plugin.metrics.span_finder import SpanFinder
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence

# Sentences that are looked at at once.
_WINDOW = 2048


@dataclass(frozen=True)
class VocabularyWords:
    """The words in the vocabulary of an archive."""

    words: FrozenSet[str]
    lowercase: bool

    def __contains__(self, word: object) -> bool:
        return (str(word).lower() if self.lowercase else word) in self.words


class Known(NamedTuple):
    """Words, and entities as their words; `None` where tags write no spans."""

    words: Container[str]
    entities: Optional[Container[Tuple[str, ...]]]


def vocabulary_words(reader: Any, vocabulary: Vocabulary) -> Optional[VocabularyWords]:
    """
    The words that an archive knows as such; `None` where it has no vocabulary of whole words, as with subwords.

    # Parameters

    reader : `DatasetReader`
        Of the archive; its indexers say where words are.
    vocabulary : `Vocabulary`
        Of the archive.
    """
    for indexer in getattr(reader, "_token_indexers", {}).values():
        if (
            isinstance(indexer, SingleIdTokenIndexer)
            and indexer.namespace is not None
            and indexer._feature_name == "text"
            and indexer.namespace in vocabulary.get_namespaces()
        ):
            words = frozenset(vocabulary.get_token_to_index_vocabulary(indexer.namespace))
            return VocabularyWords(words, indexer.lowercase_tokens)
    return None


def known_of(sentences: Iterable[Sentence], label_encoding: Optional[str], convention: str) -> Known:
    """
    The words and entities of training files.

    # Parameters

    sentences : `Iterable[Sentence]`
    label_encoding, convention : `Optional[str]`, `str`
        As for `evaluate`.

    # Raises

    `ConfigurationError` : for tags that are none of the encoding's.
    """
    words: Set[str] = set()
    entities: Set[Tuple[str, ...]] = set()
    finder = None if label_encoding is None else CONVENTIONS[convention](label_encoding)
    remaining = iter(sentences)
    while window := list(islice(remaining, _WINDOW)):
        words.update(*(sentence.words for sentence in window))
        if finder is not None:
            entities.update(_entities(window, finder))
    return Known(words, None if finder is None else entities)


def _entities(sentences: Sequence[Sentence], finder: SpanFinder) -> Iterator[Tuple[str, ...]]:
    words: List[str] = []
    tags: List[int] = []
    lengths: List[int] = []
    for sentence in sentences:
        if sentence.tags is None:
            continue
        try:
            tags += finder.numbers(sentence.tags)
        except ValueError as error:
            raise data_error(sentence.file, sentence.line, str(error)) from error
        words += sentence.words
        lengths.append(len(sentence.words))
    spans = finder.find(np.array(tags, np.int64), np.array(lengths, np.int64))
    for start, end in zip(spans.starts.tolist(), spans.ends.tolist(), strict=True):
        yield tuple(words[start:end])
