"""The spans in tags that may be ill-formed, by seqeval's strict definition."""

from functools import cache
from typing import Dict, NamedTuple, Tuple, Type

import numpy as np
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Token

from structkd_plugin.metrics.span_finder import FoundSpans, SpanFinder
from structkd_plugin.tag_schemes import split_tag

_SEQEVAL_SCHEMES: Dict[str, Type[Token]] = {
    "BIO": IOB2,
    "IOB1": IOB1,
    "BIOUL": BILOU,
    "BIOES": IOBES,
    "BMES": IOBES,  # which differs from it by one letter
}
# All of seqeval's prefixes.
_PREFIXES = "OBIELSU"


class StrictSpans(SpanFinder):
    """
    Finds the spans that `seqeval.metrics` counts with `mode="strict"`; tags that are no part of a well-formed one are
    in none. seqeval's decisions are looked up because making its objects for each word takes longer than tagging.
    """

    prefixes = _PREFIXES

    def find(self, tags: np.ndarray, lengths: np.ndarray) -> FoundSpans:
        """The spans in several sentences."""
        pairs = self._pairs(tags, lengths)
        # (N + B,): element i is about place i + 1, and the one before it
        starts, continues, ends = (decisions[pairs.numbers] for decisions in _steps(self.scheme))
        # A place is in a span, well-formed or not, if one starts there, or if it continues the one that the place
        # before is in. Thus the last place that does not depend on the one before it decides.
        independent = starts | ~continues
        inside = starts[np.maximum.accumulate(np.where(independent, np.arange(len(starts)), 0))]
        # Where a tag could both start a span and continue one, it continues one if it can.
        starts[1:] &= ~(continues[1:] & inside[:-1])
        first, stops = np.flatnonzero(starts), np.flatnonzero(~continues)
        # Nothing continues a place outside of spans, so that every span has a stop behind it.
        after = stops[np.searchsorted(stops, first, side="right")]
        return self._found(pairs, first[ends[after]], after[ends[after]])

    def _split(self, tag: str) -> Tuple[str, str]:
        split_tag(tag, self.scheme)
        token = _SEQEVAL_SCHEMES[self.scheme]("I" + tag[1:] if self.scheme == "BMES" and tag[0] == "M" else tag)
        return token.prefix.name, token.tag


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
