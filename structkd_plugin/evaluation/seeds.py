"""
Several trainings of one method, which differ in their seed only.

A test over sentences asks whether *this model* is better. What is here asks whether *this method* is, of which each
training gives another model: on the very sentences of the test set (`welch_test`), or on others too
(`hierarchical_bootstrap`). docs/evaluation.md has the formulae and their sources.
"""

from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from scipy import stats

from structkd_plugin.evaluation.figures import Figures, totals_by_language
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from structkd_plugin.evaluation.significance import (
    ROUNDING,
    Averages,
    DifferenceBootstrap,
    Interval,
    check_options,
    check_paired,
    difference_bootstraps,
    resampled_figures,
)


class SeedSummary(NamedTuple):
    """
    A figure over seeds.

    # Parameters

    values : `Tuple[float, ...]`
        One for each seed.
    mean : `float`
    standard_deviation : `Optional[float]`
        That of a sample (divided by one less than the number of seeds); `None` for a single seed.
    interval : `Optional[Interval]`
        Of the mean, by Student's t; `None` for a single seed.
    """

    values: Tuple[float, ...]
    mean: float
    standard_deviation: Optional[float]
    interval: Optional[Interval]

    @classmethod
    def of(cls, values: Sequence[float], level: float = 0.95) -> "SeedSummary":
        """The summary of at least one value, with an interval of that level of confidence."""
        mean = float(np.mean(values))
        if len(values) == 1:
            return cls(tuple(values), mean, None, None)
        deviation = float(np.std(values, ddof=1))
        half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * deviation / len(values) ** 0.5
        return cls(tuple(values), mean, deviation, Interval(mean - half, mean + half))


class WelchTest(NamedTuple):
    """
    Welch's t-test of two methods' means over seeds.

    # Parameters

    difference : `float`
        System less baseline.
    interval : `Interval`
        Of the difference.
    p : `float`
        Two-sided.
    """

    difference: float
    interval: Interval
    p: float


def welch_test(baseline: Sequence[float], system: Sequence[float], level: float = 0.95) -> Optional[WelchTest]:
    """
    Whether two methods differ, by their figures over seeds.

    # Parameters

    baseline, system : `Sequence[float]`
        One figure for each seed.
    level : `float`, optional (default = 0.95)
        Of the interval.

    # Returns

    `Optional[WelchTest]` : `None` where a method has one seed only, or no seed makes any difference, so that there is
        nothing to judge a difference by.
    """
    if min(len(baseline), len(system)) < 2 or np.ptp(baseline) == np.ptp(system) == 0:
        return None
    # The variance of each mean; scipy's own test warns where the values of a method are all the same.
    first, second = (float(np.var(values, ddof=1)) / len(values) for values in (baseline, system))
    error = (first + second) ** 0.5
    freedom = (first + second) ** 2 / (first**2 / (len(baseline) - 1) + second**2 / (len(system) - 1))
    difference = float(np.mean(system) - np.mean(baseline))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom))
    return WelchTest(difference, Interval(difference - half, difference + half), p)


def hierarchical_bootstrap(
    baseline: Sequence[SentenceCounts],
    system: Sequence[SentenceCounts],
    *,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    averages: Averages = None,
) -> Dict[str, Optional[DifferenceBootstrap]]:
    """
    The differences between two methods' mean figures, by resampling both seeds and sentences.

    Each sample draws sentences within each language, the same for all runs, and of each method's n runs n - 1, with
    replacement: as many as that, because the mean of n draws from n values varies less than the mean of n seeds does,
    by the factor (n - 1) / n, which is a half for two seeds. A method with one run is that run: nothing is said of its
    other seeds.

    Of the differences δ* of these samples the variance V is taken; intervals and p-values are those of Student's t,

        t = δ / √V,   ν = V² / (V_1² / (n_1 − 1) + V_2² / (n_2 − 1)),

    with V_m, the variance of a method's mean over its n_m runs on these sentences, a part of V (Satterthwaite, 1946):
    few seeds tell little of how much seeds vary, and quantiles of the δ* know nothing of that.

    # Parameters

    baseline, system : `Sequence[SentenceCounts]`
        One for each seed, all of the same sentences.
    samples : `int`, optional (default = 10,000)
    seed : `int`, optional (default = 0)
        Of the drawing.
    level : `float`, optional (default = 0.95)
        Of the intervals.
    averages : `Mapping[str, Sequence[str]]`, optional
        Further averages besides `macro`: languages by the average's name.

    # Returns

    `Dict[str, Optional[DifferenceBootstrap]]` : by figure, `None` where it is not defined.

    # Raises

    `ConfigurationError` : if the runs are not all of the same sentences.
    """
    runs = [*baseline, *system]
    for run in runs[1:]:
        check_paired(runs[0], run, ("one run", "another"))
    check_options(samples, level)
    figures = Figures.of(runs[0], averages)
    rng = np.random.default_rng(seed)
    # (samples, R, F)
    resampled = resampled_figures(runs, figures, samples, rng)
    # (R, F)
    observed = np.stack([figures(totals_by_language(run)) for run in runs])
    means = [
        np.einsum("sr,srf->sf", _run_weights(of_method.shape[1], samples, rng), of_method)
        for of_method in (resampled[:, : len(baseline)], resampled[:, len(baseline) :])
    ]
    of_methods = observed[: len(baseline)], observed[len(baseline) :]
    difference = of_methods[1].mean(0) - of_methods[0].mean(0)
    differences = means[1] - means[0]
    bootstraps = difference_bootstraps(figures, difference, differences, level)
    if len(runs) == 2:
        return bootstraps
    return {
        name: None
        if bootstrap is None
        else _by_students_t(bootstrap, float(np.nanvar(differences[:, f])), [of[:, f] for of in of_methods], level)
        for f, (name, bootstrap) in enumerate(bootstraps.items())
    }


def _by_students_t(
    bootstrap: DifferenceBootstrap, variance: float, of_methods: Sequence[np.ndarray], level: float
) -> DifferenceBootstrap:
    """Interval and p-values of a difference of that variance, of which seeds are a part; each method's figures (n,)."""
    error = variance**0.5
    if error <= ROUNDING:
        return bootstrap
    uncertain = sum((np.var(of, ddof=1) / len(of)) ** 2 / (len(of) - 1) for of in of_methods if len(of) > 1)
    freedom = variance**2 / uncertain if uncertain else np.inf
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    t = bootstrap.difference / error
    return bootstrap._replace(
        interval=Interval(bootstrap.difference - half, bootstrap.difference + half),
        p_one_sided=float(stats.t.sf(t, freedom)),
        p_two_sided=float(2 * stats.t.sf(abs(t), freedom)),
    )


def _run_weights(runs: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Shape (samples, runs): the share of each run in the mean."""
    drawn = max(1, runs - 1)
    return rng.multinomial(drawn, np.full(runs, 1 / runs), size=samples) / drawn
