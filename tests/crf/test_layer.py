"""The layer that owns the tables: stock weights, and constraints where they are asked for."""

import pytest
import torch
from allennlp.modules import ConditionalRandomField
from allennlp.modules.conditional_random_field import allowed_transitions

from structkd_plugin.crf import LinearChainCRFLayer, chain_constraints

LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


@pytest.mark.parametrize("with_ends", [True, False], ids=["start-end", "no-start-end"])
def test_weights_of_a_stock_crf_load_unchanged(with_ends):
    torch.manual_seed(0)
    stock = ConditionalRandomField(
        5, allowed_transitions("BIO", dict(enumerate(LABELS))), include_start_end_transitions=with_ends
    )
    ours = LinearChainCRFLayer(5, chain_constraints(LABELS, "BIO"))
    ours.load_state_dict(stock.state_dict())
    emissions = torch.randn(6, 9, 5)
    mask = torch.arange(9).unsqueeze(0) < torch.tensor([9, 1, 4, 7, 2, 9]).unsqueeze(1)
    tags = torch.randint(5, (6, 9))
    log_likelihood = ours(emissions, mask).log_prob(tags).sum()
    torch.testing.assert_close(log_likelihood, stock(emissions, tags, mask))
    decoded = ours(emissions, mask, decoding=True).argmax
    for b, (best, _score) in enumerate(stock.viterbi_tags(emissions, mask)):
        assert decoded[b][mask[b]].tolist() == best


def test_weights_of_a_stock_tagger_load_inside_a_module():
    stock = torch.nn.ModuleDict({"crf": ConditionalRandomField(3)})
    ours = torch.nn.ModuleDict({"crf": LinearChainCRFLayer(3)})
    ours.load_state_dict(stock.state_dict())
    assert torch.equal(ours["crf"].transitions, stock["crf"].transitions)


def test_constraints_hold_where_they_are_asked_for():
    torch.manual_seed(1)
    emissions = torch.randn(3, 6, 5)
    constraints = chain_constraints(LABELS, "BIO")
    decoding = LinearChainCRFLayer(5, constraints, "decoding")
    everywhere = LinearChainCRFLayer(5, constraints, "everywhere")
    everywhere.load_state_dict(decoding.state_dict())
    illegal = torch.tensor([[0, 2, 2, 0, 0, 0]] * 3)
    assert (decoding(emissions).log_prob(illegal) > -float("inf")).all()
    assert (decoding(emissions, decoding=True).log_prob(illegal) == -float("inf")).all()
    assert (everywhere(emissions).log_prob(illegal) == -float("inf")).all()
    # The mass that training gives to illegal taggings is what "everywhere" takes away.
    assert (decoding(emissions).log_partition > everywhere(emissions).log_partition).all()
    torch.testing.assert_close(everywhere(emissions).log_partition, decoding(emissions, decoding=True).log_partition)


def test_without_transitions_there_are_no_parameters():
    layer = LinearChainCRFLayer(5, chain_constraints(LABELS, "BIO"), learn_transitions=False)
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    emissions = torch.randn(2, 4, 5)
    torch.testing.assert_close(layer(emissions).marginals, torch.softmax(emissions, 2))
    assert layer(emissions, decoding=True).log_prob(torch.full((2, 4), 2)).tolist() == [-float("inf")] * 2


def test_an_unknown_place_for_constraints_is_refused():
    with pytest.raises(ValueError, match="constraints must be in one of"):
        LinearChainCRFLayer(3, constraints_in="sometimes")
