"""An exported tagger says what the archive says, to the last tag, and is refused where it could not."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, DatasetReader, Vocabulary
from allennlp.models import Model

from structkd_plugin.prediction.export import export
from structkd_plugin.prediction.exported import MANIFEST, NETWORK, VOCABULARY, ExportedTagger
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words

from ..teacher.training import config, write_corpus

ROOT = Path(__file__).resolve().parents[2]

WORDS = {"type": "single_id", "namespace": "words", "lowercase_tokens": True}
CHARACTERS = {"type": "characters", "namespace": "characters", "min_padding_length": 3}
OF_WORDS = {"type": "embedding", "embedding_dim": 5, "vocab_namespace": "words"}
LSTM = {"type": "lstm", "input_size": 5, "hidden_size": 4, "bidirectional": True}


def of_characters(encoder: Dict[str, Any]) -> Dict[str, Any]:
    embedding = {"embedding_dim": 6, "vocab_namespace": "characters"}
    return {"type": "character_encoding", "embedding": embedding, "encoder": {**encoder}}


CNN = of_characters({"type": "cnn", "embedding_dim": 6, "num_filters": 3, "ngram_filter_sizes": [2, 3]})
TAGGERS: Dict[str, Dict[str, Any]] = {
    "words": {"embedders": {"words": OF_WORDS}, "encoder": LSTM},
    "as training_configs has it": {
        "embedders": {"words": OF_WORDS, "characters": CNN},
        "encoder": {**LSTM, "input_size": 11},
    },
    "characters alone, projected": {
        "embedders": {
            "characters": of_characters(
                {
                    "type": "cnn",
                    "embedding_dim": 6,
                    "num_filters": 2,
                    "ngram_filter_sizes": [1, 3, 4],
                    "conv_layer_activation": "tanh",
                    "output_dim": 5,
                }
            )
        },
        "encoder": {**LSTM, "num_layers": 2, "dropout": 0.5},
        "characters": {"min_padding_length": 4, "character_tokenizer": {"lowercase_characters": True}},
    },
    "characters by an lstm": {
        "embedders": {
            "characters": of_characters(
                {"type": "lstm", "input_size": 6, "hidden_size": 3, "num_layers": 2, "bidirectional": True}
            )
        },
        "encoder": {"type": "gru", "input_size": 6, "hidden_size": 4, "num_layers": 2, "bidirectional": True},
    },
    "characters by a gru": {
        "embedders": {"characters": of_characters({"type": "gru", "input_size": 6, "hidden_size": 5, "bias": False})},
        "encoder": {"type": "lstm", "input_size": 5, "hidden_size": 4, "bias": False},
    },
    "no encoder, projected words": {
        "embedders": {"words": {**OF_WORDS, "projection_dim": 7}},
        "encoder": {"type": "pass_through", "input_dim": 7},
        "feedforward": {"input_dim": 7, "num_layers": 2, "hidden_dims": [6, 5], "activations": ["relu", "softplus"]},
    },
    "softmax": {"embedders": {"words": OF_WORDS}, "encoder": LSTM, "transitions": "none"},
    "labels that write no spans": {"embedders": {"words": OF_WORDS}, "encoder": LSTM, "label_encoding": None},
    "constraints everywhere": {"embedders": {"words": OF_WORDS}, "encoder": LSTM, "constraints": "everywhere"},
}


def tagger_of(data: Path, embedders: Dict[str, Any], **given: Any) -> SentenceTagger:
    """A tagger with random weights; large ones, so that tags are many and far from each other."""
    indexers = {
        "words": {**WORDS, **given.pop("words", {})},
        "characters": {**CHARACTERS, **given.pop("characters", {})},
    }
    settings = config(data, text_field_embedder={"token_embedders": embedders}, **given)
    used = {key: indexers[key] for key in embedders}
    reader = DatasetReader.from_params(
        Params(json.loads(json.dumps({**settings["dataset_reader"], "token_indexers": used})))
    )
    vocabulary = Vocabulary.from_params(
        Params(settings["vocabulary"]), instances=reader.read(settings["train_data_path"])
    )
    torch.manual_seed(3)
    model = Model.from_params(Params(json.loads(json.dumps(settings["model"]))), vocab=vocabulary)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return SentenceTagger(Archived(model, reader))  # type: ignore[arg-type]


class Archived:
    def __init__(self, model: Model, reader: DatasetReader) -> None:
        self.model, self.validation_dataset_reader = model, reader


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        write_corpus(folder / f"{language}.train.conll", language, 24)
    return folder


def sentences(count: int, seed: int) -> List[List[str]]:
    """Known and unknown words, of one letter and of many, some of which change their length when small."""
    draw = random.Random(seed)
    words = ["Ada", "BORIS", "w1", "W2", "Köln", "x", "İstanbul", "ŉ", "語", "unheard-of", "e" * 40, "\u200d", "en7"]
    return [[draw.choice(words) for _ in range(draw.randint(1, 14))] for _ in range(count)]


@pytest.mark.parametrize("name", TAGGERS)
def test_emissions_and_tags_are_those_of_the_archive(name: str, data: Path, tmp_path: Path) -> None:
    tagger = tagger_of(data, **json.loads(json.dumps(TAGGERS[name])))
    export(tagger, str(tmp_path / "exported"))
    exported = ExportedTagger(str(tmp_path / "exported"), threads=1)
    assert (exported.labels, exported.label_encoding) == (tagger.labels, tagger.label_encoding)
    for size, seed in ((1, 1), (1, 2), (7, 3), (40, 4)):
        batch = sentences(size, seed)
        expected = tagger.tag([Words(tuple(words), "en") for words in batch])
        for words, tagged, other in zip(batch, exported.tag(batch), expected, strict=True):
            assert (len(tagged.tags), tagged.tags) == (len(words), other.tags)
            np.testing.assert_allclose(tagged.tag_probabilities, other.tag_probabilities, atol=1e-5)
        emissions = exported.emissions(batch)
        for b, words in enumerate(batch):
            alone = emissions_of(tagger, words)
            np.testing.assert_allclose(emissions[b, : len(words)], alone, atol=1e-5, rtol=1e-5)


def emissions_of(tagger: SentenceTagger, words: List[str]) -> np.ndarray:
    """(T, L) of the model itself."""
    instance = tagger.reader.text_to_instance(words, language="en")
    tagger.reader.apply_token_indexers(instance)
    batch = Batch([instance])
    batch.index_instances(tagger.model.vocab)
    with torch.inference_mode():
        found: np.ndarray = tagger.model(**batch.as_tensor_dict())["emissions"][0].numpy()
    return found


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tagger"
    export(tagger_of(data, **TAGGERS["as training_configs has it"]), str(folder))
    return folder


def test_decoding_and_probabilities_are_those_of_enumeration(exported: Path) -> None:
    tagger = ExportedTagger(str(exported), threads=1)
    generator = np.random.default_rng(5)
    labels = 3
    tagger._transitions = generator.normal(size=(labels, labels)).astype(np.float32)
    tagger._transitions[2, 0] = -np.inf
    tagger._start, tagger._end = generator.normal(size=(2, labels)).astype(np.float32)
    tagger._start[1] = -np.inf
    lengths = np.array([4, 1, 3])
    emissions = generator.normal(size=(3, 4, labels)).astype(np.float32)
    best = tagger._best(emissions, lengths)
    marginals = tagger._marginals(emissions.astype(np.float64), lengths)
    for b, length in enumerate(lengths):
        scores = {}
        for path in itertools.product(range(labels), repeat=int(length)):
            score = float(tagger._start[path[0]] + tagger._end[path[-1]])
            score += sum(float(emissions[b, t, label]) for t, label in enumerate(path))
            score += sum(float(tagger._transitions[pair]) for pair in itertools.pairwise(path))
            scores[path] = score
        assert tuple(best[b, :length]) == max(scores, key=lambda path: scores[path])
        total = sum(np.exp(score) for score in scores.values())
        for t, label in itertools.product(range(length), range(labels)):
            share = sum(np.exp(score) for path, score in scores.items() if path[t] == label) / total
            assert marginals[b, t, label] == pytest.approx(share, abs=1e-6)


def test_sentences_without_words_and_streams(exported: Path) -> None:
    tagger = ExportedTagger(str(exported), threads=1)
    batch: List[List[str]] = [["Ada"], [], ["w1", "Rome"]]
    assert [len(tagged.tags) for tagged in tagger.tag(batch)] == [1, 0, 2]
    assert tagger.tag([]) == tagger.tag([[]])[:0]
    many = sentences(11, 6)
    assert [tagged.tags for tagged in tagger.stream(many, batch_size=4)] == [tagged.tags for tagged in tagger.tag(many)]


@pytest.mark.parametrize(
    ("sentence", "message"), [("Ada", "'Ada' is a text; give the list"), (["a", ""], "word 2 of a sentence is empty")]
)
def test_what_is_no_sentence_is_refused(exported: Path, sentence: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportedTagger(str(exported), threads=1).tag([["w1"], sentence])


def test_the_same_tagger_gives_the_same_bytes(data: Path, exported: Path, tmp_path: Path) -> None:
    export(tagger_of(data, **TAGGERS["as training_configs has it"]), str(tmp_path / "again"))
    for file in exported.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_it_runs_where_there_is_no_torch_and_no_allennlp(exported: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'allennlp', 'transformers', 'spacy', 'onnx'): sys.modules[name] = None\n"
        "from structkd_plugin.prediction.exported import ExportedTagger\n"
        f"print(' '.join(ExportedTagger({str(exported)!r}).tag([['Ada', 'w1', 'Rome']])[0].tags))\n"
    )
    completed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.split() == list(
        ExportedTagger(str(exported), threads=1).tag([["Ada", "w1", "Rome"]])[0].tags
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"embedders": {"words": {"type": "pass_through", "hidden_dim": 5}}}, "embedders.words is a PassThroughTokenE"),
        ({"embedders": {"words": {**OF_WORDS, "max_norm": 1.0}}}, "embedders.words has a max_norm"),
        (
            {"embedders": {"characters": of_characters({"type": "boe", "embedding_dim": 6})}},
            "characters.encoder is a BagOfEmbeddingsEncoder, not a cnn, lstm or gru",
        ),
        ({"encoder": {**LSTM, "stateful": True}}, "model.encoder is stateful"),
        (
            {"encoder": {**LSTM, "type": "rnn"}},
            "model.encoder is a RnnSeq2SeqEncoder, not an lstm, gru or pass_through",
        ),
        ({"words": {"start_tokens": ["<s>"]}}, "token_indexers.words has start_tokens or end_tokens"),
        (
            {"embedders": {"characters": CNN}, "characters": {"character_tokenizer": {"byte_encoding": "utf-8"}}},
            "the character_tokenizer of .*characters has other options",
        ),
        ({"words": {"namespace": "words_labels"}}, "the namespace 'words_labels' of its vocabulary has no numbers for"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_what_cannot_be_exported_is_named(given: Dict[str, Any], message: str, data: Path, tmp_path: Path) -> None:
    settings = json.loads(json.dumps({"embedders": {"words": OF_WORDS}, **given}))
    if "encoder" not in settings:
        settings["encoder"] = None
    if "words" in given and "namespace" in given["words"]:
        settings["embedders"]["words"]["vocab_namespace"] = given["words"]["namespace"]
    with pytest.raises(ConfigurationError, match=message) as refused:
        export(tagger_of(data, **settings), str(tmp_path / "exported"))
    assert "cannot be exported" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match="is there already"):
        export(tagger_of(data, **TAGGERS["words"]), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_onnx_it_says_what_to_install(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigurationError, match=r"the package onnx is not installed.*pip install"):
        export(tagger_of(data, **TAGGERS["words"]), str(tmp_path / "exported"))


class TestDamage:
    @pytest.fixture
    def copy(self, exported: Path, tmp_path: Path) -> Path:
        for file in exported.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        return tmp_path

    @pytest.mark.parametrize("name", [NETWORK, VOCABULARY])
    def test_a_changed_byte_is_found(self, copy: Path, name: str) -> None:
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not the file that was exported"):
            ExportedTagger(str(copy))

    @pytest.mark.parametrize("name", [NETWORK, VOCABULARY, MANIFEST])
    def test_a_file_that_is_missing_is_named(self, copy: Path, name: str) -> None:
        (copy / name).unlink()
        with pytest.raises(ValueError, match=f"{name}: No such file"):
            ExportedTagger(str(copy))

    def test_a_manifest_that_is_cut_is_damaged(self, copy: Path) -> None:
        content = (copy / MANIFEST).read_bytes()
        (copy / MANIFEST).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=f"{MANIFEST} is damaged"):
            ExportedTagger(str(copy))

    def test_another_version_is_named(self, copy: Path) -> None:
        manifest = json.loads((copy / MANIFEST).read_text())
        (copy / MANIFEST).write_text(json.dumps({**manifest, "version": 2}))
        with pytest.raises(ValueError, match="of version 2, and this program reads 'structkd_tagger' of version 1"):
            ExportedTagger(str(copy))
