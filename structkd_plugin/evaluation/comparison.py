"""Systems, or methods of several seeds, against a baseline: every figure, how far it differs, and how sure that is."""

from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm

from structkd_plugin.evaluation.figures import Figures, totals_by_language
from structkd_plugin.evaluation.seeds import SeedSummary, WelchTest, hierarchical_bootstrap, welch_test
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from structkd_plugin.evaluation.significance import (
    Averages,
    DifferenceBootstrap,
    approximate_randomisation,
    check_not_empty,
    check_options,
    check_paired,
    holm,
    paired_bootstrap,
)

_tqdm: Any = Tqdm.tqdm

LEVEL = 0.95
TRAINED, ZERO_SHOT = "macro_trained", "macro_zero_shot"


class Method(NamedTuple):
    """
    What is compared: a system, or several runs of a method.

    # Parameters

    name : `str`
    runs : `Tuple[SentenceCounts, ...]`
        One, or one for each seed; all of the same sentences.
    """

    name: str
    runs: Tuple[SentenceCounts, ...]


class ComparedFigure(NamedTuple):
    """
    One figure of the baseline and of another method; fractions of 1.

    # Parameters

    baseline, system : `SeedSummary`
    bootstrap : `DifferenceBootstrap`
        The difference and its interval, over sentences; over seeds too, where a method has several.
    p : `float`
        Two-sided: by approximate randomisation where both have one run, and that of `bootstrap` otherwise.
    p_holm : `Optional[float]`
        Corrected for all languages being tested at once; `None` for averages, which are one question each.
    seeds : `Optional[WelchTest]`
        Where both have several runs that differ.
    """

    baseline: SeedSummary
    system: SeedSummary
    bootstrap: DifferenceBootstrap
    p: float
    p_holm: Optional[float]
    seeds: Optional[WelchTest]

    def significant(self, alpha: float) -> bool:
        """Whether there is a difference, by the p-value that stands for this figure in a table."""
        return (self.p if self.p_holm is None else self.p_holm) < alpha


class SystemComparison(NamedTuple):
    """
    One method against the baseline.

    # Parameters

    name : `str`
    runs : `int`
    figures : `Dict[str, Optional[ComparedFigure]]`
        By language, `macro`, further averages and `micro`; `None` where there is nothing to find.
    """

    name: str
    runs: int
    figures: Dict[str, Optional[ComparedFigure]]


@dataclass(frozen=True)
class Comparison:
    """
    Methods against a baseline.

    # Parameters

    metric : `str`
        `accuracy` or `f1`.
    baseline : `str`
    baseline_runs : `int`
    sentences : `Dict[str, int]`
        Of each language.
    averages : `Dict[str, Tuple[str, ...]]`
        The languages of averages besides `macro`.
    systems : `Tuple[SystemComparison, ...]`
    samples, seed : `int`
        Of what was drawn.
    """

    metric: str
    baseline: str
    baseline_runs: int
    sentences: Dict[str, int]
    averages: Dict[str, Tuple[str, ...]]
    systems: Tuple[SystemComparison, ...]
    samples: int
    seed: int

    def of_methods(self, system: SystemComparison) -> bool:
        """Whether p-values are about methods, of which at least one has several runs, and not about two models."""
        return max(self.baseline_runs, system.runs) > 1

    def to_json(self) -> Dict[str, Any]:
        """Everything, as JSON can hold it; fractions of 1."""
        return {
            "metric": self.metric,
            "baseline": {"name": self.baseline, "runs": self.baseline_runs},
            "sentences": self.sentences,
            "averages": {name: list(languages) for name, languages in self.averages.items()},
            "samples": self.samples,
            "seed": self.seed,
            "level": LEVEL,
            "systems": [
                {
                    "name": system.name,
                    "runs": system.runs,
                    "question": "method" if self.of_methods(system) else "model",
                    "figures": {
                        name: None if figure is None else _figure_json(figure)
                        for name, figure in system.figures.items()
                    },
                }
                for system in self.systems
            ],
        }


def compare(
    baseline: Method,
    systems: Sequence[Method],
    *,
    trained_languages: Optional[FrozenSet[str]] = None,
    samples: int = 10_000,
    seed: int = 0,
    quiet: bool = True,
) -> Comparison:
    """
    Compare methods with a baseline.

    # Parameters

    baseline : `Method`
    systems : `Sequence[Method]`
    trained_languages : `FrozenSet[str]`, optional
        Where given, there are the averages `macro_trained` and `macro_zero_shot`, if both have a language.
    samples, seed : `int`, optional (default = 10,000 and 0)
    quiet : `bool`, optional (default = `True`)
        Whether no progress is shown.

    # Raises

    `ConfigurationError` : if a run is not of the same sentences as the baseline's first, or two methods share a name.
    """
    names = [baseline.name, *(system.name for system in systems)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{name} is compared with itself: give each system a name of its own, NAME=PATH")
    check_options(samples)
    first = baseline.runs[0]
    check_not_empty(first)
    for method in (baseline, *systems):
        for number, run in enumerate(method.runs):
            which = method.name if len(method.runs) == 1 else f"run {number + 1} of {method.name}"
            one = baseline.name if len(baseline.runs) == 1 else f"run 1 of {baseline.name}"
            check_paired(first, run, (one, which))
    averages = _averages(first.languages, trained_languages)
    progress = _tqdm(systems, desc="comparing", disable=quiet)
    return Comparison(
        first.metric,
        baseline.name,
        len(baseline.runs),
        {language: int((first.language_of == number).sum()) for number, language in enumerate(first.languages)},
        averages,
        tuple(
            SystemComparison(system.name, len(system.runs), _compared(baseline, system, averages, samples, seed))
            for system in progress
        ),
        samples,
        seed,
    )


def _averages(languages: Sequence[str], trained: Optional[FrozenSet[str]]) -> Dict[str, Tuple[str, ...]]:
    if trained is None:
        return {}
    groups = {
        TRAINED: tuple(language for language in languages if language in trained),
        ZERO_SHOT: tuple(language for language in languages if language not in trained),
    }
    return groups if all(groups.values()) else {}


def _compared(
    baseline: Method, system: Method, averages: Averages, samples: int, seed: int
) -> Dict[str, Optional[ComparedFigure]]:
    figures = Figures.of(baseline.runs[0], averages)
    # (runs, F)
    of_baseline, of_system = (
        np.stack([figures(totals_by_language(run)) for run in method.runs]) for method in (baseline, system)
    )
    p_values: Dict[str, float] = {}
    if len(baseline.runs) == len(system.runs) == 1:
        bootstraps = paired_bootstrap(baseline.runs[0], system.runs[0], samples=samples, seed=seed, averages=averages)
        exchanged = approximate_randomisation(
            baseline.runs[0], system.runs[0], samples=samples, seed=seed, averages=averages
        )
        p_values = {name: found.p for name, found in exchanged.items() if found is not None}
    else:
        bootstraps = hierarchical_bootstrap(baseline.runs, system.runs, samples=samples, seed=seed, averages=averages)
        p_values = {name: found.p_two_sided for name, found in bootstraps.items() if found is not None}
    corrected = holm({language: p_values[language] for language in figures.languages if language in p_values})
    compared: Dict[str, Optional[ComparedFigure]] = {}
    for f, name in enumerate(figures.names):
        bootstrap = bootstraps[name]
        compared[name] = None
        if bootstrap is not None:
            first, second = of_baseline[:, f].tolist(), of_system[:, f].tolist()
            compared[name] = ComparedFigure(
                SeedSummary.of(first, LEVEL),
                SeedSummary.of(second, LEVEL),
                bootstrap,
                p_values[name],
                corrected.get(name),
                welch_test(first, second, LEVEL),
            )
    return compared


def _figure_json(figure: ComparedFigure) -> Dict[str, Any]:
    bootstrap, seeds = figure.bootstrap, figure.seeds
    return {
        "baseline": _summary_json(figure.baseline),
        "system": _summary_json(figure.system),
        "difference": bootstrap.difference,
        "interval": list(bootstrap.interval),
        "p": figure.p,
        "p_holm": figure.p_holm,
        "bootstrap": {
            "p_one_sided": bootstrap.p_one_sided,
            "p_two_sided": bootstrap.p_two_sided,
            "share_better": bootstrap.share_better,
        },
        "seeds": None if seeds is None else {"p": seeds.p, "interval": list(seeds.interval)},
    }


def _summary_json(summary: SeedSummary) -> Dict[str, Any]:
    return {
        "mean": summary.mean,
        "values": list(summary.values),
        "standard_deviation": summary.standard_deviation,
        "interval": None if summary.interval is None else list(summary.interval),
    }


def figure_names(comparison: Comparison) -> List[str]:
    """The figures of a comparison, in the order of its table."""
    return list(comparison.systems[0].figures)


def common_trained_languages(
    known: Mapping[str, Optional[FrozenSet[str]]], languages: FrozenSet[str]
) -> Tuple[Optional[FrozenSet[str]], Optional[str]]:
    """
    The languages that all systems were trained in, as far as these are among `languages`.

    # Parameters

    known : `Mapping[str, Optional[FrozenSet[str]]]`
        By system; `None` where it is not known.
    languages : `FrozenSet[str]`
        Those that sentences are in.

    # Returns

    `Tuple[Optional[FrozenSet[str]], Optional[str]]` : `None` where no system knows or two differ, and then, if two
        differ, what is to be said of it.
    """
    told = {name: trained & languages for name, trained in known.items() if trained is not None}
    different = sorted({", ".join(sorted(trained)) or "none of them" for trained in told.values()})
    if len(different) > 1:
        return None, (
            "the systems were trained in different languages of these ("
            + "; ".join(different)
            + "), so that trained and zero-shot languages have no averages of their own: say which are trained by "
            "--trained-languages"
        )
    return next(iter(told.values()), None), None
