"""Which implementation of the CRF computes what: one meaning, chosen by device and by what is there."""

from contextlib import contextmanager
from types import ModuleType
from typing import Iterator, Optional

import torch

from structkd_plugin.crf import cpu_kernels, torch_kernels

CHOICES = ("best", "torch", "plain")
_choice = "best"


def choose(emissions: torch.Tensor) -> Optional[ModuleType]:
    """
    The module for chains with these emissions; `None` for the plain recursions.

    On the CPU the compiled one for float32, elsewhere and without it the one in torch.
    """
    if _choice == "plain":
        return None
    if _choice == "best" and emissions.device.type == "cpu" and cpu_kernels.supports(emissions):
        return cpu_kernels
    return torch_kernels


@contextmanager
def use(choice: str) -> Iterator[None]:
    """
    Within the `with` block, all distributions that are made use another implementation: to measure or to compare.

    # Parameters

    choice : `str`
        "best" (what is used otherwise), "torch" (plain torch operations), or "plain" (the recursions that define the
        others, differentiable any number of times).

    # Raises

    `ValueError` : for another choice.
    """
    global _choice
    if choice not in CHOICES:
        raise ValueError(f"choose one of {', '.join(CHOICES)}, not {choice!r}")
    before, _choice = _choice, choice
    try:
        yield
    finally:
        _choice = before
