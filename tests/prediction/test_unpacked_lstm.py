"""An LSTM that sees the padding says what AllenNLP's, which does not, says."""

import pytest
import torch
from allennlp.modules.seq2seq_encoders import GruSeq2SeqEncoder, LstmSeq2SeqEncoder

from structkd_plugin.prediction.unpacked_lstm import UnpackedLstm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("lengths", [[4, 9, 1, 9, 6], [5, 5], [1], [3, 0, 2]])
def test_as_the_encoder(bias: bool, layers: int, bidirectional: bool, lengths: list) -> None:
    torch.manual_seed(0)
    encoder = LstmSeq2SeqEncoder(6, 5, layers, bias, dropout=0.5, bidirectional=bidirectional).eval()
    for parameter in encoder.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    inputs = torch.randn(len(lengths), max(lengths), 6)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    unpacked = UnpackedLstm.of(encoder)
    assert unpacked is not None
    with torch.inference_mode():
        expected = encoder(inputs, mask)
        found = unpacked(inputs, mask)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
        assert (found[~mask] == 0).all()
        # Whatever stands at the padding.
        torch.testing.assert_close(unpacked(inputs.masked_fill(~mask.unsqueeze(2), 1e3), mask), found, atol=0, rtol=0)


def test_only_what_is_known_is_replaced() -> None:
    assert UnpackedLstm.of(None) is None
    assert UnpackedLstm.of(GruSeq2SeqEncoder(3, 2)) is None
    assert UnpackedLstm.of(LstmSeq2SeqEncoder(3, 2, stateful=True)) is None

    class Other(LstmSeq2SeqEncoder):
        """May do anything in its `forward`."""

    assert UnpackedLstm.of(Other(3, 2)) is None
    assert UnpackedLstm.of(torch.nn.LSTM(3, 2)) is None
    projecting = LstmSeq2SeqEncoder(3, 4)
    projecting._module = torch.nn.LSTM(3, 4, proj_size=2, batch_first=True)
    assert UnpackedLstm.of(projecting) is None
