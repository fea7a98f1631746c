"""How often a system is right where it says that it is sure, by language."""

from typing import Any, Dict, Optional

import numpy as np

from structkd_plugin.metrics.reliability import ReliabilityBins


class LanguageReliability:
    """Reliability bins of each language, of words or of predicted spans."""

    def __init__(self) -> None:
        self._bins: Dict[int, ReliabilityBins] = {}

    def add(self, probabilities: np.ndarray, right: np.ndarray, language_of: np.ndarray) -> None:
        """
        Count words, or spans.

        # Parameters

        probabilities, right : `numpy.ndarray`
            Shape (N,): what the system says of each, and whether it is right.
        language_of : `numpy.ndarray`
            Shape (N,): numbers of their languages.
        """
        for number in np.unique(language_of).tolist():
            here = language_of == number
            self._bins.setdefault(number, ReliabilityBins()).add(probabilities[here], right[here])

    def to_json(self, names: Dict[int, str]) -> Optional[Dict[str, Any]]:
        """
        The expected calibration error and the bins it is made of; `None` where nothing was counted.

        # Parameters

        names : `Dict[int, str]`
            Languages by their numbers.
        """
        if not self._bins:
            return None
        merged = ReliabilityBins()
        for bins in self._bins.values():
            merged.merge(bins)
        return {
            "ece": merged.ece,
            "counted": merged.total,
            "right": merged.accuracy,
            "probability": merged.confidence,
            "languages": {name: self._bins[number].ece for number, name in names.items() if number in self._bins},
            "rows": merged.rows(),
        }
