"""What a tagger says of a sentence does not depend on the sentences that are computed beside it."""

import copy
import random
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.models.archival import Archive

import structkd_plugin.subwords  # noqa: F401
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.prediction.tagging import Tagging

from ..subwords.transformers_of_tests import SIZE, make_bert, make_roberta
from ..teacher.training import LABELS, write_corpus

WORD = {"type": "embedding", "embedding_dim": 6}
SINGLE = {"type": "single_id"}


def characters(encoder: Dict[str, Any]) -> Dict[str, Any]:
    return {"type": "character_encoding", "embedding": {"embedding_dim": 5, "vocab_namespace": "c"}, "encoder": encoder}


def character_ids(**options: Any) -> Dict[str, Any]:
    return {"type": "characters", "namespace": "c", **options}


CNN = {"type": "cnn", "embedding_dim": 5, "num_filters": 4, "ngram_filter_sizes": [2, 3]}

# Indexers, embedders, the encoder, and what else the model has.
STUDENTS: Dict[str, Any] = {
    "lstm": (
        {"tokens": SINGLE},
        {"tokens": WORD},
        {"type": "lstm", "input_size": 6, "hidden_size": 5, "bidirectional": True, "num_layers": 2},
        {},
    ),
    "gru": (
        {"tokens": SINGLE},
        {"tokens": WORD},
        {"type": "gru", "input_size": 6, "hidden_size": 5, "bidirectional": True},
        {"label_encoding": None, "transitions": "none"},
    ),
    # As in training_configs/base.libsonnet.
    "character cnn": (
        {"tokens": SINGLE, "characters": character_ids(min_padding_length=3)},
        {"tokens": WORD, "characters": characters(CNN)},
        {"type": "lstm", "input_size": 14, "hidden_size": 5, "bidirectional": True},
        {},
    ),
    "character cnn alone": (
        {"characters": character_ids(min_padding_length=3)},
        {"characters": characters({**CNN, "conv_layer_activation": "tanh"})},
        None,
        {},
    ),
    "character lstm": (
        {"characters": character_ids(min_padding_length=1)},
        {"characters": characters({"type": "lstm", "input_size": 5, "hidden_size": 4, "bidirectional": True})},
        {"type": "gru", "input_size": 8, "hidden_size": 5},
        {},
    ),
    "bag of characters": (
        {"characters": character_ids(min_padding_length=1)},
        {"characters": characters({"type": "boe", "embedding_dim": 5, "averaged": True})},
        {
            "type": "feedforward",
            "feedforward": {"input_dim": 5, "num_layers": 1, "hidden_dims": 7, "activations": "relu"},
        },
        {},
    ),
    "self-attention": (
        {"tokens": SINGLE},
        {"tokens": WORD},
        {
            "type": "pytorch_transformer",
            "input_dim": 6,
            "num_layers": 2,
            "num_attention_heads": 2,
            "feedforward_hidden_dim": 8,
            "positional_encoding": "sinusoidal",
        },
        {},
    ),
    "bert in windows": (
        {"tokens": {"type": "structkd_windowed_transformer", "model_name": "bert"}},
        {"tokens": {"type": "structkd_windowed_transformer", "model_name": "bert"}},
        None,
        {},
    ),
    "roberta in windows": (
        {"tokens": {"type": "structkd_windowed_transformer", "model_name": "roberta"}, "words": SINGLE},
        {
            "tokens": {"type": "structkd_windowed_transformer", "model_name": "roberta", "sub_token_mode": "first"},
            "words": WORD,
        },
        {"type": "lstm", "input_size": SIZE + 6, "hidden_size": 5, "bidirectional": True},
        {},
    ),
    "stock bert": (
        {"tokens": {"type": "pretrained_transformer_mismatched", "model_name": "bert", "max_length": 24}},
        {"tokens": {"type": "pretrained_transformer_mismatched", "model_name": "bert", "max_length": 24}},
        {"type": "lstm", "input_size": SIZE, "hidden_size": 5, "bidirectional": True},
        {},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("students")
    write_corpus(path / "en.conll", "en", 16)
    make_bert(path / "bert")
    make_roberta(path / "roberta")
    return path


def make_tagger(folder: Path, indexers: Any, embedders: Any, encoder: Any, model: Any) -> SentenceTagger:
    """A student with weights drawn at random, large enough that its tags vary."""

    def local(parts: Dict[str, Any]) -> Dict[str, Any]:
        return {
            name: {**part, **({"model_name": str(folder / part["model_name"])} if "model_name" in part else {})}
            for name, part in parts.items()
        }

    reader: Any = DatasetReader.from_params(
        Params({"type": "structkd_column", "scheme": "BIO", "token_indexers": local(indexers)})
    )
    vocabulary = Vocabulary.from_params(
        Params({"tokens_to_add": {"labels": LABELS}}), instances=reader.read(str(folder / "en.conll"))
    )
    settings = {
        "type": "structkd_tagger",
        "label_encoding": "BIO",
        "text_field_embedder": {"token_embedders": local(embedders)},
        **({"encoder": encoder} if encoder else {}),
        **model,
    }
    torch.manual_seed(3)
    tagger = Model.from_params(Params(settings), vocab=vocabulary)
    with torch.no_grad():
        for name, parameter in tagger.named_parameters():
            if "transformer_model" not in name:
                # Where transitions or biases are large, all tags are the same.
                parameter.normal_(std=0.05 if name.startswith("crf.") or name.endswith("bias") else 0.8)
    return SentenceTagger(Archive(tagger, Params({}), reader, reader, None))  # type: ignore[arg-type]


def drawn(seed: int) -> List[Words]:
    """Sentences of 1 to 40 words of 1 to 15 letters, seen in training or not."""
    draw = random.Random(seed)
    vocabulary = ["Ada", "Boris", "Chen", "Rome", "Lima", *(f"w{number}" for number in range(6))]

    def word() -> str:
        return draw.choice([draw.choice(vocabulary), "".join(draw.choices("abcdeAw", k=draw.randint(1, 15)))])

    lengths = [1, 40, *(draw.randint(1, 40) for _ in range(4)), 2, 1]
    return [Words(tuple(word() for _ in range(length)), "en") for length in lengths]


def assert_same(found: List[Tagging], expected: List[Tagging]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.tags == other.tags
        np.testing.assert_allclose(one.label_probabilities, other.label_probabilities, rtol=0, atol=1e-5)
        np.testing.assert_allclose(one.tag_probabilities, other.tag_probabilities, rtol=0, atol=1e-5)
        assert (one.entities is None) == (other.entities is None)
        for entity, same in zip(one.entities or (), other.entities or (), strict=True):
            assert entity[:3] == same[:3]
            assert entity.probability == pytest.approx(same.probability, abs=1e-5)
        assert [ranked.tags for ranked in one.k_best] == [ranked.tags for ranked in other.k_best]


# Parts of AllenNLP that look at padding: sentences are tagged one by one.
DEPENDENT: Dict[str, Any] = {
    "cnn-highway": (
        {"characters": character_ids(min_padding_length=3)},
        {
            "characters": characters(
                {
                    "type": "cnn-highway",
                    "embedding_dim": 5,
                    "filters": [[2, 4], [3, 4]],
                    "num_highway": 1,
                    "projection_dim": 6,
                }
            )
        },
        None,
        {},
    ),
    "gated-cnn-encoder": (
        {"tokens": SINGLE},
        {"tokens": WORD},
        {"type": "gated-cnn-encoder", "input_dim": 6, "layers": [[[3, 6], [3, 6]]]},
        {},
    ),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", [*STUDENTS, *DEPENDENT])
def test_a_sentence_is_tagged_the_same_alone_and_among_others(folder: Path, name: str) -> None:
    # AllenNLP takes configurations apart.
    tagger = make_tagger(folder, *copy.deepcopy({**STUDENTS, **DEPENDENT}[name]))
    sentences = drawn(seed=5)
    alone = [tagger.tag([sentence], label_probabilities=True, k_best=2)[0] for sentence in sentences]
    assert len({tag for tagging in alone for tag in tagging.tags}) > 1
    assert_same(tagger.tag(sentences, label_probabilities=True, k_best=2), alone)
    assert_same(tagger.tag(sentences[::-1], label_probabilities=True, k_best=2)[::-1], alone)
    for size in (2, 3):
        assert_same(list(tagger.stream(sentences, size, label_probabilities=True, k_best=2)), alone)


@pytest.mark.parametrize("name", DEPENDENT)
def test_without_care_some_parts_depend_on_the_batch(folder: Path, name: str) -> None:
    tagger = make_tagger(folder, *copy.deepcopy(DEPENDENT[name]))
    assert tagger._one_by_one
    tagger._one_by_one = False
    sentences = drawn(seed=5)
    alone = [tagger.tag([sentence], label_probabilities=True)[0].label_probabilities for sentence in sentences]
    together = [tagging.label_probabilities for tagging in tagger.tag(sentences, label_probabilities=True)]
    assert max(np.abs(one - other).max() for one, other in zip(alone, together, strict=True)) > 1e-3
