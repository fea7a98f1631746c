"""SentenceAverages."""

import pytest
import torch

from structkd_plugin.metrics import SentenceAverages


def test_averages_are_weighted_over_batches():
    averages = SentenceAverages()
    averages("nll", torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    averages("nll", torch.tensor([8.0]), torch.tensor([2.0]))
    averages("objective", torch.tensor([5.0]), torch.tensor([0.5]))
    assert averages.get_metric() == {"nll": 5.0, "objective": 5.0}
    assert averages.get_metric(reset=True) == {"nll": 5.0, "objective": 5.0}
    assert averages.get_metric() == {}


def test_a_sentence_without_weight_may_have_any_value():
    averages = SentenceAverages()
    averages("nll", torch.tensor([float("inf"), float("nan"), 2.0]), torch.tensor([0.0, 0.0, 1.0]))
    averages("objective", torch.tensor([float("nan")]), torch.tensor([0.0]))
    assert averages.get_metric() == {"nll": 2.0}


def test_no_graph_is_kept():
    averages = SentenceAverages()
    values = torch.ones(2, requires_grad=True)
    averages("nll", values, torch.ones(2))
    assert averages.get_metric() == {"nll": 1.0}
    assert values.grad is None


def test_small_values_are_not_lost_in_a_long_epoch():
    averages = SentenceAverages()
    averages("nll", torch.tensor([1e8]), torch.tensor([1.0]))
    for _ in range(1000):
        averages("nll", torch.tensor([1.0]), torch.tensor([1.0]))
    assert averages.get_metric()["nll"] == pytest.approx((1e8 + 1000) / 1001, rel=1e-12)
