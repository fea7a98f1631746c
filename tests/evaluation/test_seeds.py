"""Several seeds: by hand, against enumeration, and by the rates of error of what asks another question."""

import itertools
from typing import List

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from scipy import stats

from structkd_plugin.evaluation.seeds import SeedSummary, hierarchical_bootstrap, welch_test
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from structkd_plugin.evaluation.significance import approximate_randomisation, paired_bootstrap

from .sentences import counts_of, random_pair


def test_summary_by_hand() -> None:
    summary = SeedSummary.of([0.8, 0.9, 1.0])
    assert summary.values == (0.8, 0.9, 1.0)
    assert summary.mean == pytest.approx(0.9)
    assert summary.standard_deviation == pytest.approx(0.1)
    # 4.3027 is the 97.5 % point of Student's t with two degrees of freedom.
    assert summary.interval == pytest.approx((0.9 - 4.3027 * 0.1 / 3**0.5, 0.9 + 4.3027 * 0.1 / 3**0.5), abs=1e-5)
    assert SeedSummary.of([0.5]) == ((0.5,), 0.5, None, None)
    assert SeedSummary.of([0.5, 0.5]) == ((0.5, 0.5), 0.5, 0, (0.5, 0.5))


def test_summary_is_scipys_interval() -> None:
    values = [0.3, 0.35, 0.28, 0.4]
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert SeedSummary.of(values, level=0.9).interval == pytest.approx(expected)


def test_welch_by_hand() -> None:
    # Variances 1 and 4 of three values each: standard error √(5/3), degrees of freedom (5/3)² / (1/18 + 16/18).
    found = welch_test([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert found is not None
    assert found.difference == pytest.approx(2)
    error, freedom = (5 / 3) ** 0.5, (5 / 3) ** 2 / (17 / 18)
    assert found.p == pytest.approx(2 * stats.t.sf(2 / error, freedom))
    half = stats.t.ppf(0.975, freedom) * error
    assert found.interval == pytest.approx((2 - half, 2 + half))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_welch_is_scipys(level: float) -> None:
    baseline, system = [0.31, 0.35, 0.28, 0.4], [0.36, 0.37, 0.41]
    expected = stats.ttest_ind(system, baseline, equal_var=False)
    found = welch_test(baseline, system, level)
    assert found is not None
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(level)))


def test_where_there_is_nothing_to_judge_by() -> None:
    assert welch_test([0.5], [0.4, 0.6]) is None
    assert welch_test([0.4, 0.6], [0.5]) is None
    assert welch_test([0.5, 0.5], [0.6, 0.6]) is None
    assert welch_test([0.5, 0.5], [0.6, 0.7]) is not None


def test_one_run_each_is_the_paired_bootstrap() -> None:
    baseline, system = random_pair("f1", {"en": 40, "de": 30}, gain=0.1)
    assert hierarchical_bootstrap([baseline], [system], samples=200) == paired_bootstrap(baseline, system, samples=200)


def one_sentence(correct: int) -> SentenceCounts:
    """With a single sentence, the sentences vary in no way and the seeds alone do."""
    return counts_of("accuracy", [("en", (correct, 100))])


def test_seeds_alone_are_enumerated() -> None:
    ours, theirs = [70, 74, 75], [72, 73, 79, 80]
    # Of n runs n - 1 are drawn.
    means = [
        [np.mean(chosen) / 100 for chosen in itertools.product(values, repeat=len(values) - 1)]
        for values in (ours, theirs)
    ]
    differences = np.array([second - first for first, second in itertools.product(*means)])
    difference = (np.mean(theirs) - np.mean(ours)) / 100
    # So that the variance is what theory has for the difference of two means.
    of_means = np.array([np.var(ours, ddof=1) / 3, np.var(theirs, ddof=1) / 4]) / 100**2
    assert differences.var() == pytest.approx(of_means.sum())
    # Seeds alone vary: what is found is Welch's test.
    welch = welch_test([n / 100 for n in ours], [n / 100 for n in theirs], level=0.8)
    assert welch is not None
    found = hierarchical_bootstrap(
        [one_sentence(n) for n in ours], [one_sentence(n) for n in theirs], samples=40_000, level=0.8
    )
    for name, bootstrap in found.items():
        assert bootstrap is not None, name
        assert bootstrap.difference == pytest.approx(difference)
        assert bootstrap.share_better == pytest.approx((differences > 1e-9).mean(), abs=0.01)
        assert bootstrap.p_two_sided == pytest.approx(welch.p, abs=0.002)
        assert bootstrap.p_one_sided == pytest.approx(welch.p / 2, abs=0.002)
        assert bootstrap.interval == pytest.approx(welch.interval, abs=0.001)


def test_a_single_run_of_the_baseline_does_not_vary() -> None:
    found = hierarchical_bootstrap([one_sentence(70)], [one_sentence(n) for n in (72, 76)], samples=4000)["macro"]
    assert found is not None
    # One of the two runs is drawn: 0.04 ± 0.02, known with one degree of freedom.
    half = stats.t.ppf(0.975, 1) * 0.02
    assert found.interval == pytest.approx((0.04 - half, 0.04 + half), rel=0.02)
    assert found.share_better == 1


def test_without_variance_of_seeds_it_is_normal() -> None:
    """Runs that are all the same: degrees of freedom are lost by no seed."""
    rng = np.random.default_rng(1)
    baseline, system = (counts_of("accuracy", [("en", (int(n), 20)) for n in rng.binomial(20, 0.7, 80)]) for _ in "ab")
    found = hierarchical_bootstrap([baseline] * 3, [system] * 3, samples=4000)["macro"]
    of_models = paired_bootstrap(baseline, system, samples=4000)["macro"]
    assert found is not None
    assert of_models is not None
    assert found.interval == pytest.approx(of_models.interval, abs=0.003)
    assert found.p_two_sided == pytest.approx(of_models.p_two_sided, abs=0.03)


def runs_of_a_method(seeds: int, sentences: int, rng: np.random.Generator, difficulty: np.ndarray) -> List:
    """Runs that differ by their seeds, which make all sentences of a run better or worse."""
    levels = rng.normal(0.0, 0.02, size=seeds)
    return [
        counts_of("accuracy", [("en", (int(n), 20)) for n in rng.binomial(20, np.clip(difficulty + level, 0, 1))])
        for level in levels
    ]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_better_model_is_not_a_better_method(seeds: int) -> None:
    """Two methods that are the same: their models differ nearly always, the methods no more often than they may."""
    trials, level = 120, 0.05
    rejections = np.zeros(3)
    rng = np.random.default_rng(0)
    for trial in range(trials):
        difficulty = rng.uniform(0.6, 0.9, size=150)
        first, second = (runs_of_a_method(seeds, 150, rng, difficulty) for _ in range(2))
        of_models = approximate_randomisation(first[0], second[0], samples=199, seed=trial)["macro"]
        of_methods = hierarchical_bootstrap(first, second, samples=199, seed=trial)["macro"]
        accuracies = [[run.counts[:, 0].mean() / 20 for run in runs] for runs in (first, second)]
        over_seeds = welch_test(*accuracies)
        assert of_models is not None
        assert of_methods is not None
        assert over_seeds is not None
        rejections += [of_models.p < level, of_methods.p_two_sided < level, over_seeds.p < level]
    models, methods, welch = rejections / trials
    assert models > 0.3
    assert stats.binomtest(int(welch * trials), trials, level).pvalue > 0.001
    assert stats.binomtest(int(methods * trials), trials, level, alternative="greater").pvalue > 0.001


def test_runs_of_other_sentences() -> None:
    mine, other = counts_of("accuracy", [("en", (1, 2))]), counts_of("accuracy", [("en", (1, 3))])
    with pytest.raises(ConfigurationError, match=r"sentence 1 \(en\) has 2 words for one run and 3 for another"):
        hierarchical_bootstrap([mine, mine], [mine, other])


def test_the_same_twice_and_not_by_chance() -> None:
    rng = np.random.default_rng(0)
    first, second = (runs_of_a_method(3, 40, rng, np.full(40, 0.7)) for _ in range(2))
    found = [hierarchical_bootstrap(first, second, samples=200, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
