"""Metrics under names that TensorBoard and Weights & Biases group and sort well."""

import json
import struct
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.commands.train import train_model
from allennlp.common import Params
from tensorboardX.proto.event_pb2 import Event

import structkd_plugin  # noqa: F401 (registers the components)

from .teacher.training import capture_training_data, config, make_archive, write_corpus

# What a person looks for, in the groups (the part before the first slash) in which both programs show them.
VALIDATION = ["f1/de", "f1/en", "f1/macro", "f1/micro", "loss", "nll", "precision/micro", "recall/micro"]
TRAINING = ["loss", "nll", "objective", "objective/emission", "objective/posterior"]


def scalars(folder: Path) -> Dict[str, List[int]]:
    """The steps of every scalar in the event files of a folder, by its tag."""
    found: Dict[str, List[int]] = {}
    for file in sorted(folder.glob("events.*")):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Dict[str, Any]:
    for language in ("en", "de"):
        write_corpus(tmp_path / f"{language}.train.conll", language, 8)
        write_corpus(tmp_path / f"{language}.dev.conll", language, 4, seed=1)
    store = capture_training_data(
        make_archive(tmp_path / "teacher", tmp_path), tmp_path, str(tmp_path / "s"), ["en", "de"]
    )
    made = config(
        tmp_path, objective={"type": "weighted_sum", "objectives": [{"type": "posterior"}, {"type": "emission"}]}
    )
    made["validation_data_path"] = {code: str(tmp_path / f"{code}.dev.conll") for code in ("en", "de")}
    made["trainer"]["callbacks"] = [{"type": "structkd_teacher", "stores": {"en": store, "de": store}}]
    return made


def test_tensorboard(settings: Dict[str, Any], tmp_path: Path) -> None:
    settings["trainer"]["callbacks"].append({"type": "tensorboard", "summary_interval": 1})
    train_model(Params(json.loads(json.dumps(settings))), str(tmp_path / "run"))
    validation = scalars(tmp_path / "run" / "log" / "validation")
    assert sorted(validation) == [f"validation/{name}" for name in VALIDATION]
    assert all(steps == [1, 2] for steps in validation.values())
    training = scalars(tmp_path / "run" / "log" / "train")
    assert {f"train/{name}" for name in TRAINING} <= set(training)
    assert all(training[f"train/{name}"] == [1, 2] for name in TRAINING)
    # Of every batch, beside each other and apart from those of the epoch.
    assert {f"train/batch_{name}" for name in TRAINING} <= set(training)
    assert {tag.partition("/")[0] for tag in training} == {"train"}


@pytest.mark.slow
def test_weights_and_biases(settings: Dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    settings["trainer"]["callbacks"].append(
        {"type": "wandb", "summary_interval": 1, "should_log_parameter_statistics": False, "watch_model": False}
    )
    train_model(Params(json.loads(json.dumps(settings))), str(tmp_path / "run"))
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    # What would be sent: records with the names as they are.
    content = file.read_bytes()
    names = [f"validation/{name}" for name in VALIDATION]
    names += [f"train/{prefix}{name}" for name in TRAINING for prefix in ("", "batch_")]
    assert [name for name in names if name.encode() not in content] == []
