"""The best labellings of a teacher: captured, they are those that a training would compute from the same store."""

from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch

from structkd_plugin.crf import LinearChainCRF, LinearChainCRFLayer, chain_constraints
from structkd_plugin.schedules import ConstantSchedule
from structkd_plugin.teacher.capture import CapturedTeacher
from structkd_plugin.teacher.loader import AlignedTeacher, TeacherDataLoader
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher_batch import TeacherPotentials

from .test_capture import captured, content, sources_of
from .test_loader import Batches
from .training import LABELS, difference, load_teacher, make_archive, student, train

K = 4
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def teacher(archive: Path) -> CapturedTeacher:
    return load_teacher(archive)


def store_of(teacher: CapturedTeacher, data: Path, output: Path, **options: Any) -> str:
    captured(teacher, output, sources_of(data), **options)
    return str(output)


@pytest.fixture(scope="module")
def store(teacher: CapturedTeacher, data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return store_of(teacher, data, tmp_path_factory.mktemp("k best"), k_best=K)


def slot_of(
    path: str, teacher: CapturedTeacher, data: Path, labels: List[str], wanted: Optional[int] = None
) -> TeacherPotentials:
    """All sentences of a store as one batch for a student with `labels`, which wants so many labellings."""

    class OneBatch(Batches):
        def __iter__(self) -> Any:
            sentences = [
                sentence
                for source in sources_of(data)
                for sentence in teacher.reader.sentences({source.language: [source.path]})
            ]
            instances = [teacher.reader.text_to_instance(s.words, None, s.language) for s in sentences]
            for instance in instances:
                teacher.reader.apply_token_indexers(instance)
            batch = Batch(instances)
            batch.index_instances(teacher.model.vocab)
            yield batch.as_tensor_dict()

    aligned = AlignedTeacher.of(TeacherStore.open(path), labels)
    loader = TeacherDataLoader(
        OneBatch([[]]), {"en": [aligned], "de": [aligned]}, ConstantSchedule(1.0), 1, k_best=wanted
    )
    [batch] = loader
    return batch["teacher"].teachers[0]


def test_no_more_than_are_wanted(teacher: CapturedTeacher, data: Path, store: str) -> None:
    every = slot_of(store, teacher, data, LABELS).k_best
    assert every is not None
    assert slot_of(store, teacher, data, LABELS, wanted=0).k_best is None
    for wanted in (1, K - 1, K, K + 1):
        some = slot_of(store, teacher, data, LABELS, wanted).k_best
        assert some is not None
        assert torch.equal(some.tags, every.tags[:, :wanted])
        assert torch.equal(some.scores, every.scores[:, :wanted])


class TestCapture:
    @pytest.mark.parametrize("labels", [LABELS, LABELS[::-1], LABELS[2:] + LABELS[:2]], ids="-".join)
    @pytest.mark.parametrize("encoding", ["float16", "float32"])
    @pytest.mark.parametrize(
        "model",
        [
            {},
            {"constraints": "everywhere"},
            {"transitions": "none"},
            {"transitions": "none", "constraints": "everywhere"},
            {"label_encoding": None},
        ],
        ids=["decoding", "everywhere", "softmax", "softmax everywhere", "unconstrained"],
    )
    def test_what_a_student_would_compute(
        self, data: Path, tmp_path: Path, model: Dict[str, Any], encoding: str, labels: List[str]
    ) -> None:
        """For a student with labels in any order; of the teacher's constraint, and with fewer than K labellings."""
        teacher = load_teacher(make_archive(tmp_path / "archive", data, **model))
        slot = slot_of(store_of(teacher, data, tmp_path / "store", k_best=K, encoding=encoding), teacher, data, labels)
        assert slot.k_best is not None
        num_words = [len(s.words) for x in sources_of(data) for s in teacher.reader.sentences({x.language: [x.path]})]
        mask = torch.arange(max(num_words)) < torch.tensor(num_words).unsqueeze(1)
        scheme = model.get("label_encoding", "BIO")
        layer = LinearChainCRFLayer(5, chain_constraints(labels, scheme) if scheme else None, learn_transitions=False)
        legal = layer.constrain(LinearChainCRF(*slot[:4], mask=mask), decoding=True)
        tags, scores = legal.k_best(K + 1)
        exists = scores[:, :K] > -torch.inf
        # A word alone has three well-formed labellings.
        assert exists.all() == (scheme is None)
        torch.testing.assert_close(slot.k_best.scores, scores[:, :K])
        torch.testing.assert_close(legal.score(slot.k_best.tags)[exists], scores[:, :K][exists])
        # Which of equal scores comes first depends on the order of the labels.
        unequal = exists & (scores.diff(dim=1) < 0).all(dim=1, keepdim=True)
        assert unequal.any(dim=1).float().mean() > 0.8
        assert torch.equal(slot.k_best.tags[unequal], tags[:, :K][unequal])

    def test_two_captures_are_the_same_bytes(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, store: str
    ) -> None:
        store_of(teacher, data, tmp_path / "again", k_best=K)
        assert content(tmp_path / "again") == content(Path(store))

    def test_the_potentials_are_the_same_with_and_without(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, store: str
    ) -> None:
        having, without = TeacherStore.open(store), TeacherStore.open(store_of(teacher, data, tmp_path / "without"))
        keys = list(having.keys())
        for first, second in zip(having.get_batch(keys), without.get_batch(keys), strict=True):
            assert first.emissions.tobytes() == second.emissions.tobytes()

    def test_a_number_that_float16_cannot_hold_is_named(self, archive: Path, data: Path, tmp_path: Path) -> None:
        teacher = load_teacher(archive)
        teacher.model.emission_layer._module.bias.data[0] = 1e6
        with pytest.raises(ConfigurationError, match=r"a number that float16 cannot hold .use --encoding float32"):
            store_of(teacher, data, tmp_path / "half", k_best=K)
        assert TeacherStore.open(store_of(teacher, data, tmp_path / "full", k_best=K, encoding="float32"))

    def test_another_number_is_refused(self, teacher: CapturedTeacher, data: Path, store: str) -> None:
        with pytest.raises(ConfigurationError, match="k_best is 5, not 4 as in the store"):
            store_of(teacher, data, Path(store), k_best=5)


class TestTraining:
    @pytest.fixture
    def computed(self, monkeypatch: pytest.MonkeyPatch) -> List[int]:
        """The K of each time that the best labellings are computed."""
        calls: List[int] = []
        original = LinearChainCRF.k_best

        def noted(crf: LinearChainCRF, k: int) -> Any:
            calls.append(k)
            return original(crf, k)

        monkeypatch.setattr(LinearChainCRF, "k_best", noted)
        return calls

    def settings(self, data: Path, stores: Dict[str, str], objective: Dict[str, Any], **model: Any) -> Dict[str, Any]:
        settings = student(data, stores)
        settings["model"].update(objective=objective, **model)
        settings["data_loader"]["shuffle"] = False
        return settings

    @pytest.mark.parametrize("constraints", ["decoding", "everywhere"])
    @pytest.mark.parametrize(
        "objective",
        [
            {"type": "k_best", "k": 2, "labellings": "legal"},
            {"type": "k_best", "k": K, "weighted": True, "temperature": 2.0, "labellings": "legal"},
            {
                "type": "weighted_sum",
                "objectives": [{"type": "posterior"}, {"type": "k_best", "k": 3, "labellings": "legal"}],
            },
        ],
        ids=["uniform", "weighted", "in a sum"],
    )
    def test_stored_labellings_give_the_same_student(
        self,
        data: Path,
        stores: Dict[str, str],
        store: str,
        tmp_path: Path,
        computed: List[int],
        objective: Dict[str, Any],
        constraints: str,
    ) -> None:
        of_stored = {"en": store, "de": store}
        with_table = train(self.settings(data, of_stored, objective, constraints=constraints), tmp_path / "with")
        assert computed == []
        without = train(self.settings(data, stores, objective, constraints=constraints), tmp_path / "without")
        assert len(computed) == 16
        assert difference(with_table, without) < ROUNDING

    def test_more_than_are_stored_are_computed(
        self, data: Path, stores: Dict[str, str], store: str, tmp_path: Path, computed: List[int]
    ) -> None:
        objective = {"type": "k_best", "k": K + 1, "weighted": True, "labellings": "legal"}
        few = train(self.settings(data, {"en": store, "de": store}, objective), tmp_path / "few")
        assert set(computed) == {K + 1}
        none = train(self.settings(data, stores, objective), tmp_path / "none")
        assert difference(few, none) < ROUNDING

    def test_one_store_without_them(
        self, data: Path, stores: Dict[str, str], store: str, tmp_path: Path, computed: List[int]
    ) -> None:
        """Batches of one language take what its store holds, mixed ones compute: the student is the same."""
        objective = {"type": "k_best", "k": 2, "labellings": "legal"}
        mixed = train(self.settings(data, {"en": store, "de": stores["de"]}, objective), tmp_path / "mixed")
        assert 0 < len(computed) < 16
        none = train(self.settings(data, stores, objective), tmp_path / "none")
        assert difference(mixed, none) < ROUNDING

    def test_legal_labellings_are_others_than_all(
        self, data: Path, store: str, tmp_path: Path, computed: List[int]
    ) -> None:
        """By default the best of all labellings are computed, whatever the store holds."""
        of_stored = {"en": store, "de": store}
        students = [
            train(self.settings(data, of_stored, {"type": "k_best", "k": 2, **labellings}), tmp_path / str(number))
            for number, labellings in enumerate([{}, {"labellings": "all"}, {"labellings": "legal"}])
        ]
        assert len(computed) == 32
        assert difference(students[0], students[1]) == 0
        assert difference(students[0], students[2]) > 1e-4
