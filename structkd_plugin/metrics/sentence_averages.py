"""Averages per sentence of named quantities, such as the parts of a loss."""

from collections import Counter
from typing import Dict

import torch
from allennlp.training.metrics.metric import Metric

from structkd_plugin.metrics.counts import Counts, summed_over_processes

_TOTAL, _WEIGHT = "total", "weight"


class SentenceAverages(Metric):
    """
    The weighted average over sentences of every quantity that was named, over all processes when it is reset.

    Quantities may differ between batches and between processes; one that no sentence had does not appear.
    """

    supports_distributed = True

    def __init__(self) -> None:
        self._counts: Counts = Counter()

    def __call__(self, name: str, values: torch.Tensor, weights: torch.Tensor) -> None:  # type: ignore[override]
        """
        Count sentences.

        # Parameters

        name : `str`
            Of the quantity.
        values : `torch.Tensor`
            Shape (B,); not read where the weight is 0.
        weights : `torch.Tensor`
            Shape (B,), at least 0, or boolean.
        """
        values, weights = (x.detach().to(torch.float64) for x in (values, weights))
        # (B,)
        counted = torch.where(weights > 0, values, 0.0)
        # (2,): one transfer for both numbers
        total, weight = torch.stack([counted @ weights, weights.sum()]).tolist()
        self._counts[name, _TOTAL] += total
        self._counts[name, _WEIGHT] += weight

    def get_metric(self, reset: bool = False) -> Dict[str, float]:
        """The averages since the last reset: of this process, or of all processes when `reset`."""
        counts = summed_over_processes(self._counts) if reset else self._counts
        averages = {
            name: counts[name, _TOTAL] / weight for (name, kind), weight in counts.items() if kind == _WEIGHT and weight
        }
        if reset:
            self.reset()
        return averages

    def reset(self) -> None:
        """Forget what was counted."""
        self._counts = Counter()
