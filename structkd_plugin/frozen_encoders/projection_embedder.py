"""Vectors of a frozen encoder, made smaller by a layer that is trained."""

import torch
from allennlp.modules.token_embedders.token_embedder import TokenEmbedder


@TokenEmbedder.register("structkd_projection")
class ProjectionEmbedder(TokenEmbedder):
    """
    A linear layer over vectors that are given, in place of `pass_through`.

    It needs no gradient of what it is given, and hands on what is much smaller, so that a training step with it costs a
    fraction of one in which an LSTM takes the vectors themselves.

    Registered as a `TokenEmbedder` with name "structkd_projection".

    # Parameters

    input_size : `int`
        D, the size of the vectors.
    output_size : `int`
        E, that of the result.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self._layer = torch.nn.Linear(input_size, output_size)

    def get_output_dim(self) -> int:
        """E"""
        return self._layer.out_features

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """
        # Parameters

        tokens : `torch.Tensor`
            Shape (B, T, D), float.

        # Returns

        `torch.Tensor` : shape (B, T, E).
        """
        projected: torch.Tensor = self._layer(tokens)
        return projected
