"""Training and tagging with vectors of a frozen encoder, with a cache and without."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params
from allennlp.data import Batch, Vocabulary
from allennlp.data.token_indexers.token_indexer import TokenIndexer
from allennlp.models.archival import load_archive

from structkd_plugin.frozen_encoders import FrozenEncoder, FrozenEncoderIndexer
from structkd_plugin.frozen_encoders.feature_cache import FeatureCache
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.readers.column_reader import ColumnReader

from ..teacher.training import config, write_corpus

SIZE = 6


@FrozenEncoder.register("letters_of_a_test")
class Letters(FrozenEncoder):
    """Of each word how often it has some letters, and of the one before it."""

    size = SIZE
    name = "letters"
    encoded = 0

    def encode(self, words: Sequence[str]) -> np.ndarray:
        Letters.encoded += 1
        own = np.array([[word.count(letter) for letter in "aeo"] for word in words], dtype=np.float32)
        return np.concatenate([own, np.roll(own, 1, axis=0)], axis=1)


def batch_of(indexer: TokenIndexer, sentences: List[List[str]]) -> torch.Tensor:
    reader = ColumnReader(token_indexers={"encoder": indexer})
    instances = [reader.text_to_instance(words, language="en") for words in sentences]
    for instance in instances:
        reader.apply_token_indexers(instance)
    batch = Batch(instances)
    batch.index_instances(Vocabulary())
    return batch.as_tensor_dict()["tokens"]["encoder"]["tokens"]


def indexer(cache: Optional[Path] = None) -> TokenIndexer:
    settings: Dict[str, Any] = {"type": "structkd_frozen_encoder", "encoder": "letters_of_a_test"}
    if cache is not None:
        settings["cache"] = str(cache)
    made = TokenIndexer.from_params(Params(settings))
    assert isinstance(made, FrozenEncoderIndexer)
    return made


def test_padded_with_zeros(tmp_path: Path) -> None:
    sentences = [["Ada", "sees", "Rome"], ["Oo"]]
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        tensors = batch_of(indexer(cache), sentences)
        assert tensors.dtype == torch.float32
        np.testing.assert_array_equal(tensors[0], Letters().encode(sentences[0]))
        np.testing.assert_array_equal(tensors[1], [[0, 0, 1, 0, 0, 1], [0] * 6, [0] * 6])


def test_each_sentence_is_encoded_once(tmp_path: Path) -> None:
    sentences = [["Ada", "sees", "Rome"], ["Oo"]]
    batch_of(indexer(tmp_path), sentences)
    before = Letters.encoded
    for _ in range(2):
        batch_of(indexer(tmp_path), sentences[::-1])
    assert Letters.encoded == before
    batch_of(indexer(), sentences)
    assert Letters.encoded == before + 2


@pytest.mark.parametrize("cached", [False, True])
def test_a_tagger_is_trained_and_tags_without_the_cache(tmp_path: Path, cached: bool) -> None:
    for language in ("en", "de"):
        write_corpus(tmp_path / f"{language}.train.conll", language, 16)
        write_corpus(tmp_path / f"{language}.dev.conll", language, 8, seed=1)
    settings = config(tmp_path)
    settings["dataset_reader"]["token_indexers"] = {
        "encoder": {
            "type": "structkd_frozen_encoder",
            "encoder": "letters_of_a_test",
            "cache": str(tmp_path / "cache") if cached else None,
        }
    }
    settings["model"]["text_field_embedder"] = {
        "token_embedders": {"encoder": {"type": "pass_through", "hidden_dim": SIZE}}
    }
    settings["model"]["encoder"]["input_size"] = SIZE
    train_model(Params(json.loads(json.dumps(settings))), str(tmp_path / "run"))
    tagger = SentenceTagger.from_path(str(tmp_path / "run"))
    overrides = json.dumps({"dataset_reader.token_indexers.encoder.cache": None})
    elsewhere = SentenceTagger.from_path(str(tmp_path / "run"), overrides=overrides)
    sentences = [Words(("Ada", "w1", "Rome"), "en"), Words(("Karl",), "de")]
    for one, other in zip(tagger.tag(sentences), elsewhere.tag(sentences), strict=True):
        assert one == other
    if cached:
        # What is tagged may have no end; what is scored is the same for many models.
        cache = FeatureCache(str(tmp_path / "cache"), Letters.name, SIZE)
        assert cache.get(["Karl"]) is None
        archive = load_archive(str(tmp_path / "run"))
        assert SentenceTagger(archive, keep_vectors=True).tag(sentences) == tagger.tag(sentences)
        assert cache.get(["Karl"]) is not None


def test_a_cache_that_cannot_be_made_matters_when_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = indexer(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        batch_of(made, [["Ada"]])
    assert isinstance(made, FrozenEncoderIndexer)
    made.without_cache()
    assert batch_of(made, [["Ada"]]).shape == (1, 1, SIZE)
