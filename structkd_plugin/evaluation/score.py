"""Accuracy, or precision, recall and F1, of counts; undefined where there is nothing to divide by."""

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Sequence

from structkd_plugin.evaluation.sentence_counts import COLUMNS
from structkd_plugin.metrics import SpanScores


@dataclass(frozen=True)
class Score:
    """
    What follows from counts.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    counts : `Sequence[int]`
        As the columns of `SentenceCounts.counts`.
    """

    metric: str
    counts: Sequence[int]

    @property
    def value(self) -> Optional[float]:
        """
        Accuracy or F1 in [0, 1]. `None` without words, or without gold spans, where F1 is 0 whatever is predicted and
        would say nothing.
        """
        if not self.counts[-1]:
            return None
        # As the metrics of a training compute it, to the last bit.
        return self.counts[0] / self.counts[1] if self.metric == "accuracy" else SpanScores(*self.counts).f1

    @property
    def precision(self) -> Optional[float]:
        """The share of predicted spans that are right; `None` where none was predicted."""
        return SpanScores(*self.counts).precision if self.counts[1] else None

    @property
    def recall(self) -> Optional[float]:
        """The share of gold spans that were predicted; `None` where there is none."""
        return SpanScores(*self.counts).recall if self.counts[2] else None

    @property
    def note(self) -> Optional[str]:
        """Why a figure is undefined, or 0; `None` where there is nothing to say."""
        if self.metric == "accuracy":
            return None if self.counts[-1] else "there are no words"
        _, predicted, gold = self.counts
        if not gold and not predicted:
            return "no spans in the gold tags, and none predicted: precision, recall and F1 are undefined"
        if not gold:
            return f"no spans in the gold tags: recall and F1 are undefined, and all {predicted:,} predicted are wrong"
        if not predicted:
            return f"no spans were predicted: precision is undefined, and all {gold:,} gold spans are missed"
        return None

    def to_json(self) -> Dict[str, Any]:
        """Counts by their names, and what follows from them, `None` where it is undefined."""
        figures: Dict[str, Any] = dict(zip(COLUMNS[self.metric], map(int, self.counts), strict=True))
        if self.metric == "f1":
            figures.update(precision=self.precision, recall=self.recall)
        figures[self.metric] = self.value
        return figures


def macro(scores: Iterable[Score]) -> Optional[float]:
    """The mean of the values that are defined; `None` where none is."""
    values = [score.value for score in scores]
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def total(metric: str, scores: Iterable[Score]) -> Score:
    """The score of all that is counted in any of `scores`."""
    columns = zip(*(score.counts for score in scores), strict=True)
    return Score(metric, tuple(map(sum, columns)) or (0,) * len(COLUMNS[metric]))
