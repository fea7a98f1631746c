"""Which implementation of the CRF computes what: one meaning, chosen by device and by what is there."""

from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Iterator, Optional

import torch

from structkd_plugin.crf import cpu_kernels, torch_kernels

CHOICES = ("best", "torch", "plain")
_choice = "best"


def choose(emissions: torch.Tensor) -> Optional[ModuleType]:
    """
    The module for chains with these emissions; `None` for the plain recursions.

    For float32 the one that was compiled for the CPU, and Triton's on a GPU; elsewhere, and without them, the one in
    torch.
    """
    if _choice == "plain":
        return None
    if _choice == "best":
        if emissions.device.type == "cpu" and cpu_kernels.supports(emissions):
            return cpu_kernels
        if emissions.device.type == "cuda" and emissions.dtype == torch.float32:
            kernels = _triton_kernels()
            if kernels is not None and emissions.shape[2] <= kernels.MOST_LABELS:
                return kernels
    return torch_kernels


@lru_cache(maxsize=1)
def _triton_kernels() -> Optional[ModuleType]:
    """The kernels in Triton, which not every torch for a GPU comes with."""
    try:
        from structkd_plugin.crf import triton_kernels
    except ImportError:
        return None
    return triton_kernels


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
