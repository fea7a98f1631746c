"""AllenNLP's own taggers as teachers: what is captured is the distribution that the stock model computes with."""

from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, DatasetReader, Token
from allennlp.data.dataset_readers.sequence_tagging import SequenceTaggingDatasetReader
from allennlp.models.archival import load_archive

from structkd_plugin.crf import LinearChainCRF, chain_constraints
from structkd_plugin.teacher.sources import CapturedTeacher
from structkd_plugin.teacher.sources.resolve import teacher_of_archive

from .foreign import LABELS, make_stock_archive, sentences

READER = {"type": "structkd_column"}
ENCODINGS = {
    "BIO": LABELS,
    "IOB1": LABELS,
    "BIOUL": ["O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BILU")],
    "BMES": [f"{prefix}-{kind}" for kind in ("PER", "LOC") for prefix in "BMES"],
    None: ["NOUN", "VERB", "DET"],
}


def teacher_in(path: Path, **overrides: Any) -> CapturedTeacher:
    teacher = teacher_of_archive(load_archive(str(path), overrides=overrides or ""), READER)
    teacher.eval()
    return teacher


def stock(path: Path) -> Tuple[Any, Dict[str, Any]]:
    """The stock model, untouched, and its batch of the sentences, with tags drawn at random."""
    archive = load_archive(str(path))
    archive.model.eval()
    vocabulary = archive.model.vocab.get_index_to_token_vocabulary("labels")
    generator = np.random.default_rng(0)
    instances = []
    for sentence in sentences():
        tags = [vocabulary[i] for i in generator.integers(len(vocabulary), size=len(sentence.words))]
        instances.append(archive.dataset_reader.text_to_instance([Token(word) for word in sentence.words], tags))
        archive.dataset_reader.apply_token_indexers(instances[-1])
    batch = Batch(instances)
    batch.index_instances(archive.model.vocab)
    return archive.model, batch.as_tensor_dict()


@torch.no_grad()
def captured(teacher: CapturedTeacher) -> Tuple[LinearChainCRF, torch.Tensor]:
    """The distribution that a store would hold, and the mask."""
    rows = [torch.from_numpy(record.emissions) for record in teacher.records(sentences())]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in rows], True)
    emissions = torch.nn.utils.rnn.pad_sequence(rows, True)
    return LinearChainCRF(emissions, *teacher.tables().values(), mask=mask), mask


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_likelihood_and_best_tags_are_the_stock_models(
    tmp_path: Path, encoding: Any, constrained: bool, ends: bool
) -> None:
    options = {"constrain_crf_decoding": constrained} if encoding else {}
    path = make_stock_archive(
        tmp_path / "a",
        labels=ENCODINGS[encoding],
        label_encoding=encoding,
        include_start_end_transitions=ends,
        dropout=0.5,
        **options,
    )
    teacher = teacher_in(path)
    distribution, mask = captured(teacher)
    model, batch = stock(path)
    with torch.no_grad():
        output = model(**batch)
    torch.testing.assert_close(-distribution.log_prob(batch["tags"]).sum(), output["loss"], rtol=1e-5, atol=1e-4)
    assert (teacher.kind, teacher.label_encoding) == ("potentials", encoding)
    assert teacher.constraints == ("decoding" if encoding and constrained else None)
    decoding = distribution
    if teacher.constraints:
        barriers = (
            torch.zeros(table.shape).masked_fill(~table, -torch.inf)
            for table in chain_constraints(teacher.labels, encoding)
        )
        decoding = distribution.forbid(*barriers)
    assert [row[here].tolist() for row, here in zip(decoding.argmax, mask, strict=True)] == output["tags"]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_k_best_are_those_of_the_stock_decoder(tmp_path: Path, encoding: Any) -> None:
    path = make_stock_archive(tmp_path / "a", labels=ENCODINGS[encoding], label_encoding=encoding)
    teacher, k = teacher_in(path), 3
    with torch.no_grad():
        records = teacher.with_k_best(teacher.records(sentences()), "float32", k)
    model, batch = stock(path)
    with torch.no_grad():
        output = model(**batch)
        best = model.crf.viterbi_tags(output["logits"], output["mask"], top_k=k)
    for record, expected in zip(records, best, strict=True):
        assert record.k_best_tags is not None
        assert record.k_best_scores is not None
        # Of one word the stock decoder gives paths that are none, and with too few legal ones, illegal ones.
        exists = len(record.words) > 1
        for rank, (tags, score) in enumerate(expected[: k if exists else 1]):
            assert record.k_best_tags[:, rank].tolist() == tags
            assert record.k_best_scores[rank] == pytest.approx(score, abs=1e-4)
    assert teacher.describe("float32", k).k_best_scheme == encoding


@pytest.mark.parametrize("strategy", ["emission", "emission_transition", "lannoy"])
def test_label_weights_are_of_the_loss_and_not_of_the_decoding(tmp_path: Path, strategy: str) -> None:
    path = make_stock_archive(
        tmp_path / "a", label_weights={"O": 0.2}, weight_strategy=strategy, constrain_crf_decoding=False
    )
    distribution, mask = captured(teacher_in(path))
    model, batch = stock(path)
    with torch.no_grad():
        expected = model(**batch)["tags"]
    assert [row[here].tolist() for row, here in zip(distribution.argmax, mask, strict=True)] == expected


def test_a_simple_tagger_gives_log_probabilities(tmp_path: Path) -> None:
    path = make_stock_archive(tmp_path / "a", "simple_tagger")
    teacher = teacher_in(path)
    model, batch = stock(path)
    with torch.no_grad():
        records = teacher.records(sentences())
        expected = model(**batch)["class_probabilities"].log()
    assert (teacher.kind, teacher.label_encoding, teacher.constraints) == ("log_probabilities", "BIO", None)
    assert not any(table.any() for table in teacher.tables().values())
    for record, rows in zip(records, expected, strict=True):
        np.testing.assert_allclose(record.emissions, rows[: len(record.words)], atol=1e-5)
        assert record.emissions.dtype == np.float32


def test_labels_are_those_of_the_models_own_namespace(tmp_path: Path) -> None:
    teacher = teacher_in(make_stock_archive(tmp_path / "a", label_encoding=None, labels=["X", "Y"]))
    assert sorted(teacher.labels) == ["X", "Y"]
    assert teacher.label_encoding is None


@pytest.mark.parametrize(
    "reader",
    [
        {"type": "conll2003", "coding_scheme": "BIOUL"},
        {"type": "ccgbank"},
        {"type": "structkd_column"},
    ],
    ids=lambda reader: reader["type"],
)
def test_words_go_through_the_archives_own_reader(tmp_path: Path, reader: Dict[str, Any]) -> None:
    """Whatever it is, and whatever reads the files: here its indexer makes words lower case."""
    indexers = {"tokens": {"type": "single_id", "lowercase_tokens": True}}
    path = make_stock_archive(tmp_path / "a", reader={**reader, "token_indexers": indexers})
    of_this, of_usual = teacher_in(path), teacher_in(make_stock_archive(tmp_path / "b"))
    with torch.no_grad():
        for first, second in zip(of_this.records(sentences()), of_usual.records(sentences()), strict=True):
            np.testing.assert_array_equal(first.emissions, second.emissions)


@DatasetReader.register("test_needs_more_than_words")
class NeedsMoreThanWords(SequenceTaggingDatasetReader):
    def text_to_instance(self, tokens: List[Token], tags: List[str]) -> Any:  # type: ignore[override]
        return super().text_to_instance(tokens, tags)


def test_a_reader_that_needs_more_than_words(tmp_path: Path) -> None:
    teacher = teacher_in(make_stock_archive(tmp_path / "a", reader={"type": "test_needs_more_than_words"}))
    with pytest.raises(ConfigurationError, match=r"a NeedsMoreThanWords, cannot make .* 'Ada .*missing .* 'tags'"):
        teacher.records(sentences())


def test_a_batch_does_not_depend_on_the_one_before(tmp_path: Path) -> None:
    """A stateful encoder goes on from the sentences before, unless it is told that these are others."""
    encoder = {"type": "lstm", "input_size": 5, "hidden_size": 4, "stateful": True}
    teacher = teacher_in(make_stock_archive(tmp_path / "a", encoder=encoder))
    with torch.no_grad():
        first, again = teacher.records(sentences()), teacher.records(sentences())
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.emissions, other.emissions)


def test_fingerprint_is_of_what_decides_on_the_answers(tmp_path: Path) -> None:
    original = teacher_in(make_stock_archive(tmp_path / "a")).fingerprint()
    assert teacher_in(make_stock_archive(tmp_path / "b")).fingerprint() == original
    others = [
        teacher_in(make_stock_archive(tmp_path / "c", seed=2)),
        teacher_in(make_stock_archive(tmp_path / "d", constrain_crf_decoding=False)),
        teacher_in(make_stock_archive(tmp_path / "e", labels=LABELS[::-1])),
        teacher_in(tmp_path / "a", **{"dataset_reader.token_indexers.tokens.lowercase_tokens": False}),
    ]
    assert len({original, *(teacher.fingerprint() for teacher in others)}) == 5


class TestRefusals:
    def test_constraints_that_are_not_those_of_the_encoding(self, tmp_path: Path) -> None:
        archive = load_archive(str(make_stock_archive(tmp_path / "a")))
        archive.model.crf._constraint_mask.data[0, 0] = 0  # type: ignore[union-attr,operator]
        with pytest.raises(ConfigurationError, match=r"forbids other transitions than its label_encoding \(BIO\)"):
            teacher_of_archive(archive, READER)

    def test_labels_that_are_not_of_the_encoding(self, tmp_path: Path) -> None:
        path = make_stock_archive(tmp_path / "a", "simple_tagger", label_encoding=None, labels=["X", "Y"])
        with pytest.raises(ConfigurationError, match="label encoding of the teacher does not fit its labels"):
            teacher_in(path, **{"model.label_encoding": "BIO"})

    def test_no_reader_of_ours(self, tmp_path: Path) -> None:
        archive = load_archive(str(make_stock_archive(tmp_path / "a")))
        with pytest.raises(ConfigurationError, match=r"is a SequenceTaggingDatasetReader, not one.*--dataset-reader"):
            teacher_of_archive(archive)
        with pytest.raises(ConfigurationError, match="--dataset-reader names a SequenceTaggingDatasetReader"):
            teacher_of_archive(archive, {"type": "sequence_tagging"})
