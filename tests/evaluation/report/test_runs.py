"""Folders of runs: read, broken, read."""

import json
from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.runs import read_run

from .folders import evaluation, write_run


def test_everything_is_read(tmp_path: Path) -> None:
    run = read_run(str(write_run(tmp_path / "a", epochs=12, evaluated=evaluation({"de": 0.9}))))
    assert [number for number, _ in run.epochs] == list(range(12))
    assert run.epochs[3][1]["training_nll"] == 5.0
    assert run.trained_languages == {"de", "en"}
    assert run.best_epoch == 10
    assert run.training_seconds == 62.5
    assert run.evaluation is not None
    assert run.notes == ()


def test_a_training_that_did_not_end(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a")
    (path / "metrics.json").unlink()
    run = read_run(str(path))
    assert run.metrics == {}
    assert run.best_epoch == 1
    assert run.training_seconds == 30.25
    (note,) = run.notes
    assert note.startswith(f"{path} has no metrics.json: its training did not end.")


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "metrics_epoch_1.json", "evaluation.json"])
@pytest.mark.parametrize("damage", ["cut", "list", "binary"])
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path: Path, name: str, damage: str) -> None:
    path = write_run(tmp_path / "a", evaluated=evaluation({"de": 0.9}))
    file = path / name
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "list": b"[1]", "binary": b"\xff\xfe"}[damage])
    run = read_run(str(path))
    (note,) = run.notes
    assert str(file) in note
    assert note.endswith(".")
    assert len(run.epochs) == (2 if "epoch" in name else 3)
    assert (run.evaluation is None) == (name == "evaluation.json")


def test_numbers_that_are_not_finite_are_none(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", epochs=1)
    (path / "metrics_epoch_0.json").write_text('{"training_nll": NaN, "validation_nll": -Infinity, "epoch": 0}')
    assert dict(read_run(str(path)).epochs[0][1]) == {"training_nll": None, "validation_nll": None, "epoch": 0}


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_without_a_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model": 1}))
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ConfigurationError) as error:
        read_run(str(tmp_path))
    assert f"{tmp_path} holds no run" in str(error.value)
    assert (content is None) or "metrics.json is damaged" in str(error.value)


@pytest.mark.parametrize("paths", ["data/{language}/train.conllu", None, {}])
def test_languages_that_the_configuration_does_not_say(tmp_path: Path, paths: object) -> None:
    assert read_run(str(write_run(tmp_path / "a", train_data_path=paths))).trained_languages is None


@pytest.mark.parametrize(("text", "seconds"), [("1 day, 2:03:04.5", 93784.5), ("2 days, 0:00:01", 172801), ("x", None)])
def test_durations(tmp_path: Path, text: str, seconds: object) -> None:
    path = write_run(tmp_path / "a", epochs=0)
    (path / "metrics.json").write_text(json.dumps({"training_duration": text}))
    assert read_run(str(path)).training_seconds == seconds
