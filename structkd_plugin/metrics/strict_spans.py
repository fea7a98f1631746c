"""The spans in tags that may be ill-formed, by seqeval's strict definition."""

from functools import cache
from typing import Dict, Iterable, List, NamedTuple, Sequence, Type

import numpy as np
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Token

from structkd_plugin.tag_schemes import OUTSIDE, Span, canonical_scheme, split_tag

_SEQEVAL_SCHEMES: Dict[str, Type[Token]] = {
    "BIO": IOB2,
    "IOB1": IOB1,
    "BIOUL": BILOU,
    "BIOES": IOBES,
    "BMES": IOBES,  # which differs from it by one letter
}
# All of seqeval's prefixes, at their numbers.
_PREFIXES = "OBIELSU"


class FoundSpans(NamedTuple):
    """Spans from left to right: arrays (N,), int64."""

    starts: np.ndarray
    ends: np.ndarray  # exclusive
    labels: np.ndarray  # numbers, indices into `StrictSpans.labels`

    def select(self, which: np.ndarray) -> "FoundSpans":
        """Some of the spans, by their indices or by one boolean for each."""
        return FoundSpans(*(column[which] for column in self))

    def among(self, others: "FoundSpans") -> "FoundSpans":
        """Those that `others` has too; neither may have two spans with the same start, as no tags write."""
        _, mine, theirs = np.intersect1d(self.starts, others.starts, assume_unique=True, return_indices=True)
        same = (self.ends[mine] == others.ends[theirs]) & (self.labels[mine] == others.labels[theirs])
        return self.select(mine[same])


class StrictSpans:
    """
    Finds the spans that `seqeval.metrics` counts with `mode="strict"`; tags that are no part of a well-formed one are
    in none.

    seqeval decides by the tag and the one before it: by their prefixes, and by whether their labels are the same. Its
    decisions are looked up in tables, for all words of a batch at once, because making seqeval's objects for
    each word takes longer than tagging. To this end tags have numbers.

    # Parameters

    scheme : `str`
        One of `structkd_plugin.tag_schemes.SCHEMES`.
    tags : `Iterable[str]`, optional
        The tags 0, 1, …, all different; other tags get the next numbers when `numbers` meets them.

    # Raises

    `ValueError` : if there is no such scheme, or a tag is none of the scheme's.
    """

    def __init__(self, scheme: str, tags: Iterable[str] = ()) -> None:
        self.scheme = canonical_scheme(scheme)
        # Of spans, by their numbers.
        self.labels: List[str] = []
        self._steps = _steps(self.scheme)
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
        # (N + B,): which sentence it is, and one place more for each
        sentences = np.repeat(np.arange(len(lengths)), lengths + 1)
        # (N + B + 1,): a tag outside of spans ahead of, between and behind the sentences ends what is open there
        path = np.full(len(sentences) + 1, self._outside)
        path[np.arange(len(tags)) + np.repeat(np.arange(1, len(lengths) + 1), lengths)] = tags
        prefixes, labels = self._prefixes[path], self._labels[path]
        # (N + B,): element i is about place i + 1, and the one before it
        pairs = (prefixes[:-1] * len(_PREFIXES) + prefixes[1:]) * 2 + (labels[:-1] == labels[1:])
        starts, continues, ends = (decisions[pairs] for decisions in self._steps)
        # A place is in a span, well-formed or not, if one starts there, or if it continues the one that the place
        # before is in. Thus the last place that does not depend on the one before it decides.
        independent = starts | ~continues
        inside = starts[np.maximum.accumulate(np.where(independent, np.arange(len(pairs)), 0))]
        # Where a tag could both start a span and continue one, it continues one if it can.
        starts[1:] &= ~(continues[1:] & inside[:-1])
        first, stops = np.flatnonzero(starts), np.flatnonzero(~continues)
        # Nothing continues a place outside of spans, so that every span has a stop behind it.
        after = stops[np.searchsorted(stops, first, side="right")]
        first, after = first[ends[after]], after[ends[after]]
        return FoundSpans(first - sentences[first], after - sentences[first], labels[first + 1])

    def _add(self, tag: str) -> int:
        """Give a new tag the next number."""
        split_tag(tag, self.scheme)
        token = _SEQEVAL_SCHEMES[self.scheme]("I" + tag[1:] if self.scheme == "BMES" and tag[0] == "M" else tag)
        if token.tag not in self.labels:
            self.labels.append(token.tag)
        self._prefixes = np.append(self._prefixes, _PREFIXES.index(token.prefix.name))
        self._labels = np.append(self._labels, self.labels.index(token.tag))
        number = self._numbers[tag] = len(self._numbers)
        return number


class _Steps(NamedTuple):
    """
    What a tag means after another one: booleans, for each prefix of the other one, for each prefix of the tag, for
    different labels and for equal ones.
    """

    starts: np.ndarray
    continues: np.ndarray
    ends: np.ndarray  # the span that the other one was in


@cache
def _steps(scheme: str) -> _Steps:
    token_class = _SEQEVAL_SCHEMES[scheme]
    steps = [
        (token.is_start(before), token.is_inside(before), token.is_end(before))
        for before in map(token_class, (f"{prefix}-A" for prefix in _PREFIXES))
        for token in map(token_class, (f"{prefix}-{label}" for prefix in _PREFIXES for label in "BA"))
    ]
    return _Steps(*np.array(steps).T)
