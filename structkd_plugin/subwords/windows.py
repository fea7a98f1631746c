"""Cutting a long sentence into windows that a model has room for, at the boundaries of words."""

import math
from itertools import accumulate
from typing import List, NamedTuple, Sequence, Tuple


class Window(NamedTuple):
    """A stretch of a sentence, in words, ends exclusive."""

    start: int
    end: int
    own: List[int]  # the words that are taken from this window; over all windows each word once


def windows(sizes: Sequence[int], capacity: int, overlap: int) -> List[Window]:
    """
    The windows of a sentence, each as long as there is room.

    A word is taken from the window where it has most context: where the nearest place at which the sentence was cut is
    farthest from it, counted in subwords; the sentence's own beginning and end are no cuts. Of equals, from the first.

    # Parameters

    sizes : `Sequence[int]`
        For each word its number of subwords, from 1 to `capacity`.
    capacity : `int`
        How many subwords a window has room for.
    overlap : `int`
        How many subwords, at most, a window begins before the end of the one before; fewer where whole words do not
        come out even, and more in the last window, which begins as early as there is room.

    # Returns

    `List[Window]` : one window for a sentence that fits.
    """
    # Subwords before each word, and before the end.
    before = [0, *accumulate(sizes)]
    num_words = len(sizes)
    bounds: List[Tuple[int, int]] = []
    start = 0
    while True:
        end = start
        while end < num_words and before[end + 1] - before[start] <= capacity:
            end += 1
        if end == num_words:
            # The last: it begins as early as there is room, which is later than the one before.
            while bounds and before[num_words] - before[start - 1] <= capacity:
                start -= 1
            bounds.append((start, end))
            break
        bounds.append((start, end))
        start += 1
        # The next has to reach further than this one.
        while before[end] - before[start] > overlap or before[end + 1] - before[start] > capacity:
            start += 1
    found = [Window(start, end, []) for start, end in bounds]
    candidate = 0
    for word in range(num_words):
        while found[candidate].end <= word:
            candidate += 1
        best, most = candidate, -1.0
        for number in range(candidate, len(found)):
            start, end, _ = found[number]
            if start > word:
                break
            left = before[word] - before[start] if start else math.inf
            right = before[end] - before[word + 1] if end < num_words else math.inf
            if min(left, right) > most:
                best, most = number, min(left, right)
        found[best].own.append(word)
    return found
