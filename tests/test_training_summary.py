"""What a training says at its end is what came of it, and what it says to type works."""

import json
import shlex
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.training.callbacks import TrainerCallback

import structkd_plugin  # noqa: F401 (registers the components)
from structkd_plugin.training_summary import files_to_evaluate, how_to_go_on, summary

from .commands.command_line import run
from .teacher.training import config, write_corpus


@TrainerCallback.register("test_interrupt")
class Interrupt(TrainerCallback):
    """Ctrl-C in the second epoch."""

    def on_batch(self, *arguments: Any, **options: Any) -> None:
        if arguments[4] == 1:
            raise KeyboardInterrupt


@pytest.fixture
def settings(tmp_path: Path) -> Dict[str, Any]:
    for language in ("en", "de"):
        write_corpus(tmp_path / f"{language}.train.conll", language, 16)
        write_corpus(tmp_path / f"{language}.dev.conll", language, 8, seed=1)
    made = config(tmp_path)
    made["validation_data_path"] = {code: str(tmp_path / f"{code}.dev.conll") for code in ("en", "de")}
    made["trainer"]["callbacks"] = ["structkd_summary"]
    return made


def told(directory: Path) -> List[str]:
    """The lines of the log from the summary on, without the time and the origin of the first."""
    lines = (directory / "out.log").read_text().splitlines()
    (start,) = [number for number, line in enumerate(lines) if "structkd_plugin.training_summary" in line]
    return [lines[start].split(" - ")[-1], *lines[start + 1 :]]


def test_the_end_of_a_training(settings: Dict[str, Any], tmp_path: Path) -> None:
    run_directory = tmp_path / "a run"
    train_model(Params(settings), str(run_directory))
    metrics = json.loads((run_directory / "metrics.json").read_text())
    lines = told(run_directory)
    assert lines[0].startswith("trained       2 epochs in ")
    assert "sentences a second" in lines[0]
    assert lines[1] == f"best epoch    {metrics['best_epoch']} (the first is 0), by the development data:"
    for part in ("de", "en", "macro", "micro"):
        assert f"{part} {100 * metrics[f'best_validation_f1/{part}']:.2f}" in lines[2]
    assert f"nll {metrics['best_validation_nll']:.4f} nats a sentence" in "\n".join(lines[3:6])
    last = next(line for line in lines if line.startswith("last epoch"))
    assert last == f"last epoch    of the training data nll {metrics['training_nll']:.4f} nats a sentence"
    archive = next(line for line in lines if line.startswith("archive")).partition("archive")[2].strip()
    assert Path(archive).is_file()
    command = shlex.split(next(line for line in lines if line.startswith("next")).partition("next")[2])
    evaluated = tmp_path / "evaluated.json"
    assert run(*command[1:], "--output-file", evaluated) is None
    assert json.loads(evaluated.read_text())["f1/macro"] == pytest.approx(metrics["best_validation_f1/macro"])


def test_after_an_interruption_it_tells_how_to_go_on(settings: Dict[str, Any], tmp_path: Path) -> None:
    settings["trainer"]["callbacks"].insert(0, "test_interrupt")
    with pytest.raises(KeyboardInterrupt):
        train_model(Params(json.loads(json.dumps(settings))), str(tmp_path / "run"))
    lines = told(tmp_path / "run")
    assert (
        lines[0] == f"broken off in epoch 1 (the first is 0); the best epoch so far is in {tmp_path}/run/model.tar.gz"
    )
    assert (tmp_path / "run" / "model.tar.gz").is_file()
    command = shlex.split(lines[1].partition(": ")[2])
    assert command[-1] == "--recover"
    # Interrupted again, in the epoch after the one that is done.
    with pytest.raises(KeyboardInterrupt):
        run(*command[1:])


def test_an_error_is_told_by_itself(settings: Dict[str, Any], tmp_path: Path) -> None:
    settings["trainer"]["callbacks"].append({"type": "structkd_teacher", "stores": {"en": "nowhere", "de": "nowhere"}})
    with pytest.raises(Exception, match="nowhere"):
        train_model(Params(settings), str(tmp_path / "run"))
    assert "training_summary" not in (tmp_path / "run" / "out.log").read_text()


def test_distillation_is_told_in_its_parts() -> None:
    metrics = {
        "epoch": 4,
        "best_epoch": 2,
        "best_validation_accuracy/de": 0.9517,
        "best_validation_accuracy/macro": 0.9517,
        "best_validation_nll": 1.5,
        "best_validation_loss": 1.5,
        "training_nll": 1.25,
        "training_objective/posterior": 0.5,
        "training_objective": 0.5,
        "training_loss": 0.9,
        "training_duration": "0:00:05",
    }
    assert summary("nowhere", metrics, 3723, 1234.5).splitlines() == [
        "trained       5 epochs in 1 h 2 min, 1,234 sentences a second",
        "best epoch    2 (the first is 0), by the development data:",
        "  accuracy    de 95.17, macro 95.17 %",
        "  loss        nll 1.5000 nats a sentence",
        "last epoch    of the training data nll 1.2500, objective/posterior 0.5000, objective 0.5000 nats a sentence",
        "archive       nowhere/model.tar.gz",
    ]


def test_a_finished_training_that_is_recovered_has_nothing_to_do() -> None:
    assert summary("nowhere", {"best_epoch": None}, 0.5).splitlines()[0] == "trained       no further epoch in 0.5 s"


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        ({"test_data_path": "a.conll", "validation_data_path": "b.conll"}, "a.conll"),
        ({"validation_data_path": "b.conll"}, "b.conll"),
        ({}, None),
        ({"test_data_path": {"de": "c/de/de.conllu", "en": "c/en/en.conllu"}}, "c/{language}/{language}.conllu"),
        ({"test_data_path": {"de": "de/models/x.de", "en": "de/models/x.en"}}, "de/models/x.{language}"),
        ({"test_data_path": {"de": "x", "en": "y"}}, '{"de": "x", "en": "y"}'),
        ({"test_data_path": {"de": "x/de"}}, '{"de": "x/de"}'),
        ({"test_data_path": {"labelled": {"de": "ü"}}}, '{"labelled": {"de": "ü"}}'),
    ],
)
def test_files_to_evaluate_are_those_of_the_configuration(paths: Any, files: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(paths))
    assert files_to_evaluate(str(tmp_path)) == files


def test_without_a_best_epoch_no_archive_is_promised(tmp_path: Path) -> None:
    assert "model.tar.gz" not in how_to_go_on(str(tmp_path), 0)
