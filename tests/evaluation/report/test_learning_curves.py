"""The series of a training."""

import json
from pathlib import Path

from structkd_plugin.evaluation.report.learning_curves import learning_curves, validation_metric_name
from structkd_plugin.evaluation.report.runs import read_run

from .folders import write_run


def test_every_quantity_by_epoch(tmp_path: Path) -> None:
    curves = learning_curves(read_run(str(write_run(tmp_path / "a"))))
    assert list(curves) == ["nll", "objective", "objective/posterior", "accuracy/macro"]
    assert curves["nll"] == {
        "training": [(0, 20.0), (1, 10.0), (2, 20 / 3)],
        "validation": [(0, 21.0), (1, 10.5), (2, 7.0)],
    }
    assert curves["objective/posterior"] == {"training": [(0, 3.0), (1, 1.5), (2, 1.0)]}
    assert list(curves["accuracy/macro"]) == ["validation"]


def test_what_is_not_a_number_is_left_out_where_it_is(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a")
    (path / "metrics_epoch_1.json").write_text('{"training_nll": NaN, "validation_nll": 3, "training_objective": "x"}')
    curves = learning_curves(read_run(str(path)))
    assert curves["nll"] == {"training": [(0, 20.0), (2, 20 / 3)], "validation": [(0, 21.0), (1, 3.0), (2, 7.0)]}
    assert curves["objective"] == {"training": [(0, 5.0), (2, 5 / 3)]}


def test_the_validation_metric(tmp_path: Path) -> None:
    for number, (metric, name) in enumerate(
        [("+f1/de", "f1/de"), ("-loss", "loss"), (["+a", "-b"], "a"), (None, "loss"), ([], "loss")]
    ):
        path = write_run(tmp_path / str(number), trainer={"validation_metric": metric})
        assert validation_metric_name(read_run(str(path))) == name
    (path / "config.json").write_text(json.dumps({"trainer": "x"}))
    assert validation_metric_name(read_run(str(path))) == "loss"
