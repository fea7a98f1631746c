"""What is put in is read back, by this process and others; what was altered, or is another encoder's, is refused."""

import os
import signal
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.frozen_encoders.feature_cache import FeatureCache

from ..children import fork

WORDS = ("Ada", "schläft", "nicht")
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)


def cache_at(path: Path, encoder: str = "an encoder", size: int = 4) -> FeatureCache:
    return FeatureCache(str(path / "cache"), encoder, size)


def test_read_back(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    assert cache.get(WORDS) is None
    cache.put(WORDS, VECTORS)
    found = cache_at(tmp_path).get(list(WORDS))
    assert found is not None
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, VECTORS)


@settings(max_examples=30, deadline=None)
@given(
    sentences=st.lists(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3), unique_by=tuple, max_size=5)
)
def test_no_two_sentences_are_taken_for_each_other(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]]
) -> None:
    cache = cache_at(tmp_path_factory.mktemp("cache"))
    for number, words in enumerate(sentences):
        cache.put(words, np.full((len(words), 4), number))
    for number, words in enumerate(sentences):
        assert (cache.get(words) == number).all()


def test_the_boundaries_of_words_count(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.put(["a b"], np.zeros((1, 4)))
    assert cache.get(["a", "b"]) is None


@pytest.mark.parametrize("other", [{"encoder": "another"}, {"size": 5}])
def test_of_another_encoder(tmp_path: Path, other: dict) -> None:
    cache_at(tmp_path)
    with pytest.raises(ConfigurationError, match=r"vectors of another encoder .*: name another directory"):
        cache_at(tmp_path, **other)


@pytest.mark.parametrize("value", [b"", b"1234", bytes(28), bytes(24) + b"\1\0\0\0"])
def test_altered(tmp_path: Path, value: bytes) -> None:
    cache = cache_at(tmp_path)
    cache.put(WORDS, VECTORS)
    with cache._environment().begin(write=True) as transaction:
        key = next(key for key, _ in transaction.cursor() if key != b"encoder")
        transaction.put(key, value)
    with pytest.raises(ConfigurationError, match="was altered; remove it"):
        cache.get(WORDS)


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigurationError, match=r"the cache .* cannot be used"):
        cache_at(tmp_path)


def test_processes_share_it_and_may_be_killed(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)

    def add_for_ever() -> bool:
        own = cache_at(tmp_path)
        for number in range(10**9):
            own.put([str(number)], np.full((1, 4), number % 100))
        return True

    for _ in range(3):
        children = [fork(add_for_ever) for _ in range(2)]
        time.sleep(0.2)
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    number = 0
    while (found := cache.get([str(number)])) is not None:
        assert (found == number % 100).all()
        number += 1
    assert number
    cache.put(WORDS, VECTORS)
    assert cache.get(WORDS) is not None


def test_a_fork_reads_what_its_parent_opened(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.put(WORDS, VECTORS)
    child = fork(lambda: bool((cache.get(WORDS) == VECTORS).all()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert isinstance(cache._environment(), lmdb.Environment)
