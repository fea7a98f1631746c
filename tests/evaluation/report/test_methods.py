"""The figures of methods: of one run, of several seeds, of evaluations and of trainings."""

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.methods import (
    HERE,
    STORED,
    TEST,
    TRAINED,
    VALIDATION,
    ZERO_SHOT,
    Estimate,
    Method,
    common_metric,
    mean_of,
    scores_of,
)
from structkd_plugin.evaluation.report.runs import read_run

from .folders import evaluation, write_run


def test_an_evaluation_comes_first(tmp_path: Path) -> None:
    record = evaluation({"de": 0.9, "en": 0.8, "nl": 0.4})
    run = read_run(str(write_run(tmp_path / "a", evaluated=record, test={"de": 0.1})))
    scores = scores_of(run, {"de": (0.8, 0.95), "other": (0, 1)})
    assert scores is not None
    assert scores.origin == STORED
    assert scores.languages == ["de", "en", "nl"]
    assert scores.zero_shot == {"nl"}
    values = {language: row["accuracy"] for language, row in record["languages"].items()}
    assert scores.values["de"] == values["de"]
    assert scores.values[TRAINED] == pytest.approx((values["de"] + values["en"]) / 2)
    assert scores.values[ZERO_SHOT] == values["nl"]
    assert scores.values["macro"] == pytest.approx(sum(values.values()) / 3)
    assert scores.intervals == {"de": (0.8, 0.95)}
    assert run.evaluation is not None
    here = scores_of(run.with_evaluation(run.evaluation), {})
    assert here is not None
    assert here.origin == HERE


def test_what_the_evaluation_says_of_zero_shot_counts(tmp_path: Path) -> None:
    run = read_run(str(write_run(tmp_path / "a", evaluated=evaluation({"de": 0.9, "nl": 0.4}, trained=["nl"]))))
    scores = scores_of(run, {})
    assert scores is not None
    assert scores.zero_shot == {"de"}


def test_then_the_test_data_of_the_training_then_the_validation_data(tmp_path: Path) -> None:
    run = read_run(str(write_run(tmp_path / "a", test={"de": 0.9, "macro": 0.85, "micro": 0.86})))
    scores = scores_of(run, {})
    assert scores is not None
    assert (scores.metric, scores.origin) == ("accuracy", TEST)
    assert scores.values == {"de": 0.9, "macro": 0.85, "micro": 0.86, TRAINED: 0.9}
    scores = scores_of(read_run(str(write_run(tmp_path / "b"))), {})
    assert scores is not None
    assert (scores.origin, scores.values["macro"]) == (VALIDATION, 0.6)


def test_a_run_may_have_no_figures(tmp_path: Path) -> None:
    run = read_run(str(write_run(tmp_path / "a")))
    assert scores_of(replace(run, metrics={}), {}) is None


def test_several_seeds_are_a_mean_and_a_deviation(tmp_path: Path) -> None:
    runs, scores = [], []
    for seed, share in enumerate((0.90, 0.92, 0.97)):
        run = read_run(str(write_run(tmp_path / str(seed), test={"de": share, "macro": share})))
        found = scores_of(run, {})
        assert found is not None
        runs.append(run)
        scores.append(found)
    method = Method("m", tuple(runs), tuple(scores))
    estimate = method.estimate("de")
    assert estimate.value == pytest.approx(0.93)
    assert estimate.deviation == pytest.approx(statistics.stdev((0.90, 0.92, 0.97)))
    assert estimate.bounds() == pytest.approx((0.93 - estimate.deviation, 0.93 + estimate.deviation))
    assert method.estimate("fr") == Estimate(None, runs=0)
    assert method.values() == {"de": pytest.approx(0.93)}
    assert mean_of([0.5]).deviation is None


def test_an_interval_is_of_a_run_and_not_of_a_method_with_seeds(tmp_path: Path) -> None:
    run = read_run(str(write_run(tmp_path / "a", evaluated=evaluation({"de": 0.9}))))
    scores = scores_of(run, {"de": (0.8, 0.95)})
    assert scores is not None
    assert Method("m", (run,), (scores,)).estimate("de").interval == (0.8, 0.95)
    other = replace(scores, values={})
    assert Method("m", (run, run), (scores, other)).estimate("de").interval is None


def test_metrics_must_be_the_same(tmp_path: Path) -> None:
    run = read_run(str(write_run(tmp_path / "a")))
    scores = scores_of(run, {})
    assert scores is not None
    first = Method("first", (run,), (scores,))
    assert common_metric([first, first]) == "accuracy"
    assert common_metric([Method("none", (run,), ())]) is None
    with pytest.raises(ConfigurationError, match="'first' has accuracy and 'second' has f1"):
        common_metric([first, Method("second", (run,), (replace(scores, metric="f1"),))])
