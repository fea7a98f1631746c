"""Small corpora, teachers and trainings: everything takes well under a second."""

import json
import os
import random
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.training.callbacks import TrainerCallback

import structkd_plugin.objectives
import structkd_plugin.random_state
import structkd_plugin.readers.column_reader
import structkd_plugin.readers.plain_text_reader
import structkd_plugin.tagger
import structkd_plugin.teacher.callback  # noqa: F401
from structkd_plugin.teacher.capture import CapturedTeacher, Source, capture
from structkd_plugin.teacher.sources.resolve import teacher_of_archive

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NAMES = {"en": ["Ada", "Boris", "Chen"], "de": ["Anna", "Karl", "Uwe"]}
PLACES = {"en": ["Rome", "Lima"], "de": ["Bonn", "Köln"]}


def write_corpus(path: Path, language: str, sentences: int, seed: int = 0) -> Path:
    """A labelled column file; no two of its sentences are the same."""
    draw = random.Random(f"{language} {seed}")
    lines: List[str] = []
    for number in range(sentences):
        lines.append(f"{language}{number} O")
        for _ in range(draw.randint(0, 6)):
            kind = draw.random()
            if kind < 0.3:
                lines.append(f"{draw.choice(NAMES[language])} B-PER")
            elif kind < 0.5:
                lines.append(f"{draw.choice(PLACES[language])} B-LOC")
            else:
                lines.append(f"w{draw.randint(0, 5)} O")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def config(data: Path, **model: Any) -> Dict[str, Any]:
    return {
        "dataset_reader": {"type": "structkd_column", "scheme": "BIO"},
        "train_data_path": {"en": str(data / "en.train.conll"), "de": str(data / "de.train.conll")},
        "validation_data_path": {"en": str(data / "en.dev.conll")},
        "vocabulary": {"tokens_to_add": {"labels": LABELS}},
        "model": {
            "type": "structkd_tagger",
            "label_encoding": "BIO",
            "text_field_embedder": {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 5}}},
            "encoder": {"type": "lstm", "input_size": 5, "hidden_size": 4, "bidirectional": True},
            **model,
        },
        "data_loader": {"batch_size": 4, "shuffle": True},
        "validation_data_loader": {"batch_size": 8},
        "trainer": {
            "optimizer": {"type": "sgd", "lr": 0.1},
            "num_epochs": 2,
            "cuda_device": -1,
            "validation_metric": "-loss",
        },
    }


def make_archive(path: Path, data: Path, seed: int = 1, **model: Any) -> Path:
    """A serialization directory with a tagger that was initialized, not trained."""
    settings = config(data, **model)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    reader = DatasetReader.from_params(Params(dict(settings["dataset_reader"])))
    vocabulary = Vocabulary.from_params(
        Params(settings["vocabulary"]), instances=reader.read(settings["train_data_path"])
    )
    vocabulary.save_to_files(str(path / "vocabulary"))
    torch.manual_seed(seed)
    tagger = Model.from_params(Params(config(data, **model)["model"]), vocab=vocabulary)
    torch.save(tagger.state_dict(), path / "best.th")
    return path


def load_teacher(archive: Path, **overrides: Any) -> CapturedTeacher:
    from allennlp.models.archival import load_archive

    return teacher_of_archive(load_archive(str(archive), overrides=overrides or ""))


def capture_training_data(archive: Path, data: Path, output: Path, languages: List[str]) -> str:
    sources = [Source(str(data / f"{language}.train.conll"), language) for language in languages]
    capture(load_teacher(archive), sources, str(output), quiet=True)
    return str(output)


def student(data: Path, stores: Dict[str, Any], **callback: Any) -> Dict[str, Any]:
    """The configuration of a training with teachers."""
    settings = config(data, objective={"type": "posterior"})
    settings["trainer"]["callbacks"] = [{"type": "structkd_teacher", "stores": stores, **callback}]
    return settings


def train(settings: Dict[str, Any], output: Path, recover: bool = False) -> Dict[str, torch.Tensor]:
    """The parameters at the end of a training."""
    # Further processes of a distributed training have to know the callbacks of this file.
    train_model(Params(json.loads(json.dumps(settings))), str(output), recover=recover, include_package=[__name__])
    states = sorted(output.glob("model_state_e*_b0.th"), key=lambda file: int(file.name.split("_")[2][1:]))
    return {name.removeprefix("module."): value for name, value in torch.load(states[-1]).items()}


def in_two_processes(settings: Dict[str, Any], directory: Path, patch: pytest.MonkeyPatch) -> Dict[str, Any]:
    """`settings` for a training in two processes with the same sentences a step, started in `directory`."""
    # They find the plugin by the file in the directory they are started in.
    (directory / ".allennlp_plugins").write_text("structkd_plugin\n")
    patch.chdir(directory)
    patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    patch.setenv("OMP_NUM_THREADS", "1")
    settings["data_loader"]["batch_size"] //= 2
    settings["distributed"] = {"cuda_devices": [-1, -1]}
    return settings


def difference(first: Dict[str, torch.Tensor], second: Dict[str, torch.Tensor]) -> float:
    """Largest difference of any parameter."""
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@TrainerCallback.register("test_break_off")
class BreakOff(TrainerCallback):
    """Ends the training after a batch, as a kill would, if the environment says so."""

    VARIABLE = "STRUCTKD_TEST_BREAK_OFF"

    class Broken(Exception):
        pass

    def on_batch(
        self,
        trainer: Any,
        batch_inputs: Any,
        batch_outputs: Any,
        batch_metrics: Any,
        epoch: int,
        batch_number: int,
        is_training: bool,
        **kwargs: Any,
    ) -> None:
        if is_training and os.environ.get(self.VARIABLE) == f"{epoch}.{batch_number}":
            raise self.Broken
