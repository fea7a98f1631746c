"""Ensembles: the log-linear mixture, against the distribution that all labellings give, one by one."""

from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import load_archive

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.teacher.capture import Source, capture
from structkd_plugin.teacher.sources import CapturedTeacher, EnsembleTeacher, HuggingFaceTeacher
from structkd_plugin.teacher.sources.captured_teacher import no_tables
from structkd_plugin.teacher.sources.resolve import teacher_of_archive
from structkd_plugin.teacher.store import TeacherStore

from .foreign import make_hugging_face, make_stock_archive
from .training import LABELS, load_teacher

SENTENCE = Sentence(("Ada", "met", "Boris"), None, "en")


@CapturedTeacher.register("test_table")
class TableTeacher(CapturedTeacher):
    """A user's own kind: says of a word what a random generator, seeded by it, gives."""

    def __init__(
        self,
        labels: List[str],
        seed: int,
        kind: str = "potentials",
        label_encoding: Optional[str] = None,
        constraints: Optional[str] = None,
        cuda_device: int = 7,
    ) -> None:
        super().__init__(labels, kind, label_encoding, constraints)
        self.seed, self.cuda_device, self.evaluated = seed, cuda_device, False

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def eval(self) -> None:
        self.evaluated = True

    def fingerprint(self) -> str:
        return f"{self.seed:064x}"

    def tables(self) -> Dict[str, torch.Tensor]:
        tables = no_tables(len(self.labels))
        if self.kind == "potentials":
            for number, (name, table) in enumerate(tables.items()):
                tables[name] = torch.randn(table.shape, generator=torch.Generator().manual_seed(self.seed + number))
        return tables

    def emissions(self, sentences: Sequence[Sentence]) -> List[np.ndarray]:
        result = []
        for sentence in sentences:
            seeds = [self.seed + sum(map(ord, word)) for word in sentence.words]
            rows = np.stack([np.random.default_rng(seed).normal(size=len(self.labels)) for seed in seeds])
            if self.kind == "log_probabilities":
                rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
            result.append(rows.astype(np.float32))
        return result


def log_probabilities(teacher: CapturedTeacher, labels: Sequence[str]) -> torch.Tensor:
    """Of every labelling of the sentence, in the order of `labels`."""
    [record] = teacher.records([SENTENCE])
    chain = LinearChainCRF(torch.from_numpy(record.emissions).unsqueeze(0), *teacher.tables().values())
    order = [teacher.labels.index(label) for label in labels]
    paths = torch.tensor([list(path) for path in product(order, repeat=len(SENTENCE.words))])
    return torch.stack([chain.log_prob(path.unsqueeze(0))[0] for path in paths])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["potentials"] * 3, "potentials"),
        (["log_probabilities"] * 2, "log_probabilities"),
        (["log_probabilities", "potentials"], "potentials"),
    ],
)
@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5]])
def test_it_is_the_log_linear_mixture(kinds: List[str], expected: str, weights: Any) -> None:
    labels = ["A", "B", "C"]
    members: List[CapturedTeacher] = [
        TableTeacher(labels[number:] + labels[:number], seed=number * 10, kind=kind)
        for number, kind in enumerate(kinds)
    ]
    if weights:
        weights = weights[: len(members)]
    ensemble = EnsembleTeacher(members, weights)
    assert (ensemble.kind, ensemble.labels) == (expected, labels)
    shares = np.array(weights or [1.0] * len(members)) / sum(weights or [1.0] * len(members))
    mixed = sum(float(share) * log_probabilities(member, labels) for share, member in zip(shares, members, strict=True))
    torch.testing.assert_close(log_probabilities(ensemble, labels), mixed - mixed.logsumexp(0), atol=1e-5, rtol=1e-5)
    if expected == "log_probabilities":
        [record] = ensemble.records([SENTENCE])
        np.testing.assert_allclose(np.exp(record.emissions).sum(axis=1), 1, rtol=1e-5)


def test_one_member_is_itself() -> None:
    member = TableTeacher(["A", "B"], seed=1)
    ensemble = EnsembleTeacher([member], [0.3])
    np.testing.assert_array_equal(ensemble.records([SENTENCE])[0].emissions, member.records([SENTENCE])[0].emissions)


def test_what_one_forbids_is_forbidden() -> None:
    class Forbids(TableTeacher):
        def tables(self) -> Dict[str, torch.Tensor]:
            tables = super().tables()
            tables["transitions"][1, 0] = -torch.inf
            return tables

    ensemble = EnsembleTeacher([TableTeacher(["A", "B"], 1), Forbids(["B", "A"], 2, constraints="everywhere")])
    assert (ensemble.tables()["transitions"] == -torch.inf).tolist() == [[False, True], [False, False]]
    assert ensemble.constraints == "everywhere"


def test_all_members_are_put_into_evaluation_mode() -> None:
    members = [TableTeacher(["A", "B"], seed) for seed in (1, 2)]
    EnsembleTeacher(list(members)).eval()
    assert all(member.evaluated for member in members)


def test_fingerprint_is_of_members_and_weights() -> None:
    def of(*seeds: int, weights: Optional[List[float]] = None) -> str:
        return EnsembleTeacher([TableTeacher(["A", "B"], seed) for seed in seeds], weights).fingerprint()

    assert of(1, 2) == of(1, 2, weights=[4.0, 4.0])
    assert len({of(1, 2), of(1, 3), of(1), of(1, 2, weights=[1.0, 2.0]), of(1, 2, weights=[2.0, 1.0])}) == 5


def test_it_is_described_by_json() -> None:
    """Each member a description, of a user's own kind too; the device is told to all."""
    members = [{"type": "test_table", "labels": ["A", "B"], "seed": seed} for seed in (1, 2)]
    description = {"type": "ensemble", "members": members, "weights": [1, 3]}
    teacher = CapturedTeacher.from_params(Params(description), cuda_device=-1)
    assert teacher.weights == [0.25, 0.75]
    assert [(member.seed, member.cuda_device) for member in teacher.members] == [(1, -1), (2, -1)]


def test_kinds_are_mixed_and_captured(data: Path, archive: Path, tmp_path: Path) -> None:
    """Ours, AllenNLP's and Hugging Face's together; the store of K best labellings is that of their sum."""
    reader = {"type": "structkd_column"}
    members = [
        teacher_of_archive(load_archive(str(make_stock_archive(tmp_path / "crf"))), reader),
        load_teacher(archive),
        teacher_of_archive(load_archive(str(make_stock_archive(tmp_path / "simple", "simple_tagger"))), reader),
        HuggingFaceTeacher(str(make_hugging_face(tmp_path / "hf", LABELS[::-1], layers=1))),
    ]
    ensemble = EnsembleTeacher(members, [1, 2, 3, 4])
    source = Source(str(data / "en.train.conll"), "en")
    summary = capture(ensemble, [source], str(tmp_path / "store"), encoding="float32", k_best=2, quiet=True)
    assert summary.sentences == 16
    store = TeacherStore.open(str(tmp_path / "store"))
    assert (store.kind, store.legal_k_best, list(store.labels)) == ("potentials", 2, members[0].labels)
    with torch.no_grad():
        for record in ensemble.records(list(ensemble.reader.sentences({"en": [source.path]}))):
            np.testing.assert_allclose(store.get(record.key).emissions, record.emissions, atol=1e-5)


class TestRefusals:
    @pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
    def test_weights(self, weights: List[float]) -> None:
        with pytest.raises(ConfigurationError, match="needs a finite weight above 0 for each of its 2 members"):
            EnsembleTeacher([TableTeacher(["A", "B"], seed) for seed in (1, 2)], weights)

    def test_no_members(self) -> None:
        with pytest.raises(ConfigurationError, match="an ensemble needs members"):
            EnsembleTeacher([])

    def test_labels(self) -> None:
        with pytest.raises(ConfigurationError, match=r"member 2 lacks \['B'\] of the first's and has besides \['C'\]"):
            EnsembleTeacher([TableTeacher(["A", "B"], 1), TableTeacher(["A", "C"], 2)])

    def test_label_encodings(self) -> None:
        with pytest.raises(ConfigurationError, match=r"that of member 2 is IOB1, the first's is BIO"):
            EnsembleTeacher([TableTeacher(["O", "B-X"], 1, label_encoding=name) for name in ("BIO", "IOB1")])

    def test_no_reader(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"the teacher has no reader of files\. Name one with --dataset-reader"
        ):
            EnsembleTeacher([TableTeacher(["A", "B"], 1)]).reader.sentences("x")
