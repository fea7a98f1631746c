"""AllenNLP's encoder `lstm` when nothing is learnt, on the CPU: the same sums in less time."""

from typing import Any, List, Optional

import torch
from allennlp.modules.seq2seq_encoders import LstmSeq2SeqEncoder


class UnpackedLstm:
    """
    An LSTM over padded batches as they are.

    AllenNLP packs the words of a batch, so that the LSTM sees no padding; torch then goes from word to word with small
    products of matrices, and cannot use oneDNN. Here the LSTM goes over the padding too: behind the words of a
    sentence, where it changes nothing that comes before. What reads from right to left gets each sentence reversed.
    Sums are the same; their order, and so the last digits, may be another.

    # Parameters

    lstm : `torch.nn.LSTM`
        With `batch_first`, without projections; its dropout is left out.
    """

    def __init__(self, lstm: torch.nn.LSTM) -> None:
        self._lstm = lstm

    @classmethod
    def of(cls, encoder: Any) -> Optional["UnpackedLstm"]:
        """What gives the same as a model's encoder, on the CPU; `None` if there is no such thing."""
        if type(encoder) is not LstmSeq2SeqEncoder or encoder.stateful:
            return None
        lstm = encoder._module
        if type(lstm) is not torch.nn.LSTM or not lstm.batch_first or lstm.proj_size:
            return None
        assert isinstance(lstm, torch.nn.LSTM)
        return cls(lstm)

    def __call__(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        What the encoder says of words.

        # Parameters

        inputs : `torch.Tensor`
            Shape (B, T, D).
        mask : `torch.Tensor`
            Shape (B, T), boolean: words before padding.

        # Returns

        `torch.Tensor` : shape (B, T, H), or (B, T, 2 H) in two directions; 0 at padding.
        """
        # (B, 1) and (B, T)
        lengths = mask.sum(dim=1, keepdim=True)
        place = torch.arange(inputs.shape[1]).unsqueeze(0)
        inside = place < lengths
        # (B, T): each sentence from its last word to its first
        backwards = torch.where(inside, lengths - 1 - place, place)
        for layer in range(self._lstm.num_layers):
            found = self._run(inputs, f"l{layer}")
            if self._lstm.bidirectional:
                reverse = _picked(self._run(_picked(inputs, backwards), f"l{layer}_reverse"), backwards)
                found = torch.cat([found, reverse], dim=2)
            inputs = found
        return inputs.masked_fill(~inside.unsqueeze(2), 0.0)

    def _run(self, inputs: torch.Tensor, name: str) -> torch.Tensor:
        """One layer in one direction."""
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self._lstm.bias else [])]
        weights: List[torch.Tensor] = [getattr(self._lstm, f"{kind}_{name}") for kind in kinds]
        nothing = inputs.new_zeros((1, len(inputs), self._lstm.hidden_size))
        return torch.lstm(inputs, [nothing, nothing], weights, self._lstm.bias, 1, 0.0, False, False, True)[0]


def _picked(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """For each sentence of `rows` (B, T, D) those of its rows that `places` (B, T) tells."""
    return rows[torch.arange(len(rows)).unsqueeze(1), places]
