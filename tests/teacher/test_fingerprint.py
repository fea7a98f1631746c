"""The fingerprint tells teachers apart by what they compute with, and by nothing else."""

from typing import Any, Dict

import pytest
import torch

from structkd_plugin.teacher.fingerprint import teacher_fingerprint

BASE: Dict[str, Any] = {
    "parameters": {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2), "n": torch.tensor(3)},
    "labels": ["O", "B-PER"],
    "label_encoding": "BIO",
    "constraints": "decoding",
    "tokenisation": {"tokens": {"type": "single_id"}, "lowercase": False},
}


def changed_parameters(**changes: Any) -> Dict[str, Any]:
    parameters = {**BASE["parameters"], **changes}
    return {"parameters": {name: value for name, value in parameters.items() if value is not None}}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["B-PER", "O"]},
        {"labels": ["O", "B-LOC"]},
        {"labels": ["O", "B-PER", "I-PER"]},
        {"label_encoding": None},
        {"constraints": "everywhere"},
        {"tokenisation": {"tokens": {"type": "single_id"}, "lowercase": True}},
        changed_parameters(**{"a.weight": torch.arange(6.0).reshape(3, 2)}),
        changed_parameters(**{"a.weight": torch.arange(6.0).reshape(2, 3).nextafter(torch.tensor(9.0))}),
        changed_parameters(b=torch.ones(2, dtype=torch.bfloat16)),
        changed_parameters(b=torch.ones(2, dtype=torch.float64)),
        changed_parameters(b=None),
        changed_parameters(b=None, c=torch.ones(2)),
        changed_parameters(n=torch.tensor(4)),
        changed_parameters(empty=torch.ones(0)),
    ],
    ids=str,
)
def test_what_changes_answers_changes_it(change: Dict[str, Any]) -> None:
    assert teacher_fingerprint(**{**BASE, **change}) != teacher_fingerprint(**BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": dict(reversed(list(BASE["parameters"].items())))},
        {"tokenisation": dict(reversed(list(BASE["tokenisation"].items())))},
        changed_parameters(**{"a.weight": torch.arange(6.0).reshape(2, 3).t().contiguous().t()}),
        changed_parameters(b=torch.nn.Parameter(torch.ones(2))),
    ],
    ids=["order of parameters", "order of settings", "memory layout", "parameter or tensor"],
)
def test_what_does_not_leaves_it(change: Dict[str, Any]) -> None:
    assert teacher_fingerprint(**{**BASE, **change}) == teacher_fingerprint(**BASE)


def test_it_stays_the_same_for_ever() -> None:
    """Stores on people's disks carry it."""
    assert teacher_fingerprint(**BASE) == "bd515bcadd890789d59ce9326d851748f3928088c0f64c4e89d7b89b8acb42a5"
