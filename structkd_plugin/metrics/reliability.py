"""How often a tagger is right where it says that it is sure."""

from typing import Dict, List, Tuple

import numpy as np

# R of a calibration's `reliability`.
NUM_BINS = 20


class ReliabilityBins:
    """
    Words by the probability of their most probable label, in bins of equal width, and how often that label is right.

    Bin r of R has the probabilities in [r/R, (r + 1)/R); the last one 1 too.

    # Parameters

    num_bins : `int`, optional (default = `NUM_BINS`)
        R.
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.words = np.zeros(num_bins, np.int64)
        self._right = np.zeros(num_bins, np.int64)
        self._probability = np.zeros(num_bins)

    def add(self, probabilities: np.ndarray, right: np.ndarray) -> None:
        """
        Count words.

        # Parameters

        probabilities : `numpy.ndarray`
            Shape (N,), that of the most probable label of each word.
        right : `numpy.ndarray`
            Shape (N,), boolean: whether it is the gold label.
        """
        probabilities = probabilities.astype(np.float64)
        size = len(self.words)
        bins = np.clip(np.floor(probabilities * size).astype(np.int64), 0, size - 1)
        self.words += np.bincount(bins, minlength=size)
        self._right += np.bincount(bins[right], minlength=size)
        self._probability += np.bincount(bins, probabilities, minlength=size)

    def merge(self, other: "ReliabilityBins") -> None:
        """Count the words of `other` too."""
        self.words += other.words
        self._right += other._right
        self._probability += other._probability

    @property
    def total(self) -> int:
        """All words."""
        return int(self.words.sum())

    @property
    def accuracy(self) -> float:
        """The share of words whose most probable label is right; 0 of none."""
        return float(self._right.sum()) / max(self.total, 1)

    @property
    def confidence(self) -> float:
        """The mean probability of the most probable label; 0 of none."""
        return float(self._probability.sum()) / max(self.total, 1)

    @property
    def ece(self) -> float:
        """
        The expected calibration error, Σ_r n_r/N · |share right in bin r − mean probability in bin r|; 0 without words.
        """
        return float(np.abs(self._right - self._probability).sum()) / max(self.total, 1)

    def reliability(self) -> Tuple[float, ...]:
        """
        For each bin the share of words that are right; without words interpolated between the nearest bins with words,
        and at either end that of the nearest one.

        # Raises

        `ValueError` : if no word was counted.
        """
        known = np.flatnonzero(self.words)
        if not len(known):
            raise ValueError("there is no reliability of no words")
        shares = self._right[known] / self.words[known]
        return tuple(np.interp(np.arange(len(self.words)), known, shares).tolist())

    def rows(self) -> List[Dict[str, float]]:
        """For each bin with words: `from` and `to`, `words`, their mean `probability`, and the share `right`."""
        size = len(self.words)
        return [
            {
                "from": r / size,
                "to": (r + 1) / size,
                "words": int(self.words[r]),
                "probability": float(self._probability[r] / self.words[r]),
                "right": float(self._right[r] / self.words[r]),
            }
            for r in np.flatnonzero(self.words).tolist()
        ]
