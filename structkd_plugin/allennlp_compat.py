"""
What AllenNLP 2.10.1 needs to run on current libraries, beyond the versions in requirements.txt.

AllenNLP is no longer released, so that the gap is closed here, once, when the plugin is imported. Every repair says
what fails without it, and does nothing where the library does not have the problem.
"""

import secrets
from typing import Any

from allennlp.common import cached_transformers
from allennlp.training.callbacks.wandb import WandBCallback

_get_tokenizer = cached_transformers.get_tokenizer
_start_wandb = WandBCallback.on_start


def _get_tokenizer_without_clash(model_name: str, **kwargs: Any) -> Any:
    """
    AllenNLP's cached tokenizer of `model_name`.

    AllenNLP passes `add_special_tokens` to the tokenizer's constructor, which transformers >= 4.41 refuses because a
    method has that name. AllenNLP also says it at every call that encodes, so that the constructor does not need it.
    """
    kwargs.pop("add_special_tokens", None)
    return _get_tokenizer(model_name, **kwargs)


def _start_wandb_under_a_name(self: WandBCallback, *arguments: Any, **options: Any) -> None:
    """
    AllenNLP's `on_start` of the callback `wandb`.

    It asks wandb for the name of a new run by a function that wandb no longer has.
    """
    if self._run_id is None:
        self._run_id = secrets.token_hex(4)
    _start_wandb(self, *arguments, **options)


def apply() -> None:
    """Put the repairs in place; applying them twice is the same as once."""
    cached_transformers.get_tokenizer = _get_tokenizer_without_clash
    WandBCallback.on_start = _start_wandb_under_a_name  # type: ignore[method-assign]
