"""What each sentence adds to a metric, from which the metric of any sample of sentences follows."""

from dataclasses import dataclass
from typing import Tuple

import numpy as np

# The columns of `SentenceCounts.counts` by metric.
COLUMNS = {"accuracy": ("correct", "words"), "f1": ("correct", "predicted", "gold")}


@dataclass(frozen=True)
class SentenceCounts:
    """
    The counts of S sentences in C columns.

    # Parameters

    metric : `str`
        `accuracy` or `f1`; decides on the columns.
    languages : `Tuple[str, ...]`
        The languages, sorted.
    language_of : `numpy.ndarray`
        Shape (S,), int64: of each sentence, an index into `languages`.
    counts : `numpy.ndarray`
        Shape (S, C), int64: for `accuracy` words that are right and words; for `f1` spans that are right, that were
        predicted, and that are in the gold tags.
    """

    metric: str
    languages: Tuple[str, ...]
    language_of: np.ndarray
    counts: np.ndarray


def metric_of(metric: str, totals: np.ndarray) -> np.ndarray:
    """
    Accuracy, or F1 of spans, from sums of counts.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    totals : `numpy.ndarray`
        Shape (..., C): sums over sentences, as `SentenceCounts.counts` has them, possibly weighted.

    # Returns

    `numpy.ndarray` : shape (...), float64 in [0, 1]: correct / words, or 2·correct / (predicted + gold); 0 where
        there is nothing to divide by.
    """
    correct = totals[..., 0].astype(np.float64)
    whole = totals[..., 1].astype(np.float64)
    if metric == "f1":
        correct, whole = 2 * correct, whole + totals[..., 2]
    return np.divide(correct, whole, out=np.zeros_like(correct), where=whole > 0)
