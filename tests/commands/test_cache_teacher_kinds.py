"""`cache-teacher` on teachers of every kind, told by what is there, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from structkd_plugin.teacher.store import TeacherStore
from tests.commands.test_cache_teacher import error_of, run
from tests.teacher.foreign import make_hugging_face, make_stock_archive, stock_config

ROOT = Path(__file__).resolve().parents[2]
READER = '{"type": "structkd_column", "scheme": "BIO"}'
CORPUS = ROOT / "fixtures" / "ner" / "en" / "train.conll"
NER_LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]


def allennlp(*arguments: Any) -> str:
    """What a command line prints; in the repository, where `.allennlp_plugins` names the plugin."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "allennlp", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def capture_into(store: Path, teacher: Any, *arguments: Any) -> TeacherStore:
    run(teacher, f"en={CORPUS}", "--output", store, "--dataset-reader", READER, "--quiet", *arguments)
    return TeacherStore.open(str(store))


@pytest.mark.slow
def test_a_stock_crf_tagger_teaches_a_student_of_this_plugin(tmp_path: Path) -> None:
    """Trained by AllenNLP's own reader, captured, and learnt from: three commands."""
    teacher = stock_config("crf_tagger", label_encoding="BIO")
    columns = tmp_path / "conll2003.txt"
    lines = CORPUS.read_text().splitlines()
    columns.write_text("\n".join(line.replace("\t", " X O ") for line in lines) + "\n")
    teacher["dataset_reader"] = {"type": "conll2003", "coding_scheme": "BIOUL", "tag_label": "ner"}
    teacher["model"]["label_encoding"] = "BIOUL"
    training = {"optimizer": {"type": "adam"}, "num_epochs": 1, "cuda_device": -1}
    common = {"data_loader": {"batch_size": 16}, "trainer": training}
    # The reader of AllenNLP takes the tags for IOB1, in which they would be written otherwise.
    columns.write_text(columns.read_text().replace(" B-", " I-"))
    (tmp_path / "teacher.json").write_text(json.dumps({**teacher, **common, "train_data_path": str(columns)}))
    allennlp("train", tmp_path / "teacher.json", "-s", tmp_path / "teacher")

    reader: Dict[str, Any] = {"type": "structkd_column", "scheme": "BIOUL"}
    printed = allennlp(
        *["cache-teacher", tmp_path / "teacher" / "model.tar.gz", f"en={CORPUS}", "--output", tmp_path / "store"],
        *["--dataset-reader", json.dumps(reader), "--k-best", 3],
    )
    assert "sentences (en " in printed.splitlines()[-1]
    store = TeacherStore.open(str(tmp_path / "store"))
    assert (store.kind, store.label_encoding, store.legal_k_best) == ("potentials", "BIOUL", 3)

    student = {
        "dataset_reader": reader,
        "train_data_path": {"en": str(CORPUS)},
        "vocabulary": {"tokens_to_add": {"labels": list(store.labels)}},
        "model": {
            **teacher["model"],
            "type": "structkd_tagger",
            "objective": {"type": "k_best", "k": 3, "weighted": True, "labellings": "legal"},
        },
        **common,
    }
    student["trainer"] = {
        **training,
        "callbacks": [{"type": "structkd_teacher", "stores": {"en": str(tmp_path / "store")}}],
    }
    (tmp_path / "student.json").write_text(json.dumps(student))
    allennlp("train", tmp_path / "student.json", "-s", tmp_path / "student")
    metrics = json.loads((tmp_path / "student" / "metrics.json").read_text())
    assert metrics["training_objective"] > 0


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    folder = make_hugging_face(tmp_path / "model", NER_LABELS, layers=1)
    store = capture_into(tmp_path / "store", folder)
    assert (store.kind, list(store.labels), store.label_encoding) == ("log_probabilities", NER_LABELS, "BIO")
    other = capture_into(tmp_path / "other", folder, "-o", '{"pooling": "mean"}')
    first, second = (next(iter(each.get_batch(list(each.keys())[:1]))) for each in (store, other))
    assert not np.array_equal(first.emissions, second.emissions)


def test_a_description_in_jsonnet(tmp_path: Path) -> None:
    make_hugging_face(tmp_path / "model", NER_LABELS, layers=1)
    make_stock_archive(tmp_path / "crf", labels=NER_LABELS)
    description = tmp_path / "ensemble.jsonnet"
    description.write_text(
        f"""
        local here = '{tmp_path}';
        {{
          type: 'ensemble',
          members: [
            {{ type: 'huggingface', path: here + '/model', pooling: 'mean' }},
            {{ type: 'allennlp', path: here + '/crf', overrides: {{ 'model.dropout': 0.1 }} }},
          ],
          weights: [1, 2],
        }}
        """
    )
    store = capture_into(tmp_path / "store", description, "--k-best", 2)
    assert (store.kind, list(store.labels), store.legal_k_best) == ("potentials", NER_LABELS, 2)
    # Another weight is another teacher, and not for the same store.
    message = error_of(
        *[description, f"en={CORPUS}", "--output", tmp_path / "store", "--dataset-reader", READER, "--k-best", 2],
        *["-o", '{"weights": [1, 1]}'],
    )
    assert "store of another teacher" in message


@pytest.mark.parametrize("kind", ["structkd", "allennlp"])
def test_a_described_archive_is_the_archive(teacher_archive: Path, corpora: Path, tmp_path: Path, kind: str) -> None:
    archive = teacher_archive if kind == "structkd" else make_stock_archive(tmp_path / "stock")
    (tmp_path / "it.json").write_text(json.dumps({"type": kind, "path": str(archive)}))
    for name, teacher in (("described", tmp_path / "it.json"), ("named", archive)):
        run(teacher, f"en={corpora}/en.train.conll", "--output", tmp_path / name, "--dataset-reader", READER, "--quiet")
    files = {file.name: file.read_bytes() for file in (tmp_path / "named").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "described").iterdir()}


class TestErrors:
    def error(self, teacher: Path, *arguments: Any) -> str:
        return error_of(teacher, f"en={CORPUS}", "--output", teacher.parent / "store", *arguments)

    @pytest.mark.parametrize("config", [None, "not JSON", "[]", '{"model": {}}'])
    def test_a_folder_that_is_nothing(self, tmp_path: Path, config: Any) -> None:
        (tmp_path / "folder").mkdir()
        if config is not None:
            (tmp_path / "folder" / "config.json").write_text(config)
        assert self.error(tmp_path / "folder").startswith(f"error: {tmp_path}/folder is no teacher: a serialization")

    @pytest.mark.parametrize("content", [b"\x00\x01", b"{", b"some text", b"\xff\xfe"])
    def test_a_file_that_is_nothing(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "file").write_bytes(content)
        assert self.error(tmp_path / "file").startswith(
            f"error: {tmp_path}/file is neither an archive (model.tar.gz) nor"
        )

    @pytest.mark.parametrize("content", ['{"path": "x"}', "[1]", '"huggingface"'])
    def test_a_description_without_a_type(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "it.json").write_text(content)
        message = self.error(tmp_path / "it.json")
        assert "it.json describes no teacher: it has no `type`, which is one of allennlp, ensemble, hug" in message

    def test_a_description_of_an_unknown_type(self, tmp_path: Path) -> None:
        (tmp_path / "it.json").write_text('{"type": "oracle"}')
        assert "oracle" in self.error(tmp_path / "it.json")

    def test_a_misspelt_option(self, tmp_path: Path) -> None:
        (tmp_path / "it.json").write_text('{"type": "allennlp", "pth": "x"}')
        assert "allennlp (StockArchiveTeacher) has no option 'pth'; did you mean 'path'?" in self.error(
            tmp_path / "it.json"
        )

    def test_an_archive_that_is_not_of_the_type(self, teacher_archive: Path, tmp_path: Path) -> None:
        (tmp_path / "it.json").write_text(json.dumps({"type": "allennlp", "path": str(teacher_archive)}))
        message = self.error(tmp_path / "it.json")
        assert (
            message == "error: the model of the archive is a StructuredTagger, neither a crf_tagger nor a simple_tagger"
        )

    def test_an_archive_of_another_model(self, tmp_path: Path) -> None:
        path = make_stock_archive(tmp_path / "a", "simple_tagger")
        config = json.loads((path / "config.json").read_text())
        config["model"] = {
            "type": "basic_classifier",
            "text_field_embedder": config["model"]["text_field_embedder"],
            "seq2vec_encoder": {"type": "bag_of_embeddings", "embedding_dim": 5},
        }
        (path / "config.json").write_text(json.dumps(config))
        from allennlp.common import Params
        from allennlp.data import Vocabulary
        from allennlp.models import Model
        from torch import save

        vocabulary = Vocabulary.from_files(str(path / "vocabulary"))
        save(Model.from_params(Params(config["model"]), vocab=vocabulary).state_dict(), path / "best.th")
        message = self.error(path, "--dataset-reader", READER)
        assert "the model of the archive is a BasicClassifier, which shows no potentials" in message

    def test_no_reader(self, tmp_path: Path) -> None:
        folder = make_hugging_face(tmp_path / "model", layers=1)
        assert self.error(folder) == (
            "error: the teacher has no reader of files. Name one with --dataset-reader, for example "
            '\'{"type": "structkd_column"}\'.'
        )
        stock = make_stock_archive(tmp_path / "a")
        assert "the reader of the archive is a SequenceTaggingDatasetReader, not one" in self.error(stock)

    def test_pickled_weights(self, tmp_path: Path) -> None:
        folder = make_hugging_face(tmp_path / "model", layers=1)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        assert "has no model.safetensors. Weights in pickles" in self.error(folder)
