"""Tagging with an archive says what the model's predictor says, and the K best are those of enumeration."""

import itertools
import random
from pathlib import Path
from typing import Iterator, Optional

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.models.archival import load_archive
from allennlp.predictors.predictor import Predictor

from structkd_plugin.prediction.sentence_tagger import WINDOW, SentenceTagger, Words
from structkd_plugin.prediction.tagging import PredictedEntity, Tagging
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.tag_schemes import spans_of

from ..crf.test_constraints import labels_of
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


def random_sentences(number: int, seed: int = 0) -> list:
    draw = random.Random(seed)
    words = ["Ada", "Rome", "Karl", "Bonn", "w0", "w1", "w2", "unseen"]
    return [
        Words(tuple(draw.choice(words) for _ in range(draw.randint(1, 12))), draw.choice(["en", "de"]))
        for _ in range(number)
    ]


def assert_same(one: Tagging, other: Tagging, close: float = 2e-6) -> None:
    assert one.tags == other.tags
    np.testing.assert_allclose(one.tag_probabilities, other.tag_probabilities, atol=close)
    assert (one.entities is None) == (other.entities is None)
    for mine, theirs in zip(one.entities or (), other.entities or (), strict=True):
        assert mine[:3] == theirs[:3]
        assert mine.probability == pytest.approx(theirs.probability, abs=close)
    assert [ranked.tags for ranked in one.k_best] == [ranked.tags for ranked in other.k_best]
    np.testing.assert_allclose(
        [ranked.probability for ranked in one.k_best], [ranked.probability for ranked in other.k_best], atol=close
    )


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_what_is_said_of_a_sentence_does_not_depend_on_its_batch(tagger: SentenceTagger, batch_size: int) -> None:
    sentences = random_sentences(200)
    alone = [tagger.tag([sentence], label_probabilities=True)[0] for sentence in sentences]
    together = list(tagger.stream(iter(sentences), batch_size, label_probabilities=True))
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
        np.testing.assert_allclose(one.label_probabilities, other.label_probabilities, atol=2e-6)
    assert sum(len(tagging.entities or ()) for tagging in alone) > 100


def test_entities_and_their_probabilities_are_those_of_the_model_sentence_by_sentence(tagger: SentenceTagger) -> None:
    sentences = random_sentences(40, seed=1)
    for (words, language), tagging in zip(sentences, tagger.tag(sentences), strict=True):
        instance = tagger.reader.text_to_instance(list(words), language=language)
        tagger.reader.apply_token_indexers(instance)
        output = tagger.model.forward_on_instance(instance)
        expected = Tagging(
            tuple(output["tags"]),
            tuple(output["tag_probabilities"]),
            tuple(PredictedEntity(**entity) for entity in output["entities"]),
        )
        assert_same(tagging, expected, close=1e-5)


def test_long_sentences_are_computed_few_at_once(tagger: SentenceTagger, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    tag = tagger.tag
    monkeypatch.setattr("structkd_plugin.prediction.sentence_tagger._MOST_WORDS", 20)
    monkeypatch.setattr(
        tagger, "tag", lambda batch, *others: sizes.append([len(one.words) for one in batch]) or tag(batch)
    )
    sentences = [Words(("a",) * length, "en") for length in (9, 2, 30, 2, 1, 9, 8)]
    found = list(tagger.stream(sentences, batch_size=3))
    assert [len(tagging.tags) for tagging in found] == [9, 2, 30, 2, 1, 9, 8]
    assert sizes == [[1, 2, 2], [8, 9], [9], [30]]


def test_what_is_not_wanted_is_left_out(tagger: SentenceTagger) -> None:
    full = tagger.tag(SENTENCES)
    bare = tagger.tag(SENTENCES, tag_probabilities=False, entities=False)
    assert [tagging.tags for tagging in bare] == [tagging.tags for tagging in full]
    assert {(tagging.tag_probabilities, tagging.entities) for tagging in bare} == {((), None)}


def test_a_stream_reads_no_further_than_its_window(tagger: SentenceTagger) -> None:
    read = []

    def sentences() -> Iterator[Words]:
        for number in range(10 * WINDOW):
            read.append(number)
            yield Words(("a",) * (1 + number % 7), "en")

    stream = tagger.stream(sentences(), batch_size=2)
    next(stream)
    assert len(read) == 2 * WINDOW


@pytest.mark.parametrize("encoding", ["BIO", "IOB1", "BIOUL", "BIOES", "BMES", None])
def test_spans_of_every_encoding(encoding: Optional[str], tmp_path: Path) -> None:
    labels = labels_of(encoding, ("X", "Y-Z")) if encoding else ["X", "Y", "O"]
    model = Model.from_params(
        Params(
            {
                "type": "structkd_tagger",
                "label_encoding": encoding,
                "text_field_embedder": {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 3}}},
                "encoder": {"type": "lstm", "input_size": 3, "hidden_size": 4},
            }
        ),
        vocab=Vocabulary(tokens_to_add={"labels": labels, "tokens": ["Ada", "Rome", "w0", "w1"]}),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    tagger = SentenceTagger.of(model, ColumnReader())
    for words, tagging in zip(random_sentences(30), tagger.tag(random_sentences(30)), strict=True):
        if encoding is None:
            assert tagging.entities is None
            continue
        spans = [(span.label, span.start, span.end) for span in spans_of(tagging.tags, encoding)]
        assert [entity[:3] for entity in tagging.entities or ()] == spans
        instance = tagger.reader.text_to_instance(list(words.words))
        tagger.reader.apply_token_indexers(instance)
        output = model.forward_on_instance(instance)
        np.testing.assert_allclose(
            [entity.probability for entity in tagging.entities or ()],
            [entity["probability"] for entity in output["entities"]],
            atol=2e-5,
        )


def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the model of the archive is a Linear, not a structkd_tagger"):
        SentenceTagger.of(torch.nn.Linear(1, 1), ColumnReader())
