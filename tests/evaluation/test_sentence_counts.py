"""Metrics from sums of counts."""

import numpy as np
import pytest
from seqeval.metrics import f1_score

from structkd_plugin.evaluation.sentence_counts import metric_of


def test_f1_is_that_of_seqeval() -> None:
    gold = [["B-PER", "I-PER", "O"], ["O", "B-LOC", "O"]]
    predicted = [["B-PER", "I-PER", "B-LOC"], ["O", "O", "O"]]
    # right, predicted, gold of each sentence
    counts = np.array([[1, 2, 1], [0, 0, 1]])
    assert metric_of("f1", counts.sum(0)) == pytest.approx(f1_score(gold, predicted))


def test_many_samples_at_once() -> None:
    totals = np.array([[[3, 4], [0, 0]], [[4, 4], [1, 4]]])
    np.testing.assert_array_equal(metric_of("accuracy", totals), [[0.75, 0], [1, 0.25]])
