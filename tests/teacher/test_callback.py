"""The callback checks everything before the first step, and leaves the trainer as it found it."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Sequence

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.data.data_loaders import MultiProcessDataLoader, SimpleDataLoader
from allennlp.training.callbacks import TrainerCallback

from structkd_plugin.decorating_loader import DecoratingDataLoader
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.schedules import ConstantSchedule, LinearSchedule
from structkd_plugin.teacher.callback import TeacherCallback
from structkd_plugin.teacher.format import Calibration, Manifest
from structkd_plugin.teacher.loader import TeacherDataLoader
from structkd_plugin.teacher_batch import TeacherDescription

from .stores import LABELS, WITH_K_BEST, Spoken, write_store

TRAINING = (Spoken("en", "Ada sleeps"), Spoken("en", "why"), Spoken("de", "Ada schläft"))


class Accepting:
    def __init__(self, labels: Sequence[str]) -> None:
        self.vocab = Vocabulary()
        for label in labels:
            self.vocab.add_token_to_namespace(label, "labels")
        self.descriptions: List[TeacherDescription] = []

    def check_teachers(self, teachers: Sequence[TeacherDescription]) -> None:
        self.descriptions.extend(teachers)


def trainer_for(sentences: Sequence[Spoken] = TRAINING, labels: Sequence[str] = ("I-PER", "O", "B-PER")) -> Any:
    reader = ColumnReader()
    instances = [reader.text_to_instance(s.words.split(), language=s.language) for s in sentences]
    for instance in instances:
        reader.apply_token_indexers(instance)
    loader = SimpleDataLoader(instances, batch_size=2)
    return SimpleNamespace(model=Accepting(labels), data_loader=loader, _num_epochs=3)


def callback(**params: Any) -> TeacherCallback:
    """As a trainer makes it from a configuration."""
    made = TrainerCallback.from_params(Params({"type": "structkd_teacher", **params}), serialization_dir="unused")
    assert isinstance(made, TeacherCallback)
    return made


@pytest.fixture
def store(tmp_path: Path) -> str:
    write_store(tmp_path / "store", TRAINING)
    return str(tmp_path / "store")


def test_it_decorates_the_loader_and_puts_it_back(store: str) -> None:
    trainer = trainer_for()
    before = trainer.data_loader
    teachers = callback(stores={"en": store, "de": [store]})
    teachers.on_start(trainer)
    assert isinstance(trainer.data_loader, TeacherDataLoader)
    teachers.on_end(trainer)
    assert trainer.data_loader is before


def test_it_finds_its_loader_in_a_chain(store: str) -> None:
    class Other(DecoratingDataLoader):
        pass

    trainer = trainer_for()
    before = trainer.data_loader
    teachers = callback(stores={"en": store, "de": store})
    teachers.on_start(trainer)
    outermost = trainer.data_loader = Other(Other(trainer.data_loader))
    teachers.on_end(trainer)
    assert trainer.data_loader is outermost
    assert outermost.inner.inner is before


def test_the_model_hears_of_each_teacher_once(store: str, tmp_path: Path) -> None:
    write_store(tmp_path / "softmax", TRAINING, kind="log_probabilities", **WITH_K_BEST)
    trainer = trainer_for()
    callback(stores={"en": [store, str(tmp_path / "softmax")], "de": store}).on_start(trainer)
    assert trainer.model.descriptions == [
        TeacherDescription(store, ("en", "de"), LABELS, "potentials", "BIO"),
        TeacherDescription(str(tmp_path / "softmax"), ("en",), LABELS, "log_probabilities", "BIO", 3),
    ]


@pytest.mark.parametrize(
    ("params", "weights"),
    [({}, [1, 5 / 6]), ({"schedule": {"type": "constant", "value": 0.25}}, [0.25, 0.25])],
    ids=["linear by default", "as configured"],
)
def test_schedule(store: str, params: Dict[str, Any], weights: List[float]) -> None:
    trainer = trainer_for()
    callback(stores={"en": store, "de": store}, **params).on_start(trainer)
    got = [batch["teacher"].interpolation.item() for batch in _indexed(trainer)]
    assert got == pytest.approx(weights)


def _indexed(trainer: Any) -> Any:
    trainer.data_loader.index_with(trainer.model.vocab)
    return trainer.data_loader


def test_coverage_is_logged_before_and_after(store: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trainer = trainer_for([*TRAINING, Spoken("en", "unheard of"), Spoken("fr", "Ada dort")])
    teachers = callback(stores={"en": store, "de": store}, missing="skip")
    teachers.on_start(trainer)
    for _ in range(2):
        list(_indexed(trainer))
    teachers.on_end(trainer)
    for line in (
        "training data: 1 of 1 sentences in de have a teacher",
        "training data: 2 of 3 sentences in en have a teacher",
        "training data: 0 of 1 sentences in fr have a teacher",
        "distilled: 4 of 6 sentences in en have a teacher",
        "distilled: 0 of 2 sentences in fr have a teacher",
    ):
        assert line in caplog.messages


def test_a_store_that_is_not_needed_is_a_warning(store: str, caplog: pytest.LogCaptureFixture) -> None:
    callback(stores={"en": store, "de": store, "fr": store}).on_start(trainer_for())
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        warning == "there is a teacher store for the language fr, but no training sentence is in it (there are: de, en)"
    )


def in_scheme(trainer: Any, label_encoding: Optional[str]) -> Any:
    trainer.model.label_encoding = label_encoding
    return trainer


class TestTeachersOfTheirOwn:
    """Teachers whose tag set, scheme or say is their own."""

    def test_weights(self, store: str, tmp_path: Path) -> None:
        write_store(tmp_path / "second", TRAINING)
        trainer = trainer_for()
        callback(
            stores={"en": [{"path": store, "weight": 3}, str(tmp_path / "second")], "de": {"path": store, "weight": 2}}
        ).on_start(trainer)
        for batch in _indexed(trainer):
            for row, sentence in enumerate(batch["metadata"]):
                found = [slot.weight[row].item() for slot in batch["teacher"].teachers]
                assert found[:2] == ([0.75, 0.25] if sentence["language"] == "en" else [1, 0][: len(found)])
        # One teacher, whatever its weights.
        assert [description.languages for description in trainer.model.descriptions] == [("en", "de"), ("en",)]

    def test_the_model_hears_of_them_as_they_are_to_it(self, store: str, tmp_path: Path) -> None:
        person = {"labels": ("O", "B-PERSON", "I-PERSON", "B-MISC", "I-MISC"), **WITH_K_BEST}
        write_store(tmp_path / "person", TRAINING, kind="log_probabilities", **person)
        labels = ("O", "B-PER", "I-PER", "E-PER", "S-PER")
        trainer = in_scheme(trainer_for(labels=labels), "BIOES")
        entry = {"path": str(tmp_path / "person"), "label_map": {"PERSON": "PER", "MISC": None}}
        callback(stores={"en": [store, entry], "de": store}).on_start(trainer)
        assert trainer.model.descriptions == [
            TeacherDescription(store, ("en", "de"), labels, "potentials", "BIOES", converted_from="BIO"),
            TeacherDescription(str(tmp_path / "person"), ("en",), labels, "potentials", "BIOES", converted_from="BIO"),
        ]
        for batch in _indexed(trainer):
            for slot in batch["teacher"].teachers:
                assert slot.emissions.shape[2] == 5

    def test_the_best_labellings_of_a_converted_teacher_are_its_own(self, tmp_path: Path) -> None:
        write_store(tmp_path / "store", TRAINING, **WITH_K_BEST)
        trainer = in_scheme(trainer_for(labels=("O", "B-PER", "I-PER", "E-PER", "S-PER")), "BIOES")
        callback(stores={language: str(tmp_path / "store") for language in ("en", "de")}).on_start(trainer)
        assert [description.k_best for description in trainer.model.descriptions] == [3]

    @pytest.mark.parametrize(("wanted", "given"), [(None, 3), (0, 0), (2, 2), (5, 3)])
    def test_batches_have_no_more_labellings_than_the_model_wants(
        self, tmp_path: Path, wanted: Optional[int], given: int
    ) -> None:
        write_store(tmp_path / "store", TRAINING, **WITH_K_BEST)
        trainer = trainer_for()
        if wanted is not None:
            trainer.model.legal_labellings = wanted
        callback(stores={language: str(tmp_path / "store") for language in ("en", "de")}).on_start(trainer)
        for batch in _indexed(trainer):
            k_best = batch["teacher"].teachers[0].k_best
            assert (0 if k_best is None else k_best.scores.shape[1]) == given

    def test_absent_labels(self, store: str) -> None:
        labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
        entry = {"path": store, "absent_labels": "impossible"}
        trainer = trainer_for(labels=labels)
        callback(stores={"en": entry, "de": entry}).on_start(trainer)
        assert [description.labels for description in trainer.model.descriptions] == [labels]
        batch = next(iter(_indexed(trainer)))
        assert (batch["teacher"].teachers[0].emissions[:, 0, 3:] == -torch.inf).all()

    def test_one_store_told_in_two_ways_is_two_teachers(self, tmp_path: Path) -> None:
        write_store(tmp_path / "store", TRAINING, labels=("O", "B-PER", "I-PER", "B-HUMAN", "I-HUMAN"))
        path = str(tmp_path / "store")
        ways: List[Dict[str, Any]] = [{"HUMAN": None}, {"PER": None, "HUMAN": "PER"}]
        trainer = trainer_for()
        entries = [{"path": path, "label_map": way} for way in ways]
        callback(stores={"en": entries, "de": entries[0]}).on_start(trainer)
        assert [description.languages for description in trainer.model.descriptions] == [("en", "de"), ("en",)]
        first, second = next(iter(_indexed(trainer)))["teacher"].teachers
        assert not torch.equal(first.emissions, second.emissions)

    def test_calibrated(self, store: str) -> None:
        with pytest.raises(ConfigurationError, match=r"store has no calibration, .*`allennlp calibrate-teacher` on it"):
            callback(stores={"en": store, "de": store}, calibrated=True).on_start(trainer_for())
        manifest = Path(store, "manifest.main.json")
        calibration = Calibration(2.0, (0.5, 0.75))
        manifest.write_bytes(replace(Manifest.read(manifest), calibration=calibration).to_bytes())
        trainer = trainer_for()
        callback(stores={"en": store, "de": store}, calibrated=True).on_start(trainer)
        batch = next(iter(_indexed(trainer)))
        assert batch["teacher"].teachers[0].reliability.tolist() == [[0.5, 0.75]] * 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"path": "x", "wieght": 2}, "language en: TeacherEntry has no option 'wieght'; did you mean 'weight'?"),
            ({"weight": 2}, 'language en: key "path" is required'),
            ({"path": "x", "weight": 0}, "`weight` of the teacher in x is 0, but must be a finite number above 0"),
            ({"path": "x", "weight": -1.5}, "is -1.5, but must be"),
            ({"path": "x", "weight": float("nan")}, "is nan, but must be"),
            ({"path": "x", "weight": "much"}, "language en: Expected weight to be numeric"),
            ({"path": "x", "label_map": {"A": 3}}, "`label_map` of the teacher in x .* not {'A': 3}"),
            ({"path": "x", "label_map": ["A"]}, "`label_map` of the teacher in x"),
            (
                {"path": "x", "absent_labels": "zero"},
                "`absent_labels` of the teacher in x is one of error, impossible, not 'zero'",
            ),
            ({"path": ""}, "`path` is empty"),
            (3, "a teacher is the directory of a store, or an object with its `path`, not 3"),
            (["x", 3], "a teacher is the directory of a store"),
        ],
        ids=str,
    )
    def test_a_teacher_that_is_none(self, entry: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            callback(stores={"en": entry})

    def test_a_map_that_names_what_is_not_there(self, store: str) -> None:
        entry = {"path": store, "label_map": {"PERSON": "PER"}}
        with pytest.raises(ConfigurationError, match=r"teacher in .*store names 'PERSON', .* \(it has PER\)"):
            callback(stores={"en": entry, "de": store}).on_start(trainer_for())

    def test_a_scheme_that_cannot_be_told(self, tmp_path: Path) -> None:
        write_store(
            tmp_path / "store", TRAINING, labels=("O", "S-PER", "B-PER", "I-PER", "E-PER"), label_encoding="BIOES"
        )
        trainer = in_scheme(trainer_for(labels=LABELS), "BIO")
        with pytest.raises(ConfigurationError, match="store writes spans as BIOES and the student as BIO"):
            callback(stores={"en": str(tmp_path / "store")}).on_start(trainer)

    def test_labels_that_differ(self, store: str) -> None:
        trainer = trainer_for(labels=("O", "B-PER", "B-LOC", "I-LOC"))
        message = (
            r"the labels of the teacher in .*store are not the student's: the teacher alone has I-PER, the student "
            r"alone has B-LOC, I-LOC\. List all labels under `vocabulary\.tokens_to_add\.labels` in the"
        )
        with pytest.raises(ConfigurationError, match=message):
            callback(stores={"en": store, "de": store}).on_start(trainer)

    def test_a_model_that_knows_no_teachers(self, store: str) -> None:
        trainer = trainer_for()
        trainer.model = SimpleNamespace(vocab=trainer.model.vocab)
        with pytest.raises(ConfigurationError, match="SimpleNamespace has no method check_teachers"):
            callback(stores={"en": store, "de": store}).on_start(trainer)

    def test_what_the_model_refuses(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Accepting, teachers: Sequence[TeacherDescription]) -> None:
            raise ConfigurationError("no objective")

        monkeypatch.setattr(Accepting, "check_teachers", refuse)
        trainer = trainer_for()
        teachers = callback(stores={"en": store, "de": store})
        with pytest.raises(ConfigurationError, match="no objective"):
            teachers.on_start(trainer)
        # The trainer ends its callbacks whatever happened.
        teachers.on_end(trainer)
        assert isinstance(trainer.data_loader, SimpleDataLoader)

    def test_a_store_that_is_none(self, store: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="is not a teacher store: there is no such directory"):
            callback(stores={"en": store, "de": str(tmp_path / "nowhere")}).on_start(trainer_for())

    def test_a_language_without_a_store(self, store: str) -> None:
        message = (
            r"no teacher store for the languages de, fr of the training data \(there are stores for en\): name one"
        )
        with pytest.raises(ConfigurationError, match=message):
            callback(stores={"en": store}).on_start(trainer_for([*TRAINING, Spoken("fr", "Ada dort")]))

    def test_a_missing_sentence(self, store: str) -> None:
        trainer = trainer_for([*TRAINING, Spoken("en", "unheard of"), Spoken("en", "so")])
        with pytest.raises(ConfigurationError, match="no record of 2 training sentences, the first being 'unheard of'"):
            callback(stores={"en": store, "de": store}).on_start(trainer)

    def test_a_sentence_that_one_of_two_teachers_lacks(self, store: str, tmp_path: Path) -> None:
        write_store(tmp_path / "second", TRAINING[1:])
        with pytest.raises(ConfigurationError, match=r"second has no record of 1 training sentence, .*'Ada sleeps'"):
            callback(stores={"en": [store, str(tmp_path / "second")], "de": store}).on_start(trainer_for())

    def test_instances_of_another_reader(self, store: str) -> None:
        trainer = trainer_for()
        for instance in trainer.data_loader.instances:
            del instance.fields["metadata"]
        with pytest.raises(ConfigurationError, match="use one of this plugin's dataset readers"):
            callback(stores={"en": store, "de": store}).on_start(trainer)

    @pytest.mark.parametrize("stores", [{}, {"en": []}, {"en": ""}], ids=str)
    def test_no_stores(self, stores: Dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="needs at least one language, and a directory for each"):
            callback(stores=stores)

    def test_unknown_policy(self, store: str) -> None:
        with pytest.raises(
            ConfigurationError, match=r"`missing` of the callback .* is one of error, skip, not 'ignore'"
        ):
            callback(stores={"en": store}, missing="ignore")


def test_a_lazy_loader_is_checked_batch_by_batch(store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "train.conll"
    file.write_text("Ada O\nsleeps O\n\nwhy O\n\nunheard O\nof O\n")
    trainer = trainer_for()
    trainer.data_loader = MultiProcessDataLoader(
        ColumnReader(language="en"), str(file), batch_size=2, max_instances_in_memory=2
    )
    callback(stores={"en": store}, schedule={"type": "linear", "per": "epoch"}).on_start(trainer)
    assert any("sentences are looked up in the teacher stores batch by batch" in line for line in caplog.messages)
    batches = iter(_indexed(trainer))
    assert next(batches)["teacher"].teachers[0].weight.tolist() == [1, 1]
    with pytest.raises(ConfigurationError, match="'unheard of'"):
        next(batches)


def test_constructor_takes_what_configurations_say(store: str) -> None:
    made = callback(stores={"en": store, "de": [store, store]}, schedule={"type": "constant", "value": 1})
    assert {language: [entry.path for entry in entries] for language, entries in made._entries.items()} == {
        "en": [store],
        "de": [store, store],
    }
    assert isinstance(made._schedule, ConstantSchedule)
    assert isinstance(callback(stores={"en": store})._schedule, LinearSchedule)


def test_nothing_of_a_store_is_kept_open(store: str) -> None:
    trainer = trainer_for()
    teachers = callback(stores={"en": store, "de": store})
    teachers.on_start(trainer)
    list(_indexed(trainer))
    teachers.on_end(trainer)
    shutil.rmtree(store)
    list(_indexed(trainer))
