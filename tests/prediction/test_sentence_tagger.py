"""Tagging with an archive says what the model's predictor says, and the K best are those of enumeration."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from allennlp.models.archival import load_archive
from allennlp.predictors.predictor import Predictor

from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words

from ..teacher.training import make_archive, write_corpus

SENTENCES = [
    Words(("Ada", "w1", "Rome"), "en"),
    Words(("Karl",), "de"),
    Words(("w2", "Bonn", "Anna", "w0"), "de"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        write_corpus(folder / f"{language}.train.conll", language, 16)
        write_corpus(folder / f"{language}.dev.conll", language, 8, seed=1)
    return make_archive(folder / "archive", folder)


@pytest.fixture(scope="module")
def tagger(path: Path) -> SentenceTagger:
    return SentenceTagger.from_path(str(path))


def test_as_the_predictor_says(tagger: SentenceTagger, path: Path) -> None:
    predictor = Predictor.from_archive(load_archive(str(path)), "structkd_tagger")
    outputs = predictor.predict_batch_json(
        [{"words": list(words), "language": language} for words, language in SENTENCES]
    )
    for tagging, output in zip(tagger.tag(SENTENCES, label_probabilities=True), outputs, strict=True):
        assert list(tagging.tags) == output["tags"]
        np.testing.assert_allclose(tagging.tag_probabilities, output["tag_probabilities"], atol=1e-6)
        assert [(entity.label, entity.start, entity.end) for entity in tagging.entities or ()] == [
            (entity["label"], entity["start_word"], entity["end_word"]) for entity in output["entities"]
        ]
        assert tagging.label_probabilities is not None
        np.testing.assert_allclose(tagging.label_probabilities.sum(1), 1, atol=1e-5)


def test_k_best_are_the_most_probable_of_all_taggings(tagger: SentenceTagger) -> None:
    words = SENTENCES[0]
    (tagging,) = tagger.tag([words], k_best=5)
    instance = tagger.reader.text_to_instance(list(words.words), language=words.language)
    tagger.reader.apply_token_indexers(instance)
    instance.index_fields(tagger.model.vocab)
    with torch.no_grad():
        output = tagger.model(**instance.as_tensor_dict() | {"tokens": _batched(instance.as_tensor_dict()["tokens"])})
        distribution = tagger.model.distribution(output["emissions"], output["mask"])
        every = {
            tags: distribution.log_prob(torch.tensor([tags])).exp().item()
            for tags in itertools.product(range(len(tagger.labels)), repeat=len(words.words))
        }
    best = sorted(every.values(), reverse=True)[:5]
    np.testing.assert_allclose([ranked.probability for ranked in tagging.k_best], best, rtol=1e-4)
    assert tagging.k_best[0].tags == tagging.tags


def test_no_more_taggings_than_there_are(tagger: SentenceTagger) -> None:
    (tagging,) = tagger.tag([SENTENCES[1]], k_best=10)
    # Of five labels, the two that continue a span cannot be the first one's.
    assert sorted(ranked.tags for ranked in tagging.k_best) == [("B-LOC",), ("B-PER",), ("O",)]
    assert sum(ranked.probability for ranked in tagging.k_best) == pytest.approx(1)


def test_a_stream_keeps_the_order(tagger: SentenceTagger) -> None:
    together = [tagging.tags for tagging in tagger.tag(SENTENCES)]
    assert [tagging.tags for tagging in tagger.stream(iter(SENTENCES), batch_size=2)] == together
    assert tagger.tag([]) == []


def _batched(tokens: dict) -> dict:
    return {name: {key: tensor.unsqueeze(0) for key, tensor in tensors.items()} for name, tensors in tokens.items()}
