"""Diagrams of a calibration: bars as high as the shares, where the bins are."""

import re
from typing import Dict, List, Tuple
from xml.etree import ElementTree

import numpy as np
import pytest

from structkd_plugin.metrics.reliability import ReliabilityBins
from structkd_plugin.presentation.drawing import Drawing
from structkd_plugin.presentation.reliability import confidence_histogram, reliability_diagram

SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def rows() -> List[Dict[str, float]]:
    draw = np.random.default_rng(3)
    probabilities = draw.uniform(0.2, 1, 3_000)
    bins = ReliabilityBins()
    bins.add(probabilities, draw.uniform(size=3_000) < probabilities**2)
    return bins.rows()


def boxes(drawn: Drawing, key: str) -> List[Tuple[float, float, float, float]]:
    """Left, right, top and bottom of each bar."""
    found = []
    for group in ElementTree.fromstring(drawn.inline).iter(f"{SPACE}g"):
        if (group.get("id") or "").startswith(f"{key}-our-bar-"):
            path = group.find(f"{SPACE}path")
            assert path is not None
            numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))]
            found.append((min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])))
    return found


def test_bars_are_as_high_as_the_share_that_is_right(rows: List[Dict[str, float]]) -> None:
    found = boxes(reliability_diagram(rows, "k"), "k")
    assert len(found) == len(rows)
    floor = found[0][3]
    heights = [floor - top for _, _, top, _ in found]
    one = heights[-1] / rows[-1]["right"]
    assert heights == pytest.approx([one * row["right"] for row in rows], abs=1e-3)
    middles = [(left + right) / 2 for left, right, _, _ in found]
    assert np.diff(middles) == pytest.approx([(middles[-1] - middles[0]) / (len(rows) - 1)] * (len(rows) - 1), abs=1e-3)
    # The axes are square: a bin is as wide as its share of the axis is high.
    assert middles[1] - middles[0] == pytest.approx(one / 20, rel=1e-3)


def test_the_histogram_is_logarithmic(rows: List[Dict[str, float]]) -> None:
    found = boxes(confidence_histogram(rows, "k"), "k")
    heights = np.array([bottom - top for _, _, top, bottom in found])
    # A bar begins at half a word.
    assert heights / heights[0] == pytest.approx(
        [np.log(2 * row["words"]) / np.log(2 * rows[0]["words"]) for row in rows], rel=1e-4
    )


def test_what_is_tempered_is_a_line(rows: List[Dict[str, float]]) -> None:
    assert reliability_diagram(rows, "k", tempered=rows).inline.count("<use") > reliability_diagram(
        rows, "k"
    ).inline.count("<use")


def test_those_who_do_not_see_it_are_told(rows: List[Dict[str, float]]) -> None:
    alt = reliability_diagram(rows, "k", title="Of a student", of="entities").alt
    right = sum(row["words"] * row["right"] for row in rows) / 3_000
    assert alt.startswith("Of a student: 3,000 entities, given a probability of ")
    assert f"of which {100 * right:.2f} % are right" in alt


def test_nothing_can_be_drawn_too() -> None:
    assert "no words" in reliability_diagram([], "k").alt
    assert "no words" in confidence_histogram([], "k").alt
