"""Methods that are compared: each has one run, or several that differ in their seeds."""

import math
import statistics
from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.runs import Run
from structkd_plugin.evaluation.report.stored_evaluation import FILE, StoredEvaluation
from structkd_plugin.evaluation.sentence_counts import COLUMNS
from structkd_plugin.metrics.language_metric import MACRO, MICRO

# Averages over the languages that a run was trained on, and over the others.
TRAINED, ZERO_SHOT = "macro, trained", "macro, zero-shot"
AVERAGES = (MACRO, MICRO, TRAINED, ZERO_SHOT)

HERE, STORED, TEST, VALIDATION = "evaluated here", FILE, "metrics.json, test", "metrics.json, validation"

Interval = Tuple[float, float]


@dataclass(frozen=True)
class RunScores:
    """
    The figures of a run.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    origin : `str`
        Where they come from.
    values : `Mapping[str, Optional[float]]`
        By language, and by what is among `AVERAGES`; none where a language has nothing to find.
    zero_shot : `FrozenSet[str]`
        The languages that the run was not trained on.
    intervals : `Mapping[str, Interval]`
        Of the values that have one.
    """

    metric: str
    origin: str
    values: Mapping[str, Optional[float]]
    zero_shot: FrozenSet[str]
    intervals: Mapping[str, Interval]

    @property
    def languages(self) -> List[str]:
        """Those that have a figure, or could have one, sorted."""
        return sorted(set(self.values) - set(AVERAGES))


@dataclass(frozen=True)
class Estimate:
    """A figure of a method: of one run, perhaps with an interval, or the mean of several with their deviation."""

    value: Optional[float]
    interval: Optional[Interval] = None
    deviation: Optional[float] = None
    runs: int = 1

    def bounds(self) -> Interval:
        """How far it reaches, for a drawing: the interval, or one deviation to either side."""
        assert self.value is not None
        if self.interval is not None:
            return self.interval
        spread = self.deviation or 0.0
        return self.value - spread, self.value + spread

    def figures(self) -> Dict[str, object]:
        """In types that JSON has."""
        return {
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "standard_deviation": self.deviation,
            "runs": self.runs,
        }


@dataclass(frozen=True)
class Method:
    """A name, the runs, and the figures of those that have some."""

    name: str
    runs: Tuple[Run, ...]
    scores: Tuple[RunScores, ...]

    @property
    def zero_shot(self) -> FrozenSet[str]:
        """The languages that no run was trained on, among those that have figures."""
        return frozenset().union(*(scores.zero_shot for scores in self.scores))

    @property
    def evaluations(self) -> List[StoredEvaluation]:
        """Of the runs that have one."""
        return [run.evaluation for run in self.runs if run.evaluation is not None]

    def estimate(self, name: str) -> Estimate:
        """The figure of a language, or of an average."""
        found = [(scores.values[name], scores.intervals.get(name)) for scores in self.scores if name in scores.values]
        values = [value for value, _ in found if value is not None]
        if len(values) == 1:
            interval = next(interval for value, interval in found if value is not None)
            return Estimate(values[0], interval=interval if len(self.runs) == 1 else None)
        return mean_of(values)

    def values(self) -> Dict[str, float]:
        """The figures of the languages that have one."""
        languages = sorted({language for scores in self.scores for language in scores.languages})
        estimates = {language: self.estimate(language).value for language in languages}
        return {language: value for language, value in estimates.items() if value is not None}


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean, and from two values on their sample standard deviation."""
    if not values:
        return Estimate(None, runs=0)
    return Estimate(
        math.fsum(values) / len(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        runs=len(values),
    )


def scores_of(run: Run, intervals: Mapping[str, Interval]) -> Optional[RunScores]:
    """
    The figures of a run: of its evaluation; without one those of its training, on test or on validation data.

    # Parameters

    run : `Run`
    intervals : `Mapping[str, Interval]`
        Of the evaluation's figures, by the names of `RunScores.values`.

    # Returns

    `RunScores` : none where there are no figures.
    """
    if run.evaluation is not None:
        return _of_evaluation(run, run.evaluation, intervals)
    for prefix, origin in (("test", TEST), ("best_validation", VALIDATION)):
        for metric in sorted(COLUMNS, reverse=True):
            start = f"{prefix}_{metric}/"
            values = {
                name.removeprefix(start): value
                for name, value in run.metrics.items()
                if name.startswith(start) and (value is None or isinstance(value, (int, float)))
            }
            if values:
                return _with_averages(metric, origin, values, _untrained(run, set(values) - set(AVERAGES)), {})
    return None


def _of_evaluation(run: Run, evaluation: StoredEvaluation, intervals: Mapping[str, Interval]) -> RunScores:
    values = {language: evaluation.figure(row) for language, row in evaluation.languages.items()}
    zero_shot = {language for language, row in evaluation.languages.items() if row.get("zero_shot")}
    if all(row.get("zero_shot") is None for row in evaluation.languages.values()):
        zero_shot = set(_untrained(run, set(values)))
    values.update({MACRO: evaluation.macro, MICRO: evaluation.micro})
    origin = HERE if run.evaluated_here else STORED
    return _with_averages(evaluation.metric, origin, values, frozenset(zero_shot), intervals)


def _with_averages(
    metric: str,
    origin: str,
    values: Dict[str, Optional[float]],
    zero_shot: FrozenSet[str],
    intervals: Mapping[str, Interval],
) -> RunScores:
    """With the averages over the languages that were trained on, and over the others."""
    languages = set(values) - set(AVERAGES)
    for name, of_average in ((TRAINED, languages - zero_shot), (ZERO_SHOT, zero_shot)):
        defined = [value for language in sorted(of_average) if (value := values[language]) is not None]
        if defined:
            values[name] = math.fsum(defined) / len(defined)
    if not zero_shot and MACRO in intervals:
        intervals = {**intervals, TRAINED: intervals[MACRO]}
    return RunScores(metric, origin, values, zero_shot, {k: v for k, v in intervals.items() if k in values})


def _untrained(run: Run, languages: "set[str]") -> FrozenSet[str]:
    trained = run.trained_languages
    return frozenset() if trained is None else frozenset(languages - trained)


def common_metric(methods: Sequence[Method]) -> Optional[str]:
    """
    The metric of all figures; none where there are no figures.

    # Raises

    `ConfigurationError` : where runs have different ones.
    """
    of_metric = {scores.metric: method.name for method in methods for scores in method.scores}
    if len(of_metric) > 1:
        (one, first), (other, second), *_ = sorted(of_metric.items())
        raise ConfigurationError(
            f"{first!r} has {one} and {second!r} has {other}, which cannot stand in one table: report them apart"
        )
    return next(iter(of_metric), None)
