import numpy as np
import pytest

from structkd_plugin.metrics.reliability import NUM_BINS, ReliabilityBins


def test_by_hand() -> None:
    """Bins of a half: one word at 0.4, right; 0.5 and 1 are in the upper bin, one of three right."""
    bins = ReliabilityBins(2)
    bins.add(np.array([0.4, 0.5]), np.array([True, False]))
    bins.add(np.array([1.0, 0.9]), np.array([True, False]))
    assert bins.words.tolist() == [1, 3]
    assert bins.ece == pytest.approx((1 * abs(1 - 0.4) + 3 * abs(1 / 3 - 2.4 / 3)) / 4)
    assert bins.reliability() == pytest.approx((1.0, 1 / 3))
    assert (bins.total, bins.accuracy, bins.confidence) == (4, 0.5, pytest.approx(2.8 / 4))
    assert bins.rows()[1] == {"from": 0.5, "to": 1.0, "words": 3, "probability": pytest.approx(0.8), "right": 1 / 3}


def test_against_a_loop_over_bins() -> None:
    draw = np.random.default_rng(0)
    probabilities, right = draw.random(500), draw.random(500) < 0.7
    bins = ReliabilityBins()
    for start in range(0, 500, 70):
        bins.add(probabilities[start : start + 70].astype(np.float32), right[start : start + 70])
    expected = 0.0
    for r in range(20):
        inside = (probabilities >= r / 20) & (probabilities < (r + 1) / 20)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - probabilities[inside].mean())
    assert bins.ece == pytest.approx(expected, abs=1e-6)


def test_bins_without_words_are_interpolated() -> None:
    bins = ReliabilityBins(6)
    bins.add(np.array([0.2, 0.7, 0.7]), np.array([False, True, False]))
    # Bins 1 and 4 have words, with shares 0 and 1/2.
    assert bins.reliability() == pytest.approx((0, 0, 1 / 6, 2 / 6, 1 / 2, 1 / 2))
    assert len(bins.rows()) == 2


def test_rounding_beyond_one_is_in_the_last_bin() -> None:
    bins = ReliabilityBins()
    bins.add(np.array([1.0000001, 1.0], np.float32), np.array([True, True]))
    assert bins.words.tolist() == [0] * (NUM_BINS - 1) + [2]
    assert bins.reliability() == (1.0,) * NUM_BINS


def test_merged_is_as_if_counted_together() -> None:
    first, second, both = ReliabilityBins(), ReliabilityBins(), ReliabilityBins()
    for bins, numbers in ((first, [0.3, 0.8]), (second, [0.8, 0.1])):
        bins.add(np.array(numbers), np.array([True, False]))
        both.add(np.array(numbers), np.array([True, False]))
    first.merge(second)
    assert (first.rows(), first.ece) == (both.rows(), both.ece)


def test_no_words() -> None:
    bins = ReliabilityBins()
    assert (bins.ece, bins.accuracy, bins.rows()) == (0, 0, [])
    with pytest.raises(ValueError, match="of no words"):
        bins.reliability()
