"""
What AllenNLP 2.10.1 needs to run on current libraries, beyond the versions in requirements.txt.

AllenNLP is no longer released, so that the gap is closed here, once, when the plugin is imported. Every repair says
what fails without it, and does nothing where the library does not have the problem.
"""

from typing import Any

from allennlp.common import cached_transformers

_get_tokenizer = cached_transformers.get_tokenizer


def _get_tokenizer_without_clash(model_name: str, **kwargs: Any) -> Any:
    """
    AllenNLP's cached tokenizer of `model_name`.

    AllenNLP passes `add_special_tokens` to the tokenizer's constructor, which transformers >= 4.41 refuses because a
    method has that name. AllenNLP also says it at every call that encodes, so that the constructor does not need it.
    """
    kwargs.pop("add_special_tokens", None)
    return _get_tokenizer(model_name, **kwargs)


def apply() -> None:
    """Put the repairs in place; applying them twice is the same as once."""
    cached_transformers.get_tokenizer = _get_tokenizer_without_clash
