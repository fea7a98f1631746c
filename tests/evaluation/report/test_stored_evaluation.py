"""Evaluations, written, broken, read."""

import copy
from typing import Any, Callable

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.stored_evaluation import parse_evaluation

from .folders import evaluation


def test_everything_is_there() -> None:
    record = evaluation({"de": 0.9, "en": 0.8}, trained=["de"])
    found = parse_evaluation(record, "x")
    assert found.metric == "accuracy"
    assert found.macro == record["scores"]["accuracy/macro"]
    assert found.micro == record["scores"]["accuracy/micro"]
    assert found.figure(found.languages["en"]) == record["scores"]["accuracy/en"]
    assert found.figure(found.types["NOUN"]) == 0.5
    assert sum(found.confusion.values()) == record["overall"]["words"]
    assert found.seen is not None
    assert set(found.seen) == {"seen", "unseen"}
    assert found.calibration.keys() == {"token"}
    assert found.sentence_counts is not None
    assert found.sentence_counts.counts.sum(0).tolist() == [record["overall"]["correct"], record["overall"]["words"]]


def test_what_may_be_missing() -> None:
    record = evaluation({"de": 0.9})
    for name in ("overall", "types", "seen", "lengths", "confusion", "calibration", "per_sentence", "convention"):
        del record[name]
    found = parse_evaluation(record, "x")
    assert found.macro == record["scores"]["accuracy/macro"]
    assert found.sentence_counts is found.seen is None
    assert found.confusion == found.types == found.calibration == {}


def test_what_is_not_defined_is_none() -> None:
    record = evaluation({"de": 0.9})
    record["languages"]["de"]["accuracy"] = None
    record["overall"].update(macro=None, accuracy=None)
    found = parse_evaluation(record, "x")
    assert found.macro is found.micro is found.figure(found.languages["de"]) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record.pop("metric"), "it has no 'metric'"),
        (lambda record: record.update(metric="bleu"), "its metric is 'bleu', none of accuracy, f1"),
        (lambda record: record.pop("languages"), "it has no 'languages'"),
        (lambda record: record.update(languages=[1]), ""),
        (lambda record: record["calibration"]["token"].pop("ece"), "it has no 'ece'"),
        (lambda record: record["confusion"].append(["A"]), ""),
        (lambda record: record["per_sentence"]["counts"].pop(), "39 rows of counts for 40 sentences"),
        (lambda record: record["per_sentence"].update(languages=[]), "names a language that it has not"),
        (lambda record: record["per_sentence"]["counts"][0].append(1), ""),
    ],
)
def test_damage_is_named(damage: Callable[[Any], Any], message: str) -> None:
    record = copy.deepcopy(evaluation({"de": 0.9}))
    damage(record)
    with pytest.raises(ConfigurationError) as error:
        parse_evaluation(record, "runs/x/evaluation.json")
    assert "runs/x/evaluation.json is not an evaluation that `allennlp score --output` wrote: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("record", [None, 3, [], "x", {}])
def test_what_is_no_evaluation_at_all(record: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not an evaluation"):
        parse_evaluation(record, "x")
