"""What the definitions of a span in tags that may be ill-formed have in common."""

from abc import ABC, abstractmethod
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np

from structkd_plugin.tag_schemes import OUTSIDE, Span, canonical_scheme


class FoundSpans(NamedTuple):
    """Spans from left to right: arrays (N,), int64."""

    starts: np.ndarray
    ends: np.ndarray  # exclusive
    labels: np.ndarray  # numbers, indices into `SpanFinder.labels`

    def select(self, which: np.ndarray) -> "FoundSpans":
        """Some of the spans, by their indices or by one boolean for each."""
        return FoundSpans(*(column[which] for column in self))

    def among(self, others: "FoundSpans") -> "FoundSpans":
        """Those that `others` has too; neither may have two spans with the same start, as no tags write."""
        _, mine, theirs = np.intersect1d(self.starts, others.starts, assume_unique=True, return_indices=True)
        same = (self.ends[mine] == others.ends[theirs]) & (self.labels[mine] == others.labels[theirs])
        return self.select(mine[same])


class TagPairs(NamedTuple):
    """Sentences of N words, with a place outside of spans ahead of, between and behind them, as pairs of neighbours."""

    sentences: np.ndarray  # (N + B,): which sentence a pair's second place belongs to, or ends
    numbers: np.ndarray  # (N + B,): an index into tables of first prefix, second prefix, labels that are the same
    labels: np.ndarray  # (N + B,): of the second place


class SpanFinder(ABC):
    """
    Finds spans in tags, of which a subclass says how.

    Where a span begins and ends is decided by a tag and the one before it: by their prefixes, and by whether their
    labels are the same. Decisions are looked up in tables, for all words of a batch at once. To this end tags have
    numbers.

    # Parameters

    scheme : `str`
        One of `structkd_plugin.tag_schemes.SCHEMES`.
    tags : `Iterable[str]`, optional
        The tags 0, 1, …, all different; other tags get the next numbers when `numbers` meets them.

    # Raises

    `ValueError` : if there is no such scheme, or a tag is none of the scheme's.
    """

    # All prefixes, at their numbers.
    prefixes: str

    def __init__(self, scheme: str, tags: Iterable[str] = ()) -> None:
        self.scheme = canonical_scheme(scheme)
        # Of spans, by their numbers.
        self.labels: List[str] = []
        self._numbers: Dict[str, int] = {}
        # By the number of a tag, the numbers of its prefix and of its label.
        self._prefixes = self._labels = np.zeros(0, np.int64)
        self._outside = self.numbers([*tags, OUTSIDE])[-1]

    def __call__(self, tags: Sequence[str]) -> List[Span]:
        """
        The spans in the tags of one sentence, from left to right.

        # Raises

        `ValueError` : if a tag is none of the scheme's.
        """
        found = self.find(np.array(self.numbers(tags), np.int64), np.array([len(tags)]))
        starts, ends, labels = (column.tolist() for column in found)
        return [Span(self.labels[label], start, end) for start, end, label in zip(starts, ends, labels, strict=True)]

    def numbers(self, tags: Iterable[str]) -> List[int]:
        """
        The numbers of `tags`, which `find` takes.

        # Raises

        `ValueError` : if a tag is none of the scheme's.
        """
        found = []
        for tag in tags:
            number = self._numbers.get(tag)
            found.append(self._add(tag) if number is None else number)
        return found

    @property
    def tags(self) -> List[str]:
        """All tags that have a number, in its order."""
        return list(self._numbers)

    @abstractmethod
    def find(self, tags: np.ndarray, lengths: np.ndarray) -> FoundSpans:
        """
        The spans in several sentences.

        # Parameters

        tags : `np.ndarray`
            Shape (N,), integers: the numbers of the tags of all sentences, one sentence after the other.
        lengths : `np.ndarray`
            Shape (B,), integers: how many of the N are whose.

        # Returns

        `FoundSpans` : with indices into `tags`.
        """

    @abstractmethod
    def _split(self, tag: str) -> Tuple[str, str]:
        """One of `prefixes`, and the label of the tag, "" outside of spans; `ValueError` for one of no scheme."""

    def _pairs(self, tags: np.ndarray, lengths: np.ndarray) -> TagPairs:
        """The pairs in several sentences, given as to `find`; pair i is of places i and i + 1."""
        sentences = np.repeat(np.arange(len(lengths)), lengths + 1)
        # (N + B + 1,): a tag outside of spans ahead of, between and behind the sentences ends what is open there
        path = np.full(len(sentences) + 1, self._outside)
        path[np.arange(len(tags)) + np.repeat(np.arange(1, len(lengths) + 1), lengths)] = tags
        prefixes, labels = self._prefixes[path], self._labels[path]
        numbers = (prefixes[:-1] * len(self.prefixes) + prefixes[1:]) * 2 + (labels[:-1] == labels[1:])
        return TagPairs(sentences, numbers, labels[1:])

    @staticmethod
    def _found(pairs: TagPairs, first: np.ndarray, after: np.ndarray) -> FoundSpans:
        """Spans of which the first places are those behind the pairs `first`, the last ones those ahead of `after`."""
        return FoundSpans(first - pairs.sentences[first], after - pairs.sentences[after], pairs.labels[first])

    def _add(self, tag: str) -> int:
        """Give a new tag the next number."""
        prefix, label = self._split(tag)
        if label not in self.labels:
            self.labels.append(label)
        self._prefixes = np.append(self._prefixes, self.prefixes.index(prefix))
        self._labels = np.append(self._labels, self.labels.index(label))
        number = self._numbers[tag] = len(self._numbers)
        return number
