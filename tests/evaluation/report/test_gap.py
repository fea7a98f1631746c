"""How much of a gap is closed: figures by hand."""

import pytest

from structkd_plugin.evaluation.report.gap import figures_of_teachers, gap_closed, teachers_not_better


def test_by_language_and_of_the_means() -> None:
    found = gap_closed(
        method={"de": 0.93, "en": 0.90, "es": 0.80, "fr": 0.5},
        baseline={"de": 0.90, "en": 0.91, "es": 0.80},
        teachers={"de": 0.96, "en": 0.93, "es": 0.79, "ru": 0.9},
    )
    assert dict(found.languages) == {"de": pytest.approx(0.5), "en": pytest.approx(-0.5), "es": None}
    # (2.63 - 2.61) / (2.68 - 2.61)
    assert found.average == pytest.approx(2 / 7)


def test_a_hopeless_language_does_not_decide_the_average() -> None:
    found = gap_closed({"de": 0.95, "en": 0.80}, {"de": 0.9, "en": 0.81}, {"de": 1.0, "en": 0.8100001})
    assert found.languages["en"] == pytest.approx(-100_000, rel=1e-3)
    assert found.average == pytest.approx(0.4, rel=1e-3)


def test_without_a_gap_there_is_no_share() -> None:
    found = gap_closed({"de": 0.95}, {"de": 0.9}, {"de": 0.9})
    assert found.languages == {"de": None}
    assert found.average is None


def test_without_a_common_language_there_is_nothing() -> None:
    found = gap_closed({"de": 0.95}, {"en": 0.9}, {"de": 0.9})
    assert (found.languages, found.average) == ({}, None)


def test_teachers_that_are_not_better() -> None:
    assert teachers_not_better({"de": 0.9, "en": 0.8, "es": 0.7}, {"de": 0.9, "en": 0.9, "es": 0.1}) == ["de", "es"]


def test_a_teacher_speaks_for_the_languages_it_was_trained_on() -> None:
    assert figures_of_teachers(
        [
            ({"de": 0.9, "en": 0.1}, ["de"]),
            ({"de": 0.1, "en": 0.8}, ["en", "fr"]),
            ({"en": 0.7}, None),
        ]
    ) == {"de": 0.9, "en": pytest.approx(0.75)}
