"""Whole trainings with teachers: the same result however they are run, and no store needed afterwards."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar, Dict, List

import pytest
import torch
from allennlp.commands.evaluate import evaluate_from_archive
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.models.archival import load_archive
from allennlp.training.callbacks import TrainerCallback

from .training import (
    LABELS,
    BreakOff,
    capture_training_data,
    config,
    difference,
    in_two_processes,
    make_archive,
    student,
    train,
    write_corpus,
)

# Of float32 sums in another order.
ROUNDING = 1e-5


@TrainerCallback.register("test_seen_batches")
class SeenBatches(TrainerCallback):
    """Notes what reaches the model."""

    batches: ClassVar[List[Any]] = []

    def on_batch(self, trainer: Any, batch_inputs: Any, *args: Any, is_training: bool, **kwargs: Any) -> None:
        if is_training:
            self.batches.extend(batch_inputs)


def plain(settings: Dict[str, Any]) -> Dict[str, Any]:
    """Without anything random, so that runs can be compared."""
    settings["data_loader"]["shuffle"] = False
    settings["trainer"]["callbacks"][0]["schedule"] = {"type": "linear", "per": "epoch"}
    return settings


@pytest.fixture(scope="module")
def reference(data: Path, stores: Dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Dict[str, torch.Tensor]:
    return train(plain(student(data, stores)), tmp_path_factory.mktemp("reference") / "run")


def test_teachers_make_a_difference(
    data: Path, stores: Dict[str, str], reference: Dict[str, torch.Tensor], tmp_path: Path
) -> None:
    without = config(data)
    without["data_loader"]["shuffle"] = False
    assert difference(train(without, tmp_path / "without"), reference) > 1e-3


def test_every_training_batch_has_its_teacher_and_no_other_has(
    data: Path, stores: Dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SeenBatches, "batches", [])
    settings = student(data, stores)
    settings["trainer"]["callbacks"].append({"type": "test_seen_batches"})
    train(settings, tmp_path / "run")
    assert len(SeenBatches.batches) == 16
    weights = [batch["teacher"].interpolation.item() for batch in SeenBatches.batches]
    assert weights == pytest.approx([1 - step / 16 for step in range(16)])
    assert all(batch["teacher"].teachers[0].weight.tolist() == [1.0] * 4 for batch in SeenBatches.batches)


def test_accumulated_gradients(
    data: Path, stores: Dict[str, str], reference: Dict[str, torch.Tensor], tmp_path: Path
) -> None:
    settings = plain(student(data, stores))
    settings["data_loader"]["batch_size"] = 2
    settings["trainer"]["num_gradient_accumulation_steps"] = 2
    assert difference(train(settings, tmp_path / "run"), reference) < ROUNDING


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_one_loader_worker(
    data: Path, stores: Dict[str, str], reference: Dict[str, torch.Tensor], tmp_path: Path
) -> None:
    settings = plain(student(data, stores))
    settings["data_loader"].update(num_workers=1, max_instances_in_memory=8)
    assert difference(train(settings, tmp_path / "run"), reference) < ROUNDING


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_loader_workers_teach_every_sentence_once(data: Path, stores: Dict[str, str], tmp_path: Path) -> None:
    settings = plain(student(data, stores))
    settings["data_loader"].update(num_workers=2, max_instances_in_memory=4)
    train(settings, tmp_path / "run")
    log = (tmp_path / "run" / "out.log").read_text()
    for language in ("en", "de"):
        assert f"distilled: 32 of 32 sentences in {language} have a teacher" in log


@pytest.mark.parametrize("moment", ["1.2", "2.1", "2.4"], ids="broken off in {}".format)
def test_recovered(
    data: Path, stores: Dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Also with a schedule that changes with every step, and shuffled batches."""
    settings = student(data, stores)
    settings["trainer"]["num_epochs"] = 3
    settings["trainer"]["checkpointer"] = {"save_every_num_batches": 3}
    settings["trainer"]["callbacks"].append({"type": "test_break_off"})
    whole = train(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setenv(BreakOff.VARIABLE, moment)
        with pytest.raises(BreakOff.Broken):
            train(settings, tmp_path / "broken")
    assert difference(train(settings, tmp_path / "broken", recover=True), whole) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_processes(
    data: Path,
    stores: Dict[str, str],
    reference: Dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = in_two_processes(plain(student(data, stores)), tmp_path, monkeypatch)
    assert difference(train(settings, tmp_path / "run"), reference) < ROUNDING


@pytest.fixture(scope="module")
def trained(data: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose stores are gone."""
    path = tmp_path_factory.mktemp("student")
    stores = {language: capture_training_data(archive, data, path / language, [language]) for language in ("en", "de")}
    train(student(data, stores), path / "run")
    for store in stores.values():
        shutil.rmtree(store)
    return path / "run" / "model.tar.gz"


class TestWithoutStores:
    def test_evaluate(self, trained: Path, data: Path) -> None:
        metrics = evaluate_from_archive(str(trained), str(data / "en.dev.conll"))
        assert 0.0 <= metrics["f1/micro"] <= 1.0

    def test_predict(self, trained: Path) -> None:
        loaded = load_archive(str(trained))
        instance = loaded.dataset_reader.text_to_instance(["Ada", "sleeps"], language="en")
        loaded.dataset_reader.apply_token_indexers(instance)
        output = loaded.model.eval().forward_on_instance(instance)
        assert len(output["tags"]) == 2
        assert set(output["tags"]) <= set(LABELS)

    def test_the_archive_names_them_for_the_record_only(self, trained: Path) -> None:
        assert load_archive(str(trained)).config["trainer"]["callbacks"][0]["type"] == "structkd_teacher"


class TestSeveralTeachers:
    def test_one_language_taught_by_two(self, data: Path, archive: Path, tmp_path: Path) -> None:
        second = make_archive(tmp_path / "second", data, seed=5)
        stores = {
            "en": [
                capture_training_data(teacher, data, tmp_path / f"store {teacher.name}", ["en"])
                for teacher in (archive, second)
            ],
            "de": capture_training_data(archive, data, tmp_path / "de", ["de"]),
        }
        both = train(student(data, stores), tmp_path / "both")
        first = train(student(data, {**stores, "en": stores["en"][0]}), tmp_path / "first")
        assert difference(both, first) > 1e-4

    def test_a_language_without_a_teacher(self, data: Path, stores: Dict[str, str], tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"no teacher store for the language de"):
            train(student(data, {"en": stores["en"]}), tmp_path / "error")
        train(student(data, {"en": stores["en"]}, missing="skip"), tmp_path / "skip")


def test_a_teacher_with_another_label_order(data: Path, stores: Dict[str, str], archive: Path, tmp_path: Path) -> None:
    """Labels are numbered by frequency, so that teacher and student seldom agree."""
    for language in ("en", "de"):
        write_corpus(tmp_path / f"{language}.train.conll", language, 16)
    write_corpus(tmp_path / "en.dev.conll", "en", 3)
    settings = config(tmp_path)
    settings["vocabulary"]["tokens_to_add"]["labels"] = LABELS[::-1]
    settings["vocabulary"]["max_vocab_size"] = {"labels": 1}
    reader = DatasetReader.from_params(Params(settings["dataset_reader"]))
    vocabulary = Vocabulary.from_params(
        Params(settings["vocabulary"]), instances=reader.read(settings["train_data_path"])
    )
    order = [vocabulary.get_token_from_index(index, "labels") for index in range(5)]
    original = load_archive(str(archive)).model
    assert sorted(order) == sorted(original.labels)
    assert order != original.labels
    # The very same teacher with its labels in another order.
    directory = tmp_path / "archive"
    directory.mkdir()
    vocabulary.save_to_files(str(directory / "vocabulary"))
    settings = config(tmp_path)
    (directory / "config.json").write_text(json.dumps(settings))
    shuffled = Model.from_params(Params(config(tmp_path)["model"]), vocab=vocabulary)
    state = dict(original.state_dict())
    columns = torch.tensor([original.labels.index(label) for label in order])
    for name, value in state.items():
        if name.startswith("crf.") or "emission" in name:
            state[name] = value[columns][:, columns] if name == "crf.transitions" else value[columns]
    shuffled.load_state_dict(state)
    torch.save(shuffled.state_dict(), directory / "best.th")
    others = {
        language: capture_training_data(directory, tmp_path, tmp_path / language, [language])
        for language in ("en", "de")
    }
    first = train(plain(student(data, stores)), tmp_path / "first")
    second = train(plain(student(data, others)), tmp_path / "second")
    assert difference(first, second) < ROUNDING


def test_configurations_with_a_store_that_is_not_there_fail_before_the_first_step(data: Path, tmp_path: Path) -> None:
    settings = student(data, {"en": str(tmp_path / "nowhere")})
    with pytest.raises(ConfigurationError, match=r"nowhere is not a teacher store"):
        train_model(Params(settings), str(tmp_path / "run"))
    assert not list((tmp_path / "run").glob("*.th"))


def test_a_softmax_teacher_is_captured_and_refused_by_an_objective_that_needs_transitions(
    data: Path, tmp_path: Path
) -> None:
    """From the archive through the store to the training: before its first step, and only where it cannot work."""
    softmax = make_archive(tmp_path / "softmax", data, transitions="none")
    store = capture_training_data(softmax, data, tmp_path / "store", ["en", "de"])
    settings = student(data, {"en": store, "de": store})
    settings["model"]["objective"] = {"type": "k_best", "k": 3}
    with pytest.raises(ConfigurationError, match=r"k_best needs a teacher with transitions.*is a softmax tagger"):
        train(settings, tmp_path / "refused")
    assert not list((tmp_path / "refused").glob("model_state*"))
    settings["model"]["objective"] = {"type": "cross_entropy"}
    assert train(settings, tmp_path / "trained")
