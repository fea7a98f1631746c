"""The map of confused labels."""

import re
from collections import Counter
from itertools import product
from typing import Counter as CounterType
from typing import Tuple
from xml.etree import ElementTree

import numpy as np
import pytest

from structkd_plugin.presentation.confusion import confusion_map, confusion_table, most_confused

SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pairs() -> CounterType[Tuple[str, str]]:
    draw = np.random.default_rng(1)
    return Counter({pair: int(draw.integers(0, 9)) for pair in product("ABCDEF", repeat=2)})


def test_the_labels_with_most_words_are_shown(pairs: CounterType[Tuple[str, str]]) -> None:
    table = confusion_table(pairs, most=3)
    words = {gold: sum(number for (one, _), number in pairs.items() if one == gold) for gold in "ABCDEF"}
    assert dict(table.words_of) == words
    assert set(table.labels) == set(sorted("ABCDEF", key=lambda label: -words[label])[:3])
    assert table.left_out == 3
    assert confusion_table(pairs).labels == tuple("ABCDEF")


def test_the_most_confused_pairs(pairs: CounterType[Tuple[str, str]]) -> None:
    found = most_confused(pairs, 5)
    everything = sorted((words for (gold, guess), words in pairs.items() if gold != guess), reverse=True)
    assert [words for _, _, words in found] == everything[:5]
    assert all(pairs[gold, guess] == words and gold != guess for gold, guess, words in found)
    assert most_confused({("A", "A"): 3, ("A", "B"): 0}, 5) == []


def test_a_cell_has_its_share_of_the_row() -> None:
    drawn = confusion_map({("A", "A"): 3, ("A", "B"): 1, ("B", "B"): 5, ("O", "A"): 2}, "k", heading="x<y")
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(drawn.inline).iter(f"{SPACE}text")]
    assert sorted(text for text in texts if text.isdigit()) == ["100", "100", "25", "75"]
    assert "x<y" in texts
    assert "O as A 2, A as B 1" in drawn.alt


def test_colours_tell_right_from_wrong_and_are_stronger_for_larger_shares() -> None:
    drawn = confusion_map({("A", "A"): 6, ("A", "B"): 3, ("A", "C"): 1}, "k", heading="x")
    blue = [float(found) for found in re.findall(r"fill: #0072b2; fill-opacity: ([0-9.]+)", drawn.inline)]
    orange = [float(found) for found in re.findall(r"fill: #d55e00; fill-opacity: ([0-9.]+)", drawn.inline)]
    if not blue:
        blue = [float(found) for found in re.findall(r"fill: #0072b2; opacity: ([0-9.]+)", drawn.inline)]
        orange = [float(found) for found in re.findall(r"fill: #d55e00; opacity: ([0-9.]+)", drawn.inline)]
    assert len(blue) == 1
    assert len(orange) == 2
    assert blue[0] > max(orange) > min(orange) > 0


def test_the_same_bytes_again(pairs: CounterType[Tuple[str, str]]) -> None:
    assert confusion_map(pairs, "k", heading="x") == confusion_map(pairs, "k", heading="x")
