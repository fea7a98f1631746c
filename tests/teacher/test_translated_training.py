"""Trainings whose teachers have other labels: every objective stays finite, and learns what the teacher says."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import load_archive

from structkd_plugin.teacher.capture import Source, capture
from structkd_plugin.teacher.sources.resolve import teacher_of_archive

from . import training
from .training import NAMES, capture_training_data, student, train

ROOT = Path(__file__).resolve().parents[2]
FINER = ["O", *(f"{letter}-{kind}" for kind in ("PER", "LOC") for letter in "BIES")]
OBJECTIVES: Dict[str, Dict[str, Any]] = {
    "posterior": {"type": "posterior", "temperature": 2.0},
    "marginals": {"type": "posterior", "temperature": 2.0, "temper": "marginals"},
    "cross_entropy": {"type": "cross_entropy", "temperature": 2.0},
    "top_wk": {"type": "k_best", "k": 3, "weighted": True},
    "legal": {"type": "k_best", "k": 3, "labellings": "legal"},
}


def with_labels(settings: Dict[str, Any], labels: List[str], scheme: str = "BIO") -> Dict[str, Any]:
    settings["dataset_reader"]["scheme"] = scheme
    settings["vocabulary"]["tokens_to_add"]["labels"] = labels
    settings["model"]["label_encoding"] = scheme
    settings["trainer"]["callbacks"][0]["schedule"] = {"type": "constant", "value": 1.0}
    return settings


def divergences(run: Path) -> List[float]:
    """Of every epoch the objective of the training."""
    files = sorted(run.glob("metrics_epoch_*.json"))
    return [json.loads(file.read_text())["training_objective"] for file in files]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("constraints", ["decoding", "everywhere"])
def test_a_finer_scheme(data: Path, stores: Dict[str, str], tmp_path: Path, objective: str, constraints: str) -> None:
    settings = with_labels(student(data, stores), FINER, "BIOES")
    settings["model"].update(objective=OBJECTIVES[objective], constraints=constraints)
    parameters = train(settings, tmp_path / "run")
    assert all(value.isfinite().all() for value in parameters.values())
    before, after = divergences(tmp_path / "run")
    assert math.isfinite(before)
    assert after < before


@pytest.mark.parametrize("objective", [*OBJECTIVES, "emission"])
@pytest.mark.parametrize("softmax", [False, True], ids=["crf", "softmax student"])
def test_labels_that_the_teacher_has_not(
    data: Path, stores: Dict[str, str], tmp_path: Path, objective: str, softmax: bool
) -> None:
    entries = {language: {"path": path, "absent_labels": "impossible"} for language, path in stores.items()}
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
    settings = with_labels(student(data, entries), labels)
    settings["model"]["objective"] = OBJECTIVES.get(objective, {"type": "emission"})
    settings["model"]["transitions"] = "none" if softmax else "learned"
    parameters = train(settings, tmp_path / "run")
    assert all(value.isfinite().all() for value in parameters.values())
    before, after = divergences(tmp_path / "run")
    assert math.isfinite(before)
    assert after < before


def test_the_objective_on_emissions_cannot_tell_labels_that_were_one(
    data: Path, stores: Dict[str, str], tmp_path: Path
) -> None:
    settings = with_labels(student(data, stores), FINER, "BIOES")
    settings["model"]["objective"] = {
        "type": "weighted_sum",
        "objectives": [{"type": "posterior"}, {"type": "emission"}],
    }
    message = "weighted_sum ignores transitions, by which alone the teacher .*en, converted from BIO, tells some labels"
    with pytest.raises(ConfigurationError, match=message):
        train(settings, tmp_path / "run")


def test_a_language_without_gold_tags(data: Path, stores: Dict[str, str], archive: Path, tmp_path: Path) -> None:
    """Its text is learnt from other languages' teachers alone, which share the say by their weights."""
    blocks = (data / "de.train.conll").read_text(encoding="utf-8").strip().split("\n\n")
    text = tmp_path / "de.txt"
    text.write_text("\n".join(" ".join(line.split()[0] for line in block.split("\n")) for block in blocks))
    plain = {"type": "structkd_plain_text", "pretokenized": True}
    teachers = []
    for number, weight in enumerate((3.0, 1.0)):
        captured = teacher_of_archive(load_archive(str(archive)), plain)
        capture(captured, [Source(str(text), "de")], str(tmp_path / str(number)), quiet=True)
        teachers.append({"path": str(tmp_path / str(number)), "weight": weight})
    settings = student(data, {"en": stores["en"], "de": teachers}, schedule={"type": "constant", "value": 0.0})
    settings["validation_dataset_reader"] = settings["dataset_reader"]
    settings["dataset_reader"] = {
        "type": "structkd_mixture",
        "readers": {"gold": {"type": "structkd_column"}, "text": plain},
    }
    settings["train_data_path"] = {"gold": {"en": str(data / "en.train.conll")}, "text": {"de": str(text)}}
    parameters = train(settings, tmp_path / "run")
    assert all(value.isfinite().all() for value in parameters.values())
    log = (tmp_path / "run" / "out.log").read_text()
    assert "training data: 16 of 16 sentences in de have a teacher" in log
    assert "distilled: 32 of 32 sentences in de have a teacher" in log
    # λ is 0: the English sentences are learnt from gold tags alone, the German ones from teachers all the same.
    before, after = divergences(tmp_path / "run")
    assert 0 < after < before


def test_as_a_user_does_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BIO teacher that calls things by other names, and a student in BIOES: `allennlp train` in a process."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for file in data.glob("*.conll"):
        (corpus / file.name).write_text(file.read_text().replace("-PER", "-PERSON"))
    labels = ["O", "B-PERSON", "I-PERSON", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    monkeypatch.setattr(training, "LABELS", labels)
    archive = training.make_archive(tmp_path / "teacher", corpus)
    monkeypatch.undo()
    stores = {
        language: {
            "path": capture_training_data(archive, corpus, tmp_path / language, [language]),
            "weight": 2,
            "label_map": {"PERSON": "PER", "MISC": None},
        }
        for language in ("en", "de")
    }
    settings = with_labels(student(data, stores), FINER, "BIOES")
    settings["trainer"]["num_epochs"] = 1
    (tmp_path / "student.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "allennlp", "train", "student.json", "-s", "run", "--file-friendly-logging"]
    (tmp_path / ".allennlp_plugins").write_text("structkd_plugin\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert math.isfinite(metrics["training_objective"])
    log = (tmp_path / "run" / "out.log").read_text()
    for language in NAMES:
        assert f"distilled: 16 of 16 sentences in {language} have a teacher" in log
