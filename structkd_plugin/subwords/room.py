"""How many subwords a transformer can be given."""

import sys
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

# Tokenizers without a limit say so by a number of this size.
_NO_LIMIT = 10**9


def room(model: torch.nn.Module, tokenizer: Any) -> int:
    """
    The most subwords that a model of Hugging Face takes at once, special tokens included.

    # Parameters

    model : `torch.nn.Module`
        With its `config`; a tensor's values are not looked at.
    tokenizer : `transformers.PreTrainedTokenizerBase`

    # Returns

    `int` : `sys.maxsize` where neither of the two has a limit.
    """
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < _NO_LIMIT else []
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - _reserved_positions(model))
    return min(limits, default=sys.maxsize)


def room_by_name(model_name: str, tokenizer: Any) -> int:
    """The same for a model that is not loaded: only its configuration is read."""
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(model_name))
    return room(model, tokenizer)


def _reserved_positions(model: torch.nn.Module) -> int:
    """How many of the positions no subword takes: where one is that of padding, they are counted from after it."""
    return max(
        (
            module.padding_idx + 1
            for name, module in model.named_modules()
            if name.endswith("position_embeddings")
            and isinstance(module, torch.nn.Embedding)
            and module.padding_idx is not None
        ),
        default=0,
    )
