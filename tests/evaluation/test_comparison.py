"""Comparisons: the right test for each question, and what is said of it."""

import json
from typing import Dict, Tuple

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation import comparison_text as comparison_text_module
from structkd_plugin.evaluation.comparison import Comparison, Method, common_trained_languages, compare
from structkd_plugin.evaluation.comparison_text import comparison_text, conclusion
from structkd_plugin.evaluation.seeds import hierarchical_bootstrap
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from structkd_plugin.evaluation.significance import approximate_randomisation, holm, paired_bootstrap

from .sentences import counts_of, random_pair


def more_right(counts: SentenceCounts, words: Dict[str, int]) -> SentenceCounts:
    """Further words right in so many sentences of each language, of those that have wrong ones."""
    changed = counts.counts.copy()
    for language, number in words.items():
        of_language = counts.language_of == counts.languages.index(language)
        changed[np.flatnonzero(of_language & (changed[:, 0] < changed[:, 1]))[:number], 0] += 1
    return SentenceCounts(counts.metric, counts.languages, counts.language_of, changed)


@pytest.fixture
def pair() -> Tuple[SentenceCounts, SentenceCounts]:
    baseline, _ = random_pair("accuracy", {"de": 60, "en": 60, "nl": 60})
    return baseline, more_right(baseline, {"de": 30, "en": 7})


def test_one_run_each(pair: Tuple[SentenceCounts, SentenceCounts]) -> None:
    baseline, system = pair
    comparison = compare(Method("base", (baseline,)), [Method("top", (system,))], samples=999, seed=3)
    exchanged = approximate_randomisation(baseline, system, samples=999, seed=3)
    resampled = paired_bootstrap(baseline, system, samples=999, seed=3)
    figures = comparison.systems[0].figures
    assert list(figures) == ["de", "en", "nl", "macro", "micro"]
    corrected = holm({name: exchanged[name].p for name in ("de", "en", "nl")})  # type: ignore[union-attr]
    for name, figure in figures.items():
        assert figure is not None
        assert figure.bootstrap == resampled[name]
        assert figure.p == exchanged[name].p  # type: ignore[union-attr]
        assert figure.p_holm == corrected.get(name)
        assert figure.seeds is None
        assert figure.system.mean - figure.baseline.mean == pytest.approx(figure.bootstrap.difference)
    assert comparison.sentences == {"de": 60, "en": 60, "nl": 60}
    assert not comparison.of_methods(comparison.systems[0])


def test_several_seeds(pair: Tuple[SentenceCounts, SentenceCounts]) -> None:
    baseline, system = pair
    first = (baseline, more_right(baseline, {"de": 2}), more_right(baseline, {"nl": 1}))
    second = (system, more_right(system, {"en": 3}))
    comparison = compare(Method("base", first), [Method("top", second), Method("once", (system,))], samples=499)
    resampled = hierarchical_bootstrap(first, second, samples=499)
    figures = comparison.systems[0].figures
    for name, figure in figures.items():
        assert figure is not None
        assert figure.bootstrap == resampled[name]
        assert figure.p == figure.bootstrap.p_two_sided
        assert len(figure.baseline.values) == 3
        assert len(figure.system.values) == 2
        assert figure.seeds is not None
    text = comparison_text(comparison)
    assert "top (2 seeds) against base (3 seeds): accuracy, %" in text
    assert "p seeds" in text
    assert "There is one run of once: what is said holds for that run, not for its method." in text
    json.dumps(comparison.to_json(), allow_nan=False)
    assert [system["question"] for system in comparison.to_json()["systems"]] == ["method", "method"]
    assert comparison.to_json()["systems"][1]["figures"]["macro"]["seeds"] is None


def test_table_and_conclusion(pair: Tuple[SentenceCounts, SentenceCounts]) -> None:
    comparison = compare(
        Method("base", pair[:1]),
        [Method("top", pair[1:])],
        samples=999,
        trained_languages=frozenset(["de", "en", "fr"]),
    )
    lines = comparison_text(comparison).splitlines()
    assert lines[0] == "top against base: accuracy, %"
    table = {line.split()[0]: line for line in lines[2:9]}
    assert list(table) == ["de", "en", "nl", "macro", "macro_trained", "macro_zero_shot", "micro"]
    assert lines[1].split("  ")[-1].strip() == "p Holm"
    for name, figure in comparison.systems[0].figures.items():
        assert figure is not None
        cells = table[name].split()
        assert cells[1] == {"micro": "180", "macro": "180", "macro_trained": "120"}.get(name, "60")
        assert cells[2:4] == [f"{100 * figure.baseline.mean:.2f}", f"{100 * figure.system.mean:.2f}"]
        assert cells[4] == f"{100 * figure.bootstrap.difference:+.2f}"
    # Of 59 or so sentences 30 differ: as sure as a sample can be, and Holm's correction triples it.
    assert table["de"].endswith("0.001   0.003  **")
    assert table["nl"].split()[4:] == ["+0.00", "[+0.00,", "+0.00]", "1.000", "1.000"]
    assert table["macro"].endswith("0.001       –  **")
    macro = comparison.systems[0].figures["macro"]
    assert macro is not None
    low, high = (f"{100 * end:+.2f}" for end in macro.bootstrap.interval)
    assert lines[-1] == (
        f"top is better than base on average: {100 * macro.bootstrap.difference:+.2f} points [{low}, {high}], "
        "p = 0.001. It is ahead in 2 of 3 languages; significantly better in de, en, significantly worse in none."
    )


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        ("de", "top is better than base in de: +"),
        ("nl", "top is not significantly different from base in nl: +0.00 points [+0.00, +0.00], p = 1.000."),
        ("micro", "top is better than base over all words: +"),
        ("macro_trained", "top is better than base on average over the trained languages: +"),
        ("macro_zero_shot", "top is not significantly different from base on average over the zero-shot languages"),
    ],
)
def test_conclusions(pair: Tuple[SentenceCounts, SentenceCounts], figure: str, says: str) -> None:
    comparison = compare(
        Method("base", pair[:1]), [Method("top", pair[1:])], samples=999, trained_languages=frozenset(["de", "en"])
    )
    assert conclusion(comparison, comparison.systems[0], figure).startswith(says)


def test_a_worse_system_in_one_language() -> None:
    baseline, system = random_pair("f1", {"en": 200}, gain=-0.2)
    comparison = compare(Method("base", (baseline,)), [Method("low", (system,))], samples=99)
    text = conclusion(comparison, comparison.systems[0])
    assert text.startswith("low is worse than base on average: -")
    assert text.endswith(", p = 0.010.")
    assert "languages" not in comparison_text(comparison)


def test_a_language_without_gold_spans() -> None:
    baseline = counts_of("f1", [("en", (1, 1, 2)), ("nl", (0, 1, 0))])
    system = counts_of("f1", [("en", (2, 2, 2)), ("nl", (0, 3, 0))])
    comparison = compare(Method("base", (baseline,)), [Method("top", (system,))])
    (row,) = (line for line in comparison_text(comparison).splitlines() if line.startswith("nl"))
    assert row.split() == ["nl", "1", *["–"] * 6]
    assert comparison.to_json()["systems"][0]["figures"]["nl"] is None
    assert conclusion(comparison, comparison.systems[0], "nl") == (
        "top cannot be compared with base in nl: there is nothing to find."
    )
    assert "It is ahead in 1 of 1 languages" in conclusion(comparison, comparison.systems[0])
    only_en = comparison.systems[0].figures["en"]
    assert only_en is not None
    # Nothing is tested in Dutch, so that nothing is corrected for it.
    assert only_en.p == only_en.p_holm


def test_small_p_values_are_not_shown_as_nothing() -> None:
    baseline, system = random_pair("accuracy", {"en": 300}, gain=0.2)
    comparison = compare(Method("base", (baseline,)), [Method("top", (system,))], samples=20_000)
    assert "p < 0.0001." in conclusion(comparison, comparison.systems[0])
    assert "<0.0001" in comparison_text(comparison)


@pytest.mark.parametrize(
    ("p", "shown"),
    [(1, "1.000"), (0.0503, "0.050"), (0.04996, "0.0500"), (0.0497, "0.0497"), (0.0102, "0.010"), (0.0009, "0.0009")],
)
def test_p_values_are_shown_on_their_side_of_a_bound(p: float, shown: str) -> None:
    assert comparison_text_module._p(p) == shown


def test_zero_shot_averages_need_languages_of_both_kinds(pair: Tuple[SentenceCounts, SentenceCounts]) -> None:
    def averages(*trained: str) -> Dict[str, Tuple[str, ...]]:
        found: Comparison = compare(
            Method("base", pair[:1]), [Method("top", pair[1:])], samples=9, trained_languages=frozenset(trained)
        )
        return found.averages

    assert averages("de") == {"macro_trained": ("de",), "macro_zero_shot": ("en", "nl")}
    assert averages("de", "en", "nl", "fr") == averages("fr") == {}


def test_trained_languages_that_systems_know() -> None:
    here = frozenset(["de", "en", "nl"])
    de, de_en = frozenset(["de"]), frozenset(["de", "en"])
    assert common_trained_languages({"a": None, "b": None}, here) == (None, None)
    # Of Spanish there is nothing to evaluate.
    assert common_trained_languages({"a": de, "b": None, "c": de | {"es"}}, here) == (de, None)
    languages, note = common_trained_languages({"a": de, "b": de_en, "c": frozenset()}, here)
    assert languages is None
    assert note is not None
    assert "(de; de, en; none of them)" in note


def test_who_differs_is_named(pair: Tuple[SentenceCounts, SentenceCounts]) -> None:
    other, _ = random_pair("accuracy", {"de": 60, "en": 60, "nl": 61})
    with pytest.raises(ConfigurationError, match="base is evaluated on 180 sentences and run 2 of top on 181"):
        compare(Method("base", pair[:1]), [Method("top", (pair[1], other))])
    with pytest.raises(ConfigurationError, match="run 1 of base is evaluated on 180 sentences and run 2 of base on 18"):
        compare(Method("base", (pair[0], other)), [Method("top", pair[1:])])
    with pytest.raises(ConfigurationError, match="base is compared with itself"):
        compare(Method("base", pair[:1]), [Method("base", pair[1:])])
