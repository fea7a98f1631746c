"""The layer that owns the tables: stock weights, and constraints where they are asked for."""

import copy

import allennlp_models.tagging  # noqa: F401 (registers crf_tagger)
import pytest
import torch
from allennlp.common import Params
from allennlp.data import Vocabulary
from allennlp.models import Model, archive_model, load_archive
from allennlp.modules import ConditionalRandomField
from allennlp.modules.conditional_random_field import allowed_transitions

from structkd_plugin.crf import LinearChainCRF, LinearChainCRFLayer, chain_constraints

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


def test_weights_of_a_stock_archive_load_unchanged(tmp_path):
    """An archive of allennlp-models' crf_tagger, as `allennlp train` leaves it."""
    vocab = Vocabulary(tokens_to_add={"tokens": ["a", "b"], "labels": LABELS})
    config = {
        "dataset_reader": {"type": "sequence_tagging"},
        "model": {
            "type": "crf_tagger",
            "text_field_embedder": {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 4}}},
            "encoder": {"type": "pass_through", "input_dim": 4},
            "label_encoding": "BIO",
        },
    }
    torch.manual_seed(0)
    model = Model.from_params(Params(copy.deepcopy(config["model"])), vocab=vocab)
    Params(config).to_file(str(tmp_path / "config.json"))
    vocab.save_to_files(str(tmp_path / "vocabulary"))
    torch.save(model.state_dict(), tmp_path / "best.th")
    archive_model(str(tmp_path), weights="best.th")
    stock = load_archive(str(tmp_path / "model.tar.gz")).model
    prefix = "crf."
    weights = {name[len(prefix) :]: value for name, value in stock.state_dict().items() if name.startswith(prefix)}
    ours = LinearChainCRFLayer(5, chain_constraints(LABELS, "BIO"))
    ours.load_state_dict(weights)
    emissions, tags = torch.randn(3, 5, 5), torch.randint(5, (3, 5))
    mask = torch.ones(3, 5, dtype=torch.bool)
    torch.testing.assert_close(ours(emissions, mask).log_prob(tags).sum(), stock.crf(emissions, tags, mask))
    best = [path for path, _ in stock.crf.viterbi_tags(emissions, mask)]
    assert ours(emissions, mask, decoding=True).argmax.tolist() == best


@pytest.mark.parametrize("constraints_in", ["decoding", "everywhere"])
def test_tables_are_those_of_the_distribution_that_training_sees(constraints_in):
    layer = LinearChainCRFLayer(5, chain_constraints(LABELS, "BIO"), constraints_in)
    emissions = torch.randn(2, 4, 5)
    again = LinearChainCRF(emissions, *layer.tables())
    torch.testing.assert_close(again.log_partition, layer(emissions).log_partition)
    assert not any(table.requires_grad for table in layer.tables())


@pytest.mark.parametrize("learn_transitions", [True, False], ids=["learned", "none"])
def test_constrained_tables_are_where_the_layer_is(learn_transitions):
    layer = LinearChainCRFLayer(5, chain_constraints(LABELS, "BIO"), "everywhere", learn_transitions)
    assert {table.device.type for table in layer.to("meta").tables()} == {"meta"}


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
