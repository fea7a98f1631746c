"""What is wrong with spans that are not right: the type, the boundary, both, or that there is none to compare with."""

from typing import Dict, List, Tuple

import numpy as np

from structkd_plugin.metrics.span_finder import FoundSpans

RIGHT, WRONG_TYPE, WRONG_BOUNDARY, WRONG_BOTH = "right", "wrong_type", "wrong_boundary", "wrong_both"
MISSED, SPURIOUS = "missed", "spurious"
KINDS = (RIGHT, WRONG_TYPE, WRONG_BOUNDARY, WRONG_BOTH, MISSED, SPURIOUS)


def same_stretch(gold: FoundSpans, predicted: FoundSpans) -> Tuple[np.ndarray, np.ndarray]:
    """The indices of spans that begin and end at the same words, whatever their labels: two arrays (M,), int64."""
    _, mine, theirs = np.intersect1d(gold.starts, predicted.starts, assume_unique=True, return_indices=True)
    same = gold.ends[mine] == predicted.ends[theirs]
    return mine[same], theirs[same]


def span_errors(gold: FoundSpans, predicted: FoundSpans) -> Dict[str, int]:
    """
    How many spans are of each of `KINDS`.

    Each gold span is compared with at most one predicted span, and the other way round: first with that of the same
    words, which is `right` or has the `wrong_type`; of what remains, from left to right, with one of the same
    label that shares a word with it (`wrong_boundary`); then with any that shares a word (`wrong_both`). What then
    remains is `missed`, or `spurious`.

    # Parameters

    gold, predicted : `FoundSpans`
        With indices into the same words.
    """
    mine, theirs = same_stretch(gold, predicted)
    right = int((gold.labels[mine] == predicted.labels[theirs]).sum())
    left = gold.select(np.setdiff1d(np.arange(len(gold.starts)), mine))
    left_predicted = predicted.select(np.setdiff1d(np.arange(len(predicted.starts)), theirs))
    wrong_boundary = 0
    matched: List[int] = []
    matched_predicted: List[int] = []
    for label in np.intersect1d(left.labels, left_predicted.labels).tolist():
        here = np.flatnonzero(left.labels == label)
        there = np.flatnonzero(left_predicted.labels == label)
        pairs = _overlapping(left.select(here), left_predicted.select(there))
        wrong_boundary += len(pairs)
        matched += [int(here[i]) for i, _ in pairs]
        matched_predicted += [int(there[j]) for _, j in pairs]
    left = left.select(np.setdiff1d(np.arange(len(left.starts)), matched))
    left_predicted = left_predicted.select(np.setdiff1d(np.arange(len(left_predicted.starts)), matched_predicted))
    wrong_both = len(_overlapping(left, left_predicted))
    return {
        RIGHT: right,
        WRONG_TYPE: len(mine) - right,
        WRONG_BOUNDARY: wrong_boundary,
        WRONG_BOTH: wrong_both,
        MISSED: len(left.starts) - wrong_both,
        SPURIOUS: len(left_predicted.starts) - wrong_both,
    }


def _overlapping(first: FoundSpans, second: FoundSpans) -> List[Tuple[int, int]]:
    """As many pairs as there can be of spans that share a word, each span in one pair at most."""
    starts, ends = first.starts.tolist(), first.ends.tolist()
    other_starts, other_ends = second.starts.tolist(), second.ends.tolist()
    pairs = []
    i = j = 0
    while i < len(starts) and j < len(other_starts):
        if ends[i] <= other_starts[j]:
            i += 1
        elif other_ends[j] <= starts[i]:
            j += 1
        else:
            pairs.append((i, j))
            i, j = i + 1, j + 1
    return pairs
