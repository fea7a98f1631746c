"""Windows over long sentences: each word once, cut between words, and from where it has most context."""

import random
from itertools import pairwise
from typing import List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.subwords.windows import windows


def context(sizes: List[int], start: int, end: int, word: int) -> float:
    """Subwords from `word` to the nearest place where the window [start, end) cuts the sentence, counted one by one."""
    if not start <= word < end:
        return -1
    left = sum(sizes[start:word]) if start > 0 else float("inf")
    right = sum(sizes[word + 1 : end]) if end < len(sizes) else float("inf")
    return min(left, right)


@st.composite
def cases(draw: st.DrawFn) -> "tuple[List[int], int, int]":
    capacity = draw(st.integers(1, 12))
    sizes = draw(st.lists(st.integers(1, min(capacity, 4)), min_size=1, max_size=30))
    return sizes, capacity, draw(st.integers(0, capacity - 1))


@given(cases())
@settings(max_examples=400, deadline=None)
def test_every_word_once_from_where_it_has_most_context(case: "tuple[List[int], int, int]") -> None:
    sizes, capacity, overlap = case
    found = windows(sizes, capacity, overlap)
    assert [word for window in found for word in window.own] == list(range(len(sizes)))
    assert (found[0].start, found[-1].end) == (0, len(sizes))
    for window in found:
        assert 0 < sum(sizes[window.start : window.end]) <= capacity
        for word in window.own:
            contexts = [context(sizes, other.start, other.end, word) for other in found]
            assert found.index(window) == contexts.index(max(contexts))
    for first, second in pairwise(found):
        assert first.start < second.start <= first.end < second.end
        # No longer window was possible.
        assert sum(sizes[first.start : first.end + 1]) > capacity
    for first, second in pairwise(found[:-1]):
        assert sum(sizes[second.start : first.end]) <= overlap


def test_an_example() -> None:
    assert [tuple(window) for window in windows([1] * 10, 6, 2)] == [
        (0, 6, [0, 1, 2, 3, 4]),
        (4, 10, [5, 6, 7, 8, 9]),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_sentence_that_fits_is_one_window(seed: int) -> None:
    sizes = [random.Random(seed).randint(1, 5) for _ in range(9)]
    assert windows(sizes, sum(sizes), 0) == [(0, 9, list(range(9)))]
    assert len(windows(sizes, sum(sizes) - 1, 0)) == 2
