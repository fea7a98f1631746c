"""Intervals and tests against enumeration of all samples, against scipy, and by their rates of error."""

import itertools
from fractions import Fraction
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from scipy import stats

from structkd_plugin.evaluation import significance
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from structkd_plugin.evaluation.significance import (
    approximate_randomisation,
    bootstrap_interval,
    check_paired,
    holm,
    paired_bootstrap,
)

from .sentences import counts_of, figures_by_hand, random_pair, rows_of

METRICS = ["accuracy", "f1"]
# As many samples as it takes to tell a p-value within 0.01 from what it should be.
MANY = 40_000


def all_samples(language_of: Sequence[str]) -> Iterator[Tuple[int, ...]]:
    """Every way of drawing as many sentences of each language as there are, with replacement."""
    places = [[i for i, code in enumerate(language_of) if code == language] for language in sorted(set(language_of))]
    for parts in itertools.product(*(itertools.product(here, repeat=len(here)) for here in places)):
        yield tuple(itertools.chain(*parts))


def figures_of_all_samples(counts: SentenceCounts) -> List[Dict[str, float]]:
    rows = rows_of(counts)
    return [
        figures_by_hand(counts.metric, [rows[i] for i in chosen]) for chosen in all_samples([row[0] for row in rows])
    ]


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_are_those_of_all_samples(metric: str) -> None:
    # One sentence has nothing to find, so that some samples of its language have not either.
    counts, _ = random_pair(metric, {"en": 4, "de": 3}, seed=3)
    counts.counts[counts.language_of == 0, -1] = [0, 2, 5]
    counts.counts[:, 0] = np.minimum(counts.counts[:, 0], counts.counts[:, 1:].min(1))
    enumerated = figures_of_all_samples(counts)
    found = bootstrap_interval(counts, samples=MANY, level=0.8)
    assert list(found) == ["de", "en", "macro", "micro"]
    for name, interval in found.items():
        values = np.array([figures[name] for figures in enumerated if name in figures])
        assert interval is not None
        for end, share in zip(interval, (0.1, 0.9), strict=True):
            # A share of a discrete distribution: as many are below, and as many are not above, as it says.
            assert (values < end - 1e-9).mean() <= share + 0.01
            assert (values <= end + 1e-9).mean() >= share - 0.01


@pytest.mark.parametrize("metric", METRICS)
def test_p_values_of_the_bootstrap_are_those_of_all_samples(metric: str) -> None:
    baseline, system = random_pair(metric, {"en": 4, "de": 3}, seed=5, gain=0.15)
    observed = [figures_by_hand(metric, rows_of(counts)) for counts in (baseline, system)]
    enumerated = [figures_of_all_samples(counts) for counts in (baseline, system)]
    found = paired_bootstrap(baseline, system, samples=MANY)
    for name, bootstrap in found.items():
        assert bootstrap is not None
        difference = observed[1][name] - observed[0][name]
        assert bootstrap.difference == pytest.approx(difference)
        differences = np.array(
            [second[name] - first[name] for first, second in zip(*enumerated, strict=True) if name in first]
        )
        # Berg-Kirkpatrick et al. (2012): samples whose difference is at least twice the observed one.
        assert bootstrap.p_one_sided == pytest.approx((differences >= 2 * difference - 1e-9).mean(), abs=0.01)
        two_sided = (np.abs(differences - difference) >= abs(difference) - 1e-9).mean()
        assert bootstrap.p_two_sided == pytest.approx(two_sided, abs=0.01)
        assert bootstrap.share_better == pytest.approx((differences > 1e-9).mean(), abs=0.01)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_exact_randomisation_is_enumeration(metric: str, seed: int) -> None:
    baseline, system = random_pair(metric, {"en": 3, "de": 3, "es": 2}, seed=seed, gain=0.2)
    # With fractions, equal differences are equal however they come about.
    mine, theirs = (
        [(language, [Fraction(number) for number in numbers]) for language, numbers in rows_of(counts)]
        for counts in (baseline, system)
    )
    differences: Dict[str, List[float]] = {}
    for exchanged in itertools.product((False, True), repeat=len(mine)):
        first = figures_by_hand(metric, [t if e else m for m, t, e in zip(mine, theirs, exchanged, strict=True)])
        second = figures_by_hand(metric, [m if e else t for m, t, e in zip(mine, theirs, exchanged, strict=True)])
        for name in first:
            differences.setdefault(name, []).append(second[name] - first[name])
    found = {name: test for name, test in approximate_randomisation(baseline, system, samples=256).items() if test}
    assert set(found) == set(differences)
    for name, test in found.items():
        assert test.exact
        # The first way exchanges nothing.
        observed = differences[name][0]
        assert test.difference == pytest.approx(float(observed))
        assert test.p == sum(abs(difference) >= abs(observed) for difference in differences[name]) / 256


@pytest.mark.parametrize("metric", METRICS)
def test_sampled_randomisation_is_near_the_exact_one(metric: str) -> None:
    baseline, system = random_pair(metric, {"en": 9, "de": 8}, seed=2, gain=0.03, longest=400)
    exact = approximate_randomisation(baseline, system, samples=2**17)
    sampled = approximate_randomisation(baseline, system, samples=2**13 - 1)
    for name, test in sampled.items():
        expected = exact[name]
        assert test is not None
        assert expected is not None
        assert expected.exact
        # A language alone has few enough sentences.
        assert test.exact == (name in ("en", "de"))
        tolerance = 1e-12 if test.exact else 4 * (expected.p * (1 - expected.p) / 2**13) ** 0.5
        assert test.p == pytest.approx(expected.p, abs=tolerance)
        # Of a sample, the observed difference is one: p is a multiple of 1 / 2^13, and never 0.
        assert test.exact or (test.p * 2**13) % 1 == 0


def equal_lengths(sentences: int, seed: int) -> Tuple[SentenceCounts, SentenceCounts]:
    """Systems whose accuracy is the mean of the sentences'."""
    rng = np.random.default_rng(seed)
    rights = rng.binomial(10, [[0.7], [0.75]], size=(2, sentences))
    return (
        counts_of("accuracy", [("en", (int(n), 10)) for n in rights[0]]),
        counts_of("accuracy", [("en", (int(n), 10)) for n in rights[1]]),
    )


def mean_difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    return second.mean(axis) - first.mean(axis)


@pytest.mark.parametrize("seed", range(3))
def test_randomisation_is_scipys_permutation_test(seed: int) -> None:
    pair = equal_lengths(11, seed)
    shares = [counts.counts[:, 0] / 10 for counts in pair]
    theirs = stats.permutation_test(
        shares, mean_difference, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    for name, found in approximate_randomisation(*pair).items():
        assert found is not None, name
        assert found.exact
        assert found.difference == pytest.approx(theirs.statistic)
        assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_bootstrap_is_scipys() -> None:
    pair = equal_lengths(60, 1)
    shares = [counts.counts[:, 0] / 10 for counts in pair]
    options = {"method": "percentile", "n_resamples": MANY, "rng": 0, "batch": 2000, "confidence_level": 0.9}
    difference = stats.bootstrap(shares, mean_difference, paired=True, vectorized=True, **options)
    single = stats.bootstrap(shares[:1], np.mean, vectorized=True, **options)
    for name, found in paired_bootstrap(*pair, samples=MANY, level=0.9).items():
        assert found is not None, name
        np.testing.assert_allclose(found.interval, difference.confidence_interval, atol=0.002)
    for interval in bootstrap_interval(pair[0], samples=MANY, level=0.9).values():
        np.testing.assert_allclose(interval, single.confidence_interval, atol=0.002)


@pytest.mark.parametrize("metric", METRICS)
def test_rates_of_error_where_nothing_differs(metric: str) -> None:
    trials = 250
    # Long sentences, as ties, which count against the system, make p larger.
    p_values = np.zeros((trials, 4))
    for trial in range(trials):
        pair = random_pair(metric, {"en": 40, "de": 30}, seed=1000 + trial, longest=400)
        exchanged = approximate_randomisation(*pair, samples=199, seed=trial)
        resampled = paired_bootstrap(*pair, samples=199, seed=trial)
        for place, name in enumerate(("macro", "micro")):
            p_values[trial, place] = exchanged[name].p  # type: ignore[union-attr]
            p_values[trial, 2 + place] = resampled[name].p_two_sided  # type: ignore[union-attr]
    for column in p_values.T:
        # p is uniform: neither too many small ones nor too few.
        assert stats.kstest(column, "uniform").pvalue > 0.001
        for level in (0.05, 0.2):
            assert stats.binomtest(int((column <= level).sum()), trials, level).pvalue > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_intervals_hold_the_truth_as_often_as_they_say(metric: str) -> None:
    rng = np.random.default_rng(0)
    population, _ = random_pair(metric, {"en": 3000, "de": 3000}, seed=0)
    truth = figures_by_hand(metric, rows_of(population))
    rows = {language: [row for row in rows_of(population) if row[0] == language] for language in ("de", "en")}
    trials = 400
    held = dict.fromkeys(truth, 0)
    for trial in range(trials):
        chosen = [row for of_language in rows.values() for row in (of_language[i] for i in rng.integers(3000, size=80))]
        for name, interval in bootstrap_interval(counts_of(metric, chosen), samples=500, seed=trial, level=0.9).items():
            assert interval is not None
            held[name] += interval.low <= truth[name] <= interval.high
    for name, times in held.items():
        assert stats.binomtest(times, trials, 0.9).pvalue > 0.001, name


def test_a_real_gain_is_found() -> None:
    pair = random_pair("f1", {"en": 200, "de": 200}, gain=0.15)
    for test in approximate_randomisation(*pair, samples=999).values():
        assert test is not None
        assert test.p == 0.001
    for bootstrap in paired_bootstrap(*pair, samples=999).values():
        assert bootstrap is not None
        assert bootstrap.interval.low > 0
        assert bootstrap.p_one_sided == bootstrap.p_two_sided == 0.001
        assert bootstrap.share_better == 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_system_does_not_differ_from_itself(metric: str) -> None:
    counts, _ = random_pair(metric, {"en": 30, "de": 30})
    for test in approximate_randomisation(counts, counts).values():
        assert test == (0, 1, True)
    for bootstrap in paired_bootstrap(counts, counts, samples=99).values():
        assert bootstrap == (0, (0, 0), 1, 1, 0)


def test_exchanging_the_systems_turns_the_sign() -> None:
    baseline, system = random_pair("f1", {"en": 40, "de": 40}, gain=0.1)
    for name, there in paired_bootstrap(baseline, system, samples=500).items():
        back = paired_bootstrap(system, baseline, samples=500)[name]
        assert there is not None
        assert back is not None
        assert back.difference == -there.difference
        assert back.interval == pytest.approx((-there.interval.high, -there.interval.low))
        assert back.p_two_sided == there.p_two_sided
        assert there.p_one_sided < 0.5 < back.p_one_sided


@pytest.mark.parametrize("levels", [(3, 6, 5, 4), (7, 3, 3, 5)])
def test_differences_that_round_differently_are_the_same(levels: Tuple[int, ...]) -> None:
    # In each of four languages one sentence of ten words, of which one more is right, or one fewer. Of the 16 sums of
    # four signs, 6 are 0 and the others at least as large as the observed 2, whatever floats make of them.
    rows = list(zip(("de", "en", "es", "ru"), levels, (1, 1, 1, -1), strict=True))
    baseline = counts_of("accuracy", [(language, (right, 10)) for language, right, _ in rows])
    system = counts_of("accuracy", [(language, (right + more, 10)) for language, right, more in rows])
    assert approximate_randomisation(baseline, system)["macro"] == (pytest.approx(0.05), 10 / 16, True)


def test_the_same_twice_and_not_by_chance() -> None:
    pair = random_pair("f1", {"en": 60, "de": 50}, gain=0.05)
    for function in (paired_bootstrap, approximate_randomisation):
        assert function(*pair, samples=300, seed=4) == function(*pair, samples=300, seed=4)
        assert function(*pair, samples=300, seed=4) != function(*pair, samples=300, seed=5)


def test_blocks_are_of_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, _ = random_pair("f1", {"en": 50})
    sizes = []
    weights = significance._weights

    def recorded(sentences: int, samples: int, rng: np.random.Generator) -> np.ndarray:
        drawn = weights(sentences, samples, rng)
        assert drawn.shape == (samples, sentences)
        assert (drawn.sum(1) == sentences).all()
        sizes.append(samples)
        return drawn

    monkeypatch.setattr(significance, "_weights", recorded)
    at_once = bootstrap_interval(counts, samples=100)
    assert sizes == [100]
    monkeypatch.setattr(significance, "_WEIGHTS_AT_ONCE", 50 * 30)
    assert bootstrap_interval(counts, samples=100) == at_once
    assert sizes == [100, 30, 30, 30, 10]


def test_what_is_not_defined_has_no_figure() -> None:
    # Dutch has no gold spans: its wrong spans count over all spans only.
    baseline = counts_of("f1", [("en", (1, 1, 2)), ("en", (1, 2, 1)), ("nl", (0, 1, 0))])
    system = counts_of("f1", [("en", (2, 2, 2)), ("en", (1, 1, 1)), ("nl", (0, 3, 0))])
    tests = approximate_randomisation(baseline, system)
    bootstraps = paired_bootstrap(baseline, system, samples=100)
    assert tests["nl"] is bootstraps["nl"] is bootstrap_interval(baseline, samples=100)["nl"] is None
    assert tests["en"] == pytest.approx((1 - 4 / 6, 0.5, True))
    assert tests["macro"] is not None
    assert tests["macro"].difference == tests["en"].difference  # type: ignore[union-attr]
    assert tests["micro"] is not None
    assert tests["micro"].difference == pytest.approx(6 / 9 - 4 / 7)


def test_further_averages() -> None:
    baseline, system = random_pair("accuracy", {"en": 20, "de": 30, "nl": 10}, gain=0.1)
    averages = {"macro_trained": ["de", "en"], "macro_zero_shot": ["nl"]}
    for function in (paired_bootstrap, approximate_randomisation):
        found = function(baseline, system, samples=200, averages=averages)
        assert list(found) == ["de", "en", "nl", "macro", "macro_trained", "macro_zero_shot", "micro"]
        of = {name: test.difference for name, test in found.items()}  # type: ignore[union-attr]
        assert of["macro_trained"] == pytest.approx((of["de"] + of["en"]) / 2)
        assert of["macro_zero_shot"] == pytest.approx(of["nl"])
    intervals = bootstrap_interval(baseline, samples=200, averages=averages)
    assert intervals["macro_zero_shot"] == intervals["nl"]


@pytest.mark.parametrize(
    ("averages", "message"),
    [
        ({"macro": ["en"]}, "there can be no average 'macro': the name is taken"),
        ({"en": ["en"]}, "there can be no average 'en': the name is taken"),
        ({"x": ["en", "fr", "es"]}, "there can be no average 'x': there are no sentences in es, fr"),
        ({"x": []}, "there can be no average 'x': it is of no language"),
    ],
)
def test_averages_that_are_none(averages: Dict[str, List[str]], message: str) -> None:
    counts, _ = random_pair("accuracy", {"en": 2})
    with pytest.raises(ConfigurationError, match=message):
        bootstrap_interval(counts, averages=averages)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (("f1", [("en", (1, 2, 2)), ("de", (0, 1, 1))]), "A is evaluated by accuracy and B by f1"),
        (("accuracy", [("en", (1, 2)), ("en", (0, 1))]), "A is evaluated in de, en and B in en"),
        (("accuracy", [("en", (1, 2)), ("de", (0, 1)), ("de", (1, 1))]), "A is evaluated on 2 sentences and B on 3"),
        (("accuracy", [("de", (1, 2)), ("en", (0, 1))]), "sentence 1 is in en for A and in de for B"),
        (("accuracy", [("en", (1, 2)), ("de", (0, 4))]), r"sentence 2 \(de\) has 1 words for A and 4 for B"),
    ],
)
def test_systems_of_other_sentences(system: Tuple[str, List[Tuple[str, Tuple[int, ...]]]], message: str) -> None:
    baseline = counts_of("accuracy", [("en", (2, 2)), ("de", (1, 1))])
    with pytest.raises(ConfigurationError, match=message):
        check_paired(baseline, counts_of(*system), ("A", "B"))
    for function in (paired_bootstrap, approximate_randomisation):
        with pytest.raises(ConfigurationError, match=message.replace("A", "the baseline").replace("B", "the system")):
            function(baseline, counts_of(*system))


def test_gold_spans_differ() -> None:
    baseline, system = (counts_of("f1", [("en", (1, 2, gold))]) for gold in (2, 3))
    with pytest.raises(ConfigurationError, match=r"sentence 1 \(en\) has 2 gold spans for the baseline and 3 for"):
        paired_bootstrap(baseline, system)


def test_options_that_are_none() -> None:
    counts, _ = random_pair("accuracy", {"en": 2})
    nothing = SentenceCounts("accuracy", (), np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
    with pytest.raises(ConfigurationError, match="samples must be at least 1, not 0"):
        approximate_randomisation(counts, counts, samples=0)
    with pytest.raises(ConfigurationError, match=r"level must be between 0 and 1, as 0.95, not 95"):
        bootstrap_interval(counts, level=95)
    for call in (lambda: bootstrap_interval(nothing), lambda: paired_bootstrap(nothing, nothing)):
        with pytest.raises(ConfigurationError, match="there are no sentences"):
            call()


def test_holm_by_hand() -> None:
    # Sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not be less than the one before it.
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1, "b": 1}
    assert holm({"a": 0.2}) == {"a": 0.2}
    assert holm({}) == {}


def test_holm_errs_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(0)
    trials = 2000
    wrong = sum(min(holm(dict(enumerate(rng.uniform(size=6)))).values()) < 0.1 for _ in range(trials))  # type: ignore[arg-type]
    assert stats.binomtest(wrong, trials, 1 - (1 - 0.1 / 6) ** 6).pvalue > 0.001
