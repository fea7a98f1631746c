"""
How sure a figure is, and whether one system is better than another, given the sentences that they were tested on.

The sentences are taken for a sample of the language; the models are what they are. docs/evaluation.md has the formulae
and their sources.
"""

from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.figures import Figures, totals_by_language
from structkd_plugin.evaluation.sentence_counts import COLUMNS, SentenceCounts

# Differences that are as large as another one but for rounding are as large as it.
ROUNDING = 1e-12
# How many weights of sentences are in memory at once; 8 bytes each, some of them twice.
_WEIGHTS_AT_ONCE = 2_000_000

Averages = Optional[Mapping[str, Sequence[str]]]


class Interval(NamedTuple):
    """Both ends of an interval."""

    low: float
    high: float


class DifferenceBootstrap(NamedTuple):
    """
    What resampling says of a difference d, system less baseline; d* is that of a sample.

    # Parameters

    difference : `float`
        d.
    interval : `Interval`
        Percentiles of d*; where seeds were drawn too, that of Student's t (`seeds.hierarchical_bootstrap`).
    p_one_sided : `float`
        Of "the system is not better": (1 + #{d* - d >= d}) / (1 + samples).
    p_two_sided : `float`
        Of "there is no difference": (1 + #{|d* - d| >= |d|}) / (1 + samples). Where seeds were drawn too, both are of
        Student's t.
    share_better : `float`
        #{d* > 0} / samples, which Koehn (2004) calls the confidence that the system is better.
    """

    difference: float
    interval: Interval
    p_one_sided: float
    p_two_sided: float
    share_better: float


class Randomisation(NamedTuple):
    """
    What exchanging the systems' outputs says of a difference.

    # Parameters

    difference : `float`
        System less baseline.
    p : `float`
        Two-sided.
    exact : `bool`
        Whether all ways of exchanging were counted, and not a sample of them.
    """

    difference: float
    p: float
    exact: bool


def bootstrap_interval(
    counts: SentenceCounts,
    *,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    averages: Averages = None,
) -> Dict[str, Optional[Interval]]:
    """
    Percentile intervals of a system's figures, by resampling sentences within each language.

    # Parameters

    counts : `SentenceCounts`
    samples : `int`, optional (default = 10,000)
    seed : `int`, optional (default = 0)
    level : `float`, optional (default = 0.95)
        Of confidence.
    averages : `Mapping[str, Sequence[str]]`, optional
        Further averages besides `macro`: languages by the average's name.

    # Returns

    `Dict[str, Optional[Interval]]` : by language, and `macro`, the further averages and `micro`; fractions of 1. `None`
        where the figure is not defined.
    """
    figures = Figures.of(counts, averages)
    check_options(samples, level)
    check_not_empty(counts)
    # (samples, F)
    resampled = resampled_figures([counts], figures, samples, np.random.default_rng(seed))[:, 0]
    observed = figures(totals_by_language(counts))
    return {
        name: None if np.isnan(observed[f]) else _percentiles(_defined(resampled[:, f]), level)
        for f, name in enumerate(figures.names)
    }


def paired_bootstrap(
    baseline: SentenceCounts,
    system: SentenceCounts,
    *,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    averages: Averages = None,
) -> Dict[str, Optional[DifferenceBootstrap]]:
    """
    The differences between two systems' figures, by resampling sentences, the same for both, within each language.

    # Parameters

    baseline, system : `SentenceCounts`
        Of the same sentences.
    samples, seed, level, averages
        As `bootstrap_interval` has them.

    # Returns

    `Dict[str, Optional[DifferenceBootstrap]]` : by figure, `None` where it is not defined.

    # Raises

    `ConfigurationError` : if the two are not of the same sentences.
    """
    check_paired(baseline, system)
    check_options(samples, level)
    figures = Figures.of(baseline, averages)
    # (samples, 2, F)
    resampled = resampled_figures([baseline, system], figures, samples, np.random.default_rng(seed))
    observed = figures(totals_by_language(system)) - figures(totals_by_language(baseline))
    return difference_bootstraps(figures, observed, resampled[:, 1] - resampled[:, 0], level)


def approximate_randomisation(
    baseline: SentenceCounts,
    system: SentenceCounts,
    *,
    samples: int = 10_000,
    seed: int = 0,
    averages: Averages = None,
) -> Dict[str, Optional[Randomisation]]:
    """
    Whether two systems' figures differ: for each sentence their counts are exchanged with probability 1/2.

    p is (1 + #{|d*| >= |d|}) / (1 + samples); where all ways of exchanging are no more than `samples`, each is counted
    once, and p is their share.

    # Parameters

    baseline, system : `SentenceCounts`
        Of the same sentences.
    samples, seed, averages
        As `bootstrap_interval` has them.

    # Returns

    `Dict[str, Optional[Randomisation]]` : by figure, `None` where it is not defined.

    # Raises

    `ConfigurationError` : if the two are not of the same sentences.
    """
    check_paired(baseline, system)
    check_options(samples)
    figures = Figures.of(baseline, averages)
    rng = np.random.default_rng(seed)
    # (L, C)
    first, second = totals_by_language(baseline), totals_by_language(system)
    observed = figures(second) - figures(first)
    changes = system.counts - baseline.counts
    # Exchanging what is equal changes nothing.
    differing = changes.any(axis=1)
    by_language = [
        changes[differing & (baseline.language_of == language)] for language in range(len(baseline.languages))
    ]
    moved, exact = _moved(by_language, samples, rng)
    exchanged = figures(second - moved) - figures(first + moved)
    found: Dict[str, Optional[Randomisation]] = {}
    for f, name in enumerate(figures.names):
        difference, differences, all_counted = observed[f], exchanged[:, f], exact
        if not exact and f < len(by_language) and 2 ** len(by_language[f]) <= samples:
            # One language alone may have few enough.
            alone = np.zeros((2 ** len(by_language[f]), *first.shape), np.int64)
            alone[:, f] = _moved([by_language[f]], samples, rng)[0][:, 0]
            differences, all_counted = (figures(second - alone) - figures(first + alone))[:, f], True
        as_large = int((np.abs(differences) >= abs(difference) - ROUNDING).sum())
        p = as_large / len(differences) if all_counted else (1 + as_large) / (1 + samples)
        found[name] = None if np.isnan(difference) else Randomisation(float(difference), p, all_counted)
    return found


def holm(p_values: Mapping[str, float]) -> Dict[str, float]:
    """
    Holm's step-down correction (1979) of p-values that are looked at together.

    # Parameters

    p_values : `Mapping[str, float]`
        By the name of the test.

    # Returns

    `Dict[str, float]` : p-values in the same order; rejecting those below α errs, in any of them, with a probability of
        at most α.
    """
    corrected: Dict[str, float] = {}
    largest = 0.0
    for smaller, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - smaller) * p))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def check_paired(
    baseline: SentenceCounts, system: SentenceCounts, names: Tuple[str, str] = ("the baseline", "the system")
) -> None:
    """
    Whether two systems were evaluated on the same sentences, by all that counts tell.

    # Raises

    `ConfigurationError` : with what differs first.
    """
    one, other = names
    first_metric, second_metric = baseline.metric, system.metric
    if first_metric != second_metric:
        raise ConfigurationError(
            f"{one} is evaluated by {first_metric} and {other} by {second_metric}, which cannot be compared"
        )
    if baseline.languages != system.languages:
        mine, theirs = (", ".join(counts.languages) or "no language" for counts in (baseline, system))
        raise ConfigurationError(
            f"{one} is evaluated in {mine} and {other} in {theirs}; evaluate both on the same files"
        )
    if len(baseline.counts) != len(system.counts):
        raise ConfigurationError(
            f"{one} is evaluated on {len(baseline.counts):,} sentences and {other} on {len(system.counts):,}; "
            "evaluate both on the same files"
        )
    check_not_empty(baseline)
    elsewhere = np.flatnonzero(baseline.language_of != system.language_of)
    if len(elsewhere):
        place = int(elsewhere[0])
        mine, theirs = (counts.languages[counts.language_of[place]] for counts in (baseline, system))
        raise ConfigurationError(
            f"sentence {place + 1:,} is in {mine} for {one} and in {theirs} for {other}; "
            "evaluate both on the same files, in the same order"
        )
    others = np.flatnonzero(baseline.counts[:, -1] != system.counts[:, -1])
    if len(others):
        place = int(others[0])
        what = {"words": "words", "gold": "gold spans"}[COLUMNS[first_metric][-1]]
        raise ConfigurationError(
            f"sentence {place + 1:,} ({baseline.languages[baseline.language_of[place]]}) has "
            f"{baseline.counts[place, -1]} {what} for {one} and {system.counts[place, -1]} for {other}; "
            "evaluate both on the same files, in the same order"
        )


def check_not_empty(counts: SentenceCounts) -> None:
    """
    Whether there is anything to sample.

    # Raises

    `ConfigurationError` : if there are no sentences.
    """
    if not len(counts.counts):
        raise ConfigurationError("there are no sentences to compute figures of")


def check_options(samples: int, level: float = 0.95) -> None:
    """
    Whether samples can be drawn.

    # Raises

    `ConfigurationError` : for fewer than one sample, or a level outside of (0, 1).
    """
    if samples < 1:
        raise ConfigurationError(f"samples must be at least 1, not {samples}")
    if not 0 < level < 1:
        raise ConfigurationError(f"level must be between 0 and 1, as 0.95, not {level}")


def resampled_figures(
    runs: Sequence[SentenceCounts], figures: Figures, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """
    The figures of runs on samples of sentences, drawn with replacement within each language, the same for all runs.

    # Parameters

    runs : `Sequence[SentenceCounts]`
        R of them, of the same S sentences.
    figures : `Figures`
        F of them.
    samples : `int`
    rng : `numpy.random.Generator`

    # Returns

    `numpy.ndarray` : shape (samples, R, F), float64.
    """
    languages = len(runs[0].languages)
    # (S, R, C)
    counts = np.stack([run.counts for run in runs], axis=1)
    sums = _resampled_sums(counts.reshape(len(counts), -1), runs[0].language_of, languages, samples, rng)
    # (block, L, R * C) becomes (block, R, L, C)
    return np.concatenate(
        [figures(block.reshape(len(block), languages, len(runs), -1).swapaxes(1, 2)) for block in sums]
    )


def difference_bootstraps(
    figures: Figures, observed: np.ndarray, resampled: np.ndarray, level: float
) -> Dict[str, Optional[DifferenceBootstrap]]:
    """
    Intervals and p-values of differences, given those of samples.

    # Parameters

    figures : `Figures`
        F of them.
    observed : `numpy.ndarray`
        Shape (F,): the differences.
    resampled : `numpy.ndarray`
        Shape (samples, F): those of the samples; NaN where a sample has nothing to tell.
    level : `float`
        Of the intervals.

    # Returns

    `Dict[str, Optional[DifferenceBootstrap]]` : by figure, `None` where it is not defined.
    """
    found: Dict[str, Optional[DifferenceBootstrap]] = {}
    for f, name in enumerate(figures.names):
        difference, differences = float(observed[f]), _defined(resampled[:, f])
        interval = None if np.isnan(difference) else _percentiles(differences, level)
        if interval is None:
            found[name] = None
            continue
        shifted = differences - difference
        found[name] = DifferenceBootstrap(
            difference,
            interval,
            _share_plus_one(shifted >= difference - ROUNDING),
            _share_plus_one(np.abs(shifted) >= abs(difference) - ROUNDING),
            float((differences > ROUNDING).mean()),
        )
    return found


def _resampled_sums(
    counts: np.ndarray, language_of: np.ndarray, languages: int, samples: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blocks (block, L, C) of the sums of counts (S, C) over sentences drawn with replacement within languages."""
    by_language = [counts[language_of == language].astype(np.float64) for language in range(languages)]
    block = max(1, _WEIGHTS_AT_ONCE // max(map(len, by_language)))
    for start in range(0, samples, block):
        size = min(block, samples - start)
        # Sums of whole numbers are exact, in whatever order a library adds them.
        yield np.stack([_weights(len(rows), size, rng) @ rows for rows in by_language], axis=1)


def _weights(sentences: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Shape (samples, sentences), float64: how often each sentence is drawn; multinomial, in each row."""
    if not sentences:
        return np.zeros((samples, 0))
    # Counting draws takes a quarter of the time of numpy's multinomial, which draws a binomial for each sentence.
    drawn = rng.integers(sentences, size=(samples, sentences))
    drawn += np.arange(0, samples * sentences, sentences)[:, np.newaxis]
    weights = np.bincount(drawn.ravel(), minlength=samples * sentences)
    return weights.reshape(samples, sentences).astype(np.float64)


def _moved(by_language: List[np.ndarray], samples: int, rng: np.random.Generator) -> Tuple[np.ndarray, bool]:
    """
    What exchanging sentences adds to the baseline's sums and takes from the system's.

    # Parameters

    by_language : `List[numpy.ndarray]`
        Of each of L languages, shape (S, C), int64: the system's counts less the baseline's, of the sentences where
        they differ.
    samples : `int`
    rng : `numpy.random.Generator`

    # Returns

    `Tuple[numpy.ndarray, bool]` : shape (ways of exchanging, L, C), int64, and whether these are all ways, each once.
    """
    total = sum(map(len, by_language))
    if 2**total <= samples:
        # (2^S, S)
        ways = np.arange(2**total)[:, np.newaxis] >> np.arange(total) & 1
        ends = np.cumsum([len(changes) for changes in by_language])
        parts = np.split(ways, ends[:-1], axis=1)
        return np.stack([part @ changes for part, changes in zip(parts, by_language, strict=True)], axis=1), True
    moved = np.zeros((samples, len(by_language), by_language[0].shape[1]), np.int64)
    for language, changes in enumerate(by_language):
        # Of n sentences that change the same, only the number that is exchanged matters; it is binomial.
        kinds, numbers = np.unique(changes, axis=0, return_counts=True)
        for kind, number in zip(kinds, numbers, strict=True):
            moved[:, language] += rng.binomial(number, 0.5, size=samples)[:, np.newaxis] * kind
    return moved, False


def _defined(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _percentiles(values: np.ndarray, level: float) -> Optional[Interval]:
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _share_plus_one(holds: np.ndarray) -> float:
    return (1 + int(holds.sum())) / (1 + len(holds))
