"""How large a trained model is."""

import os
from typing import Any, Dict, Optional, Set

import torch

# In the order in which they are looked for; all hold the parameters that were kept.
_WEIGHTS = ("best.th", "weights.th")
_ARCHIVE = "model.tar.gz"


def parameter_count(folder: str) -> Optional[int]:
    """
    How many numbers were learnt, by the weights in a run's folder; one that two parts share counts once.

    # Returns

    `int` : none where there are no weights that can be read.
    """
    for name in _WEIGHTS:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        try:
            # Tensors alone, and none of their numbers is read.
            state: Dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return _count(state)
        except Exception:
            # A file that is cut, or holds anything else, raises what it likes.
            return None
    return None


def _count(state: Dict[str, Any]) -> int:
    seen: Set[int] = set()
    total = 0
    for value in state.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
            if value.data_ptr() not in seen:
                total += value.numel()
            seen.add(value.data_ptr())
    return total


def archive_bytes(folder: str) -> Optional[int]:
    """The size of the archive in a run's folder; none where there is none."""
    path = os.path.join(folder, _ARCHIVE)
    return os.path.getsize(path) if os.path.isfile(path) else None
