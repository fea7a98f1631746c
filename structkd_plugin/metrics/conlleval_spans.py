"""The spans in tags that may be ill-formed, by the definition of the CoNLL-2000, 2002 and 2003 shared tasks."""

from typing import Tuple

import numpy as np

from structkd_plugin.metrics.span_finder import FoundSpans, SpanFinder
from structkd_plugin.tag_schemes import split_tag

_PREFIXES = "OBIES"
# What a prefix is called here.
_NAMES = str.maketrans("MLU", "IES")


class ConllevalSpans(SpanFinder):
    """
    Finds the spans that conlleval counts: every word that is tagged as part of a span is in one.

    A span begins at every B, and where a word that is tagged at all follows one of another label or one outside
    of spans; it ends where the next one begins, or before `O`. So one that begins with I is a span like any
    other. The prefixes E and S, of which the shared tasks have none, also end a span, as in the script's versions for
    Python and in seqeval without `mode="strict"`; L is the same as E, U as S, M as I.
    """

    prefixes = _PREFIXES

    def find(self, tags: np.ndarray, lengths: np.ndarray) -> FoundSpans:
        """The spans in several sentences."""
        pairs = self._pairs(tags, lengths)
        first, stops = np.flatnonzero(_STARTS[pairs.numbers]), np.flatnonzero(_ENDS[pairs.numbers])
        # No two spans overlap, and each is ended by what follows the sentence, if by nothing else.
        return self._found(pairs, first, stops[np.searchsorted(stops, first, side="right")])

    def _split(self, tag: str) -> Tuple[str, str]:
        prefix, label = split_tag(tag, self.scheme)
        return prefix.translate(_NAMES), label


def _starts(before: str, prefix: str, same_label: bool) -> bool:
    """Whether a span starts at a word."""
    if prefix == "O":
        return False
    return prefix in "BS" or before in "ESO" or not same_label


def _ends(before: str, prefix: str, same_label: bool) -> bool:
    """Whether a span ended with the word before."""
    if before == "O":
        return False
    return before in "ES" or prefix in "BSO" or not same_label


_STARTS, _ENDS = (
    np.array([decide(a, b, same) for a in _PREFIXES for b in _PREFIXES for same in (False, True)])
    for decide in (_starts, _ends)
)
