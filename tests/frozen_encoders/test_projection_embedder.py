"""A trained layer over vectors that are given."""

import torch
from allennlp.common import Params
from allennlp.modules.token_embedders.token_embedder import TokenEmbedder

from structkd_plugin.frozen_encoders import ProjectionEmbedder


def test_it_is_a_linear_layer():
    torch.manual_seed(0)
    embedder = TokenEmbedder.from_params(Params({"type": "structkd_projection", "input_size": 5, "output_size": 3}))
    assert isinstance(embedder, ProjectionEmbedder)
    assert embedder.get_output_dim() == 3
    vectors = torch.randn(2, 4, 5)
    parameters = dict(embedder.named_parameters())
    expected = vectors @ parameters["_layer.weight"].T + parameters["_layer.bias"]
    torch.testing.assert_close(embedder(vectors), expected)


def test_given_vectors_need_no_gradient():
    embedder = ProjectionEmbedder(5, 3)
    vectors = torch.randn(2, 4, 5)
    embedder(vectors).sum().backward()
    assert vectors.grad is None
    assert all(parameter.grad is not None for parameter in embedder.parameters())
