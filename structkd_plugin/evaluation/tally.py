"""Counting tagged sentences, of which nothing is kept but counts."""

from abc import ABC, abstractmethod
from collections import Counter
from typing import Container, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.calibration import LanguageReliability
from structkd_plugin.evaluation.sentence_counts import COLUMNS, SentenceCounts
from structkd_plugin.evaluation.tagged_sentence import TaggedSentence
from structkd_plugin.metrics.language_metric import MACRO, MICRO
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence

# What two sides say of the same thing, and how often.
Confusion = Counter[Tuple[str, str]]


class Batch(NamedTuple):
    """B sentences of N words."""

    sentences: Sequence[TaggedSentence]
    words: List[str]  # of all sentences
    lengths: np.ndarray  # (B,)
    sentence_of: np.ndarray  # (N,): of each word
    language_of: np.ndarray  # (B,)
    gold: np.ndarray  # (N,): numbers of tags
    predicted: np.ndarray  # (N,)

    def by_sentence(self, words: np.ndarray, weights: Optional[np.ndarray] = None) -> np.ndarray:
        """How many of `words` (indices), or which weight of them, each sentence has: (B,), int64."""
        sums = np.bincount(self.sentence_of[words], weights, minlength=len(self.lengths))
        return sums.astype(np.int64)


class Tally(ABC):
    """
    Counts of one metric; `WordTally` and `SpanTally` say what is counted.

    # Parameters

    known_words : `Container[str]`, optional
        The words that were seen in training.
    """

    metric: str

    def __init__(self, known_words: Optional[Container[str]]) -> None:
        self.known_words = known_words
        # label -> counts of correct, predicted, gold
        self.types: Dict[str, np.ndarray] = {}
        self.confusion: Confusion = Counter()
        # Whether seen in training -> counts as of a sentence.
        self.seen = {True: self._nothing(), False: self._nothing()}
        # What decides on `seen`; `None` where it is not known.
        self.seen_by: Optional[str] = None if known_words is None else "words"
        self.tag_reliability = LanguageReliability()
        self.entity_reliability = LanguageReliability()
        # Sentences that came without the probabilities of their tags.
        self.without_probabilities = 0
        self.right_tags = 0
        self._languages: Dict[str, int] = {}
        self._language_of: List[np.ndarray] = []
        self._lengths: List[np.ndarray] = []
        self._counts: List[np.ndarray] = []

    def add(self, sentences: Sequence[TaggedSentence]) -> None:
        """
        Count sentences.

        # Raises

        `ConfigurationError` : naming the place of a sentence that cannot be counted.
        """
        for sentence in sentences:
            _check(sentence)
        batch = self._batch(sentences)
        self._language_of.append(batch.language_of)
        self._lengths.append(batch.lengths)
        right = batch.gold == batch.predicted
        self.right_tags += int(right.sum())
        self._add_probabilities(batch, right)
        self._counts.append(self._count(batch))

    @property
    def sentence_counts(self) -> SentenceCounts:
        """The counts of every sentence, in the order in which they were added."""
        languages = tuple(sorted(self._languages))
        order = np.array([languages.index(language) for language in self._languages], np.int64)
        return SentenceCounts(
            self.metric,
            languages,
            order[np.concatenate([np.zeros(0, np.int64), *self._language_of])],
            np.concatenate([np.zeros((0, len(COLUMNS[self.metric])), np.int64), *self._counts]),
        )

    @property
    def lengths(self) -> np.ndarray:
        """Shape (S,): how many words each sentence has."""
        return np.concatenate([np.zeros(0, np.int64), *self._lengths])

    @property
    def language_names(self) -> Dict[int, str]:
        """Languages in alphabetical order, by the numbers they have here."""
        return {self._languages[language]: language for language in sorted(self._languages)}

    @abstractmethod
    def _numbers(self, tags: Sequence[str]) -> List[int]:
        """Numbers for tags; `ValueError` for a tag that cannot be counted."""

    @abstractmethod
    def _count(self, batch: Batch) -> np.ndarray:
        """Count what is particular to the metric; shape (B, C): the counts of each sentence."""

    def _nothing(self) -> np.ndarray:
        return np.zeros(len(COLUMNS[self.metric]), np.int64)

    def _batch(self, sentences: Sequence[TaggedSentence]) -> Batch:
        gold: List[int] = []
        predicted: List[int] = []
        words: List[str] = []
        languages: List[int] = []
        for sentence in sentences:
            try:
                gold += self._numbers(sentence.gold.tags or ())
                predicted += self._numbers(sentence.tags)
            except ValueError as error:
                raise data_error(
                    sentence.gold.file,
                    sentence.gold.line,
                    f"the sentence cannot be evaluated: {error}; where predictions and gold tags are written in two "
                    "schemes, name that of the predictions, to which gold tags are then converted",
                ) from error
            words += sentence.gold.words
            languages.append(self._languages.setdefault(sentence.gold.language, len(self._languages)))
        lengths = np.array([len(sentence.tags) for sentence in sentences], np.int64)
        return Batch(
            sentences,
            words,
            lengths,
            np.repeat(np.arange(len(sentences)), lengths),
            np.array(languages, np.int64),
            np.array(gold, np.int64),
            np.array(predicted, np.int64),
        )

    def _add_probabilities(self, batch: Batch, right: np.ndarray) -> None:
        """Count the probabilities of tags."""
        probabilities: List[float] = []
        for sentence in batch.sentences:
            probabilities += sentence.tag_probabilities or ()
        given = np.array([sentence.tag_probabilities is not None for sentence in batch.sentences], bool)
        self.without_probabilities += int((~given).sum())
        of_words = given[batch.sentence_of]
        language_of = batch.language_of[batch.sentence_of]
        self.tag_reliability.add(np.array(probabilities, np.float64), right[of_words], language_of[of_words])

    def _known(self, batch: Batch) -> np.ndarray:
        """Shape (N,), boolean: whether each word was seen in training."""
        assert self.known_words is not None
        known = self.known_words
        return np.fromiter((word in known for word in batch.words), bool, len(batch.words))

    def _add_types(self, labels: Sequence[str], *columns: np.ndarray) -> None:
        """Count labels, given as indices into `labels`: of what is correct, of what is predicted, of the gold tags."""
        counts = np.stack([np.bincount(column, minlength=len(labels)) for column in columns], axis=1)
        for label in np.flatnonzero(counts.any(axis=1)).tolist():
            name = labels[label]
            self.types[name] = self.types.get(name, 0) + counts[label]


def _check(sentence: TaggedSentence) -> None:
    gold = sentence.gold
    if gold.tags is None:
        raise _error(gold, "the sentence has no gold tags, against which it could be evaluated")
    if len(sentence.tags) != len(gold.tags):
        raise _error(gold, f"the sentence has {len(gold.tags)} gold tags, but {len(sentence.tags)} predicted ones")
    if sentence.tag_probabilities is not None and len(sentence.tag_probabilities) != len(gold.tags):
        raise _error(
            gold, f"the sentence has {len(gold.tags)} words, but {len(sentence.tag_probabilities)} probabilities"
        )
    if gold.language in (MACRO, MICRO):
        raise _error(gold, f"a language cannot be called {gold.language!r}, which names an average; rename it")


def _error(sentence: Sentence, message: str) -> ConfigurationError:
    return data_error(sentence.file, sentence.line, message)
