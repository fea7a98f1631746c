"""Which teacher it is, told from what it computes with."""

import hashlib
import json
from typing import Any, Dict, Mapping, Optional, Sequence

import torch


def teacher_fingerprint(
    parameters: Mapping[str, torch.Tensor],
    labels: Sequence[str],
    label_encoding: Optional[str],
    constraints: Optional[str],
    tokenisation: Dict[str, Any],
) -> str:
    """
    A hash that changes when the teacher's answers may, and not when its archive is packed or moved.

    # Parameters

    parameters : `Mapping[str, torch.Tensor]`
        The state dictionary: parameters and persistent buffers by name, on any device.
    labels : `Sequence[str]`
        The L labels in index order.
    label_encoding : `str`, optional
        Scheme of the labels, or none.
    constraints : `str`, optional
        Where the labels are held to the scheme, or none.
    tokenisation : `Dict[str, Any]`
        How words become numbers: settings of tokenizer and indexers, and the vocabulary. As JSON can write it.

    # Returns

    `str` : SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        # With lengths no two different lists of parts can run together.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    settings = {
        "labels": list(labels),
        "label_encoding": label_encoding,
        "constraints": constraints,
        "tokenisation": tokenisation,
    }
    add(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())
    for name in sorted(parameters):
        tensor = parameters[name].detach().cpu().contiguous()
        add(name.encode())
        add(str(tensor.dtype).encode())
        add(str(tuple(tensor.shape)).encode())
        # As bytes: numpy has no bfloat16.
        add(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
