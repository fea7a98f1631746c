"""The teacher loader gives every sentence its own teachers' potentials, in the student's label order."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.schedules import ConstantSchedule, LinearSchedule, Schedule
from structkd_plugin.teacher.format import Calibration, Manifest
from structkd_plugin.teacher.label_translation import LabelTranslation, TagSet
from structkd_plugin.teacher.loader import AlignedTeacher, TeacherDataLoader
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher_batch import TeacherBatch

from .stores import LABELS, SENTENCES, WITH_K_BEST, Spoken, emissions_of, k_best_of, tables_of, write_store

STUDENT = ("I-PER", "O", "B-PER")
FINER = ("S-PER", "O", "B-PER", "M-PER", "E-PER", "S-MISC")


def metadata_of(sentence: Spoken) -> Dict[str, Any]:
    return {
        "words": sentence.words.split(),
        "language": sentence.language,
        "key": sentence.key,
        "file": "words.conll",
        "line": 7,
    }


class Batches(DataLoader):
    def __init__(self, batches: Sequence[Sequence[Spoken]], length: Optional[int] = None) -> None:
        self.batches = batches
        self.length = len(batches) if length is None else length
        self.device = torch.device("cpu")
        self.calls: List[Any] = []

    def __len__(self) -> int:
        if self.length < 0:
            raise TypeError
        return self.length

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        for batch in self.batches:
            tokens = {"tokens": {"tokens": torch.zeros(len(batch), 1, device=self.device)}}
            yield {"metadata": [metadata_of(sentence) for sentence in batch], "tokens": tokens}

    def iter_instances(self) -> Iterator[Any]:
        yield "instance"

    def index_with(self, vocab: Any) -> None:
        self.calls.append(vocab)

    def set_target_device(self, device: torch.device) -> None:
        self.calls.append(device)


def make(
    inner: DataLoader,
    stores: Dict[str, Any],
    schedule: Optional[Schedule] = None,
    missing: str = "error",
    labels: Sequence[str] = STUDENT,
) -> TeacherDataLoader:
    teachers = {
        language: [AlignedTeacher.of(store, labels) for store in (of if isinstance(of, list) else [of])]
        for language, of in stores.items()
    }
    return TeacherDataLoader(inner, teachers, schedule or ConstantSchedule(0.5), 2, missing)


def first(loader: TeacherDataLoader) -> TeacherBatch:
    return next(iter(loader))["teacher"]


def test_each_sentence_gets_its_record_in_the_students_order(tmp_path: Path) -> None:
    english = write_store(tmp_path / "en", SENTENCES[:3])
    german = write_store(tmp_path / "de", SENTENCES[3:], seed=50, encoding="float16")
    batch = first(make(Batches([SENTENCES]), {"en": english, "de": german}))
    [slot] = batch.teachers
    assert slot.emissions.shape == (5, 3, 3)
    assert slot.weight.tolist() == [1.0] * 5
    assert {tensor.dtype for tensor in slot[:5]} == {torch.float32}
    assert slot.k_best is None
    for row, sentence in enumerate(SENTENCES):
        seed = 50 if sentence.language == "de" else 0
        length = len(sentence.words.split())
        np.testing.assert_allclose(
            slot.emissions[row, :length], emissions_of(sentence, STUDENT, seed), rtol=2**-11 if seed else 0
        )
        assert not slot.emissions[row, length:].any()
        for name, table in tables_of(STUDENT, seed).items():
            torch.testing.assert_close(getattr(slot, name)[row], table, rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(LABELS), rows=st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6))
def test_any_label_order_and_any_batch(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[str], rows: List[Spoken]
) -> None:
    store = write_store(tmp_path_factory.mktemp("store"))
    [slot] = first(make(Batches([rows]), {"en": store, "de": store}, labels=order)).teachers
    for row, sentence in enumerate(rows):
        expected = emissions_of(sentence, order)
        np.testing.assert_array_equal(slot.emissions[row, : len(expected)], expected)
        assert torch.equal(slot.transitions[row], tables_of(order)["transitions"])


class TestBestLabellings:
    @settings(max_examples=25, deadline=None)
    @given(order=st.permutations(LABELS), rows=st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6))
    def test_they_are_the_students_labels_whatever_their_order(
        self, tmp_path_factory: pytest.TempPathFactory, order: Sequence[str], rows: List[Spoken]
    ) -> None:
        store = write_store(tmp_path_factory.mktemp("store"), **WITH_K_BEST)
        [slot] = first(make(Batches([rows]), {"en": store, "de": store}, labels=order)).teachers
        num_words = max(len(sentence.words.split()) for sentence in rows)
        assert (slot.k_best.tags.shape, slot.k_best.tags.dtype) == ((len(rows), 3, num_words), torch.int64)
        assert (slot.k_best.scores.shape, slot.k_best.scores.dtype) == ((len(rows), 3), torch.float32)
        for row, sentence in enumerate(rows):
            tags, scores = k_best_of(sentence, 3, order)
            np.testing.assert_array_equal(slot.k_best.tags[row, :, : len(tags)], tags.T)
            assert not slot.k_best.tags[row, :, len(tags) :].any()
            np.testing.assert_array_equal(slot.k_best.scores[row], scores)

    def test_teachers_that_share_a_batch_give_as_many_as_all_have(self, tmp_path: Path) -> None:
        english = write_store(tmp_path / "en", SENTENCES[:3], **WITH_K_BEST)
        german = write_store(tmp_path / "de", SENTENCES[3:], k_best=2, k_best_scheme="BIO")
        loader = make(Batches([SENTENCES, SENTENCES[:2]]), {"en": english, "de": german})
        both, english_alone = (batch["teacher"].teachers[0].k_best for batch in loader)
        assert both.scores.shape == (5, 2)
        np.testing.assert_array_equal(both.scores[0], k_best_of(SENTENCES[0], 3)[1][:2])
        np.testing.assert_array_equal(both.tags[0, :, :2], k_best_of(SENTENCES[0], 3, STUDENT)[0][:, :2].T)
        np.testing.assert_array_equal(both.scores[3], k_best_of(SENTENCES[3], 2)[1])
        assert english_alone.scores.shape == (2, 3)

    @pytest.mark.parametrize("changes", [{}, {"k_best": 3, "k_best_scheme": None}], ids=["none", "also ill-formed"])
    def test_there_are_none_where_one_teacher_has_none(self, tmp_path: Path, changes: Dict[str, Any]) -> None:
        english = write_store(tmp_path / "en", SENTENCES[:3], **WITH_K_BEST)
        german = write_store(tmp_path / "de", SENTENCES[3:], **changes)
        loader = make(Batches([SENTENCES, SENTENCES[:3], SENTENCES[3:]]), {"en": english, "de": german})
        tables = [batch["teacher"].teachers[0].k_best for batch in loader]
        assert [table is None for table in tables] == [True, False, True]

    def test_a_sentence_without_a_teacher_has_none(self, tmp_path: Path) -> None:
        store = write_store(tmp_path, SENTENCES[:1], **WITH_K_BEST)
        [slot] = first(make(Batches([SENTENCES]), {"en": store}, missing="skip")).teachers
        assert slot.weight.tolist() == [1, 0, 0, 0, 0]
        assert slot.k_best.scores[0].isfinite().all()
        assert (slot.k_best.scores[1:] == -torch.inf).all()


@pytest.fixture(scope="module")
def subsets(tmp_path_factory: pytest.TempPathFactory) -> List[TeacherStore]:
    """Of every choice among the three English sentences a store; bit i of its number says whether it has i."""
    path = tmp_path_factory.mktemp("subsets")
    return [
        write_store(path / str(number), [*(SENTENCES[i] for i in range(3) if number >> i & 1), SENTENCES[3]])
        for number in range(8)
    ]


class TestSeveralTeachers:
    def test_they_share_the_weight(self, tmp_path: Path) -> None:
        stores = [write_store(tmp_path / str(seed), seed=seed) for seed in range(3)]
        loader = make(Batches([SENTENCES]), {"en": stores, "de": stores[1]})
        batch = first(loader)
        weights = torch.stack([slot.weight for slot in batch.teachers])
        torch.testing.assert_close(
            weights, torch.tensor([[1 / 3, 1 / 3, 1 / 3, 1, 1], [1 / 3] * 3 + [0, 0], [1 / 3] * 3 + [0, 0]])
        )
        for seed, slot in enumerate(batch.teachers):
            np.testing.assert_array_equal(slot.emissions[0, :2], emissions_of(SENTENCES[0], STUDENT, seed))
        np.testing.assert_array_equal(batch.teachers[0].emissions[3, :2], emissions_of(SENTENCES[3], STUDENT, 1))
        assert not batch.teachers[1].emissions[3].any()
        assert not batch.teachers[1].transitions[3].any()

    def test_those_that_have_the_sentence_share_it_where_one_has_not(self, tmp_path: Path) -> None:
        both = [write_store(tmp_path / "a", SENTENCES[:2]), write_store(tmp_path / "b", SENTENCES[1:3])]
        batch = first(make(Batches([SENTENCES]), {"en": both}, missing="skip"))
        weights = torch.stack([slot.weight for slot in batch.teachers])
        torch.testing.assert_close(weights, torch.tensor([[1, 0.5, 0, 0, 0], [0, 0.5, 1, 0, 0]]))

    def test_the_order_of_teachers_is_that_of_the_list(self, tmp_path: Path) -> None:
        stores = [write_store(tmp_path / str(seed), seed=seed) for seed in range(2)]
        loader = make(Batches([SENTENCES[:1]]), {"en": stores[::-1]})
        np.testing.assert_array_equal(
            first(loader).teachers[0].emissions[0], emissions_of(SENTENCES[0], STUDENT, seed=1)
        )

    @settings(max_examples=25, deadline=None)
    @given(
        weights=st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
        numbers=st.lists(st.integers(0, 7), min_size=3, max_size=3),
    )
    def test_weights_are_shares_of_those_that_have_the_sentence(
        self, subsets: List[TeacherStore], weights: List[float], numbers: List[int]
    ) -> None:
        teachers = [
            AlignedTeacher.of(subsets[number], STUDENT, weight=weight)
            for weight, number in zip(weights, numbers, strict=True)
        ]
        loader = TeacherDataLoader(Batches([SENTENCES[:3]]), {"en": teachers}, ConstantSchedule(1.0), 1, "skip")
        found = torch.stack([slot.weight for slot in first(loader).teachers])
        for row in range(3):
            present = [weight * (number >> row & 1) for weight, number in zip(weights, numbers, strict=True)]
            total = sum(present) or 1.0
            assert found[:, row].tolist() == pytest.approx([weight / total for weight in present], rel=1e-6)

    def test_a_store_may_have_another_weight_in_another_language(self, tmp_path: Path) -> None:
        shared, other = write_store(tmp_path / "shared"), write_store(tmp_path / "other", seed=5)
        light, heavy = (AlignedTeacher.of(shared, STUDENT, weight=weight) for weight in (1.0, 3.0))
        teachers = {"en": [light, AlignedTeacher.of(other, STUDENT)], "de": [heavy, AlignedTeacher.of(other, STUDENT)]}
        batch = first(TeacherDataLoader(Batches([SENTENCES]), teachers, ConstantSchedule(1.0), 1))
        assert batch.teachers[0].weight.tolist() == [0.5, 0.5, 0.5, 0.75, 0.75]
        for row, sentence in enumerate(SENTENCES):
            expected = emissions_of(sentence, STUDENT)
            np.testing.assert_array_equal(batch.teachers[0].emissions[row, : len(expected)], expected)


def test_other_labels_and_another_scheme(tmp_path: Path) -> None:
    """What the translation says of a sentence is what the batch has of it."""
    plain = write_store(tmp_path / "plain", SENTENCES[:2], labels=("O", "B-PERSON", "I-PERSON"), **WITH_K_BEST)
    finer = write_store(tmp_path / "finer", SENTENCES[3:], labels=FINER, label_encoding="BMES")
    student = TagSet(("S-PER", "I-PER", "E-PER", "O", "B-PER", "B-LOC", "E-LOC"), "BIOES")
    translations = [
        LabelTranslation.of(
            "store", store.kind, TagSet(store.labels, store.label_encoding), student, label_map, "impossible"
        )
        for store, label_map in ((plain, {"PERSON": "PER"}), (finer, {"MISC": None}))
    ]
    teachers = {
        language: [AlignedTeacher.of(store, student.labels, translation)]
        for language, store, translation in zip(("en", "de"), (plain, finer), translations, strict=True)
    }
    batches = Batches([SENTENCES[:2] + SENTENCES[3:], SENTENCES[:2]])
    mixed, english = (
        batch["teacher"].teachers[0] for batch in TeacherDataLoader(batches, teachers, ConstantSchedule(1.0), 1)
    )
    # One of the two teachers was conditioned, so that its best labellings are others.
    assert mixed.k_best is None
    assert english.k_best is not None
    for row, (sentence, store, translation) in enumerate(
        zip(
            SENTENCES[:2] + SENTENCES[3:],
            [plain] * 2 + [finer] * 2,
            [translations[0]] * 2 + [translations[1]] * 2,
            strict=True,
        )
    ):
        emissions = torch.from_numpy(emissions_of(sentence, store.labels))
        assert torch.equal(mixed.emissions[row, : len(emissions)], translation.emissions(emissions))
        assert not mixed.emissions[row, len(emissions) :].any()
        for name, table in translation.tables(store.tables)._asdict().items():
            assert torch.equal(getattr(mixed, name)[row], table)
    absent = [student.labels.index(label) for label in ("B-LOC", "E-LOC")]
    assert (mixed.emissions[0, :2, absent] == -torch.inf).all()
    for row, sentence in enumerate(SENTENCES[:2]):
        tags, scores = k_best_of(sentence, 3, plain.labels)
        expected = translations[0].tags(torch.from_numpy(tags).long(), torch.tensor([len(tags)]))
        assert torch.equal(english.k_best.tags[row, :, : len(tags)], expected.T)
        np.testing.assert_array_equal(english.k_best.scores[row], scores)


class TestCalibration:
    RELIABILITY = tuple(step / 20 for step in range(20))

    def calibrated(self, path: Path, temperature: float, **kwargs: Any) -> TeacherStore:
        write_store(path, **kwargs)
        manifest = Manifest.read(path / "manifest.main.json")
        calibration = Calibration(temperature, self.RELIABILITY)
        (path / "manifest.main.json").write_bytes(replace(manifest, calibration=calibration).to_bytes())
        return TeacherStore.open(str(path))

    def test_a_store_has_the_calibration_of_its_manifest(self, tmp_path: Path) -> None:
        assert write_store(tmp_path / "none").calibration is None
        assert self.calibrated(tmp_path / "a", 2.5).calibration == Calibration(2.5, self.RELIABILITY)

    def test_everything_is_divided_by_the_temperature(self, tmp_path: Path) -> None:
        english = self.calibrated(tmp_path / "en", 4.0, sentences=SENTENCES[:3], **WITH_K_BEST)
        german = self.calibrated(tmp_path / "de", 0.5, sentences=SENTENCES[3:], **WITH_K_BEST)
        teachers = {
            language: [AlignedTeacher.of(store, STUDENT, calibrated=True)]
            for language, store in (("en", english), ("de", german))
        }
        [slot] = first(TeacherDataLoader(Batches([SENTENCES]), teachers, ConstantSchedule(1.0), 1)).teachers
        for row, sentence in enumerate(SENTENCES):
            temperature = 4.0 if sentence.language == "en" else 0.5
            emissions = emissions_of(sentence, STUDENT) / temperature
            np.testing.assert_array_equal(slot.emissions[row, : len(emissions)], emissions)
            for name, table in tables_of(STUDENT).items():
                torch.testing.assert_close(getattr(slot, name)[row], table / temperature)
            np.testing.assert_array_equal(slot.k_best.scores[row], k_best_of(sentence, 3, STUDENT)[1] / temperature)
        torch.testing.assert_close(slot.reliability, torch.tensor([self.RELIABILITY] * 5))

    def test_a_sentence_without_a_teacher_has_no_reliability(self, tmp_path: Path) -> None:
        store = self.calibrated(tmp_path / "en", 1.0, sentences=SENTENCES[:1])
        teachers = {"en": [AlignedTeacher.of(store, STUDENT, calibrated=True)]}
        [slot] = first(TeacherDataLoader(Batches([SENTENCES]), teachers, ConstantSchedule(1.0), 1, "skip")).teachers
        assert slot.reliability.shape == (5, 20)
        assert slot.reliability[0].any()
        assert not slot.reliability[1:].any()

    def test_it_is_left_alone_unless_asked_for(self, tmp_path: Path) -> None:
        store = self.calibrated(tmp_path, 4.0)
        [slot] = first(make(Batches([SENTENCES[:1]]), {"en": store})).teachers
        assert slot.reliability is None
        np.testing.assert_array_equal(slot.emissions[0], emissions_of(SENTENCES[0], STUDENT))

    def test_a_store_without(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store")
        with pytest.raises(
            ConfigurationError, match=r"store has no calibration, .*run `allennlp calibrate-teacher` on"
        ):
            AlignedTeacher.of(store, STUDENT, calibrated=True)

    def test_merged_labels_are_merged_at_the_temperature(self, tmp_path: Path) -> None:
        """The probabilities that are added are the calibrated ones."""
        labels = ("A", "B", "C")
        store = self.calibrated(
            tmp_path, 2.0, sentences=SENTENCES[:1], labels=labels, kind="log_probabilities", label_encoding=None
        )
        student = TagSet(("C", "AB"), None)
        translation = LabelTranslation.of("store", store.kind, TagSet(labels, None), student, {"A": "AB", "B": "AB"})
        teacher = AlignedTeacher.of(store, student.labels, translation, calibrated=True)
        loader = TeacherDataLoader(Batches([SENTENCES[:1]]), {"en": [teacher]}, ConstantSchedule(1.0), 1)
        found = first(loader).teachers[0].emissions[0].softmax(1)
        whole = (torch.from_numpy(emissions_of(SENTENCES[0], labels)) / 2).softmax(1)
        torch.testing.assert_close(found, torch.stack([whole[:, 2], whole[:, 0] + whole[:, 1]], 1))


class TestMissing:
    def test_skip_gives_the_weight_zero_and_counts(self, tmp_path: Path) -> None:
        store = write_store(tmp_path, SENTENCES[:2])
        loader = make(Batches([SENTENCES, SENTENCES[2:]]), {"en": store}, missing="skip")
        first_batch, second_batch = (batch["teacher"] for batch in loader)
        assert first_batch.teachers[0].weight.tolist() == [1, 1, 0, 0, 0]
        # Also a batch without any teacher has a slot of the right shape.
        [slot] = second_batch.teachers
        assert slot.weight.tolist() == [0, 0, 0]
        assert slot.emissions.shape == (3, 2, 3)
        assert not any(tensor.any() for tensor in slot[:5])
        assert slot.k_best is None
        assert loader.sentences_seen == {"en": 4, "de": 4}
        assert loader.sentences_taught == {"en": 2, "de": 0}

    def test_a_missing_sentence_is_shown(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store", SENTENCES[:2])
        message = (
            r"store has no record of 1 training sentence, the first being 'why' \(en, words.conll:7\). The store has "
            r"sentences in en. Run `allennlp cache-teacher` on the training file with this language and the options of "
            r"the reader that training uses, or set `missing`"
        )
        with pytest.raises(ConfigurationError, match=message):
            first(make(Batches([SENTENCES[:3]]), {"en": store}))

    def test_a_language_without_a_store_is_named(self, tmp_path: Path) -> None:
        store = write_store(tmp_path, SENTENCES[:3])
        message = r"no teacher store for the language de of the training data \(there are stores for en\): name one in"
        with pytest.raises(ConfigurationError, match=message):
            first(make(Batches([SENTENCES]), {"en": store}))

    def test_another_length_shows_the_sentence(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store", SENTENCES[:3])

        class Longer(Batches):
            def __iter__(self) -> Iterator[Dict[str, Any]]:
                for batch in super().__iter__():
                    batch["metadata"][1]["words"].append("now")
                    yield batch

        message = (
            r"'so does Boris now' \(en, words.conll:7\) in .*store has 3 words, the sentence has 4: \['so', 'does'"
        )
        with pytest.raises(ConfigurationError, match=message):
            first(make(Longer([SENTENCES[:3]]), {"en": store}, missing="skip"))

    def test_an_altered_record_is_an_error_also_where_missing_ones_are_skipped(self, tmp_path: Path) -> None:
        store = write_store(tmp_path, SENTENCES[:1])
        shard = tmp_path / "shard.main.00000.safetensors"
        wanted = emissions_of(SENTENCES[0]).tobytes()
        shard.write_bytes(shard.read_bytes().replace(wanted, bytes(len(wanted))))
        with pytest.raises(ConfigurationError, match="was altered"):
            first(make(Batches([SENTENCES[:1]]), {"en": store}, missing="skip"))

    @pytest.mark.parametrize("missing", ["ignore", ""])
    def test_unknown_policy(self, tmp_path: Path, missing: str) -> None:
        with pytest.raises(ConfigurationError, match="`missing` is one of error, skip"):
            make(Batches([]), {"en": write_store(tmp_path)}, missing=missing)

    def test_other_readers_are_refused(self, tmp_path: Path) -> None:
        class Stock(Batches):
            def __iter__(self) -> Iterator[Dict[str, Any]]:
                yield {"metadata": [{"words": ["Ada"]}], "tokens": torch.zeros(1)}

        with pytest.raises(ConfigurationError, match="use one of this plugin's dataset readers"):
            first(make(Stock([]), {"en": write_store(tmp_path)}))


class TestDecoration:
    def test_it_does_what_the_inner_loader_does(self, tmp_path: Path) -> None:
        inner = Batches([SENTENCES[:2], SENTENCES[2:3]])
        loader = make(inner, {"en": write_store(tmp_path)})
        assert len(loader) == 2
        assert list(loader.iter_instances()) == ["instance"]
        loader.index_with("vocabulary")
        loader.set_target_device(torch.device("cpu"))
        assert inner.calls == ["vocabulary", torch.device("cpu")]
        batches = list(loader)
        assert [len(batch["metadata"]) for batch in batches] == [2, 1]
        assert all(set(batch) == {"metadata", "tokens", "teacher"} for batch in batches)

    def test_the_interpolation_follows_epochs_and_batches(self, tmp_path: Path) -> None:
        loader = make(Batches([SENTENCES[:1], SENTENCES[:2]]), {"en": write_store(tmp_path)}, LinearSchedule())
        weights = [batch["teacher"].interpolation.item() for _ in range(2) for batch in loader]
        assert weights == pytest.approx([1, 0.75, 0.5, 0.25])

    def test_an_epoch_that_was_broken_off_counts(self, tmp_path: Path) -> None:
        loader = make(Batches([SENTENCES[:1]] * 2), {"en": write_store(tmp_path)}, LinearSchedule())
        assert first(loader).interpolation == 1
        assert first(loader).interpolation == 0.5

    def test_a_lazy_loader_needs_a_schedule_that_can_do_without_its_length(self, tmp_path: Path) -> None:
        store = write_store(tmp_path)
        lazy = Batches([SENTENCES[:1]] * 2, length=-1)
        with pytest.raises(ConfigurationError, match="needs to know the number of batches of an epoch"):
            make(lazy, {"en": store}, LinearSchedule())
        loader = make(lazy, {"en": store}, LinearSchedule(per="epoch"))
        assert [batch["teacher"].interpolation.item() for _ in range(2) for batch in loader] == [1, 1, 0.5, 0.5]

    def test_the_teachers_are_where_the_batch_is(self, tmp_path: Path) -> None:
        inner = Batches([SENTENCES[:2]])
        inner.device = torch.device("meta")
        batch = first(make(inner, {"en": [write_store(tmp_path / "a", **WITH_K_BEST), write_store(tmp_path / "b")]}))
        with_table, without = batch.teachers
        assert {tensor.device.type for tensor in [*with_table[:5], *with_table.k_best, *without[:5]]} == {"meta"}
        assert without.k_best is None
        assert batch.interpolation.device.type == "meta"
