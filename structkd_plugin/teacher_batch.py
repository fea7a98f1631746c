"""The one contract between the data side (stores, loader, callback) and the model side (tagger, objectives)."""

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from typing_extensions import Protocol, runtime_checkable


class KBestLabellings(NamedTuple):
    """Of each sentence the K labellings that a teacher gives the largest scores, best first."""

    tags: torch.Tensor  # (B, K, T), int64, in [0, L) also beyond the sentence and where there are fewer than K
    scores: torch.Tensor  # (B, K), float32, nats; −inf where there are fewer than K


class TeacherPotentials(NamedTuple):
    """
    One teacher's potentials for every sentence of a batch, in the student's label order.

    Sentences of several languages share a batch, so that the tables are given per sentence. Where a
    sentence has fewer teachers than the batch has slots, its rows are 0 and so is its weight. A softmax teacher
    has log-probabilities as emissions and tables of 0. All potentials are log-space float32; −inf forbids.
    """

    emissions: torch.Tensor  # (B, T, L)
    transitions: torch.Tensor  # (B, L, L), [from, to]
    start_transitions: torch.Tensor  # (B, L)
    end_transitions: torch.Tensor  # (B, L)
    weight: torch.Tensor  # (B,), share of this teacher in the sentence's average; 0 where it has none to say
    # The best of the labellings that are legal under the label encoding, as many as the stores of all teachers in this
    # slot have; none where one of these stores has none. A sentence without a teacher has scores of −inf.
    k_best: Optional[KBestLabellings] = None
    # (B, R), float32 in [0, 1]: r is how often the most probable label of a word was right, on development data, where
    # its probability was in [r / R, (r + 1) / R); none where not all teachers of this slot are calibrated. The rows of
    # sentences without a teacher are 0.
    reliability: Optional[torch.Tensor] = None


class TeacherBatch(NamedTuple):
    """
    What the teachers say of one batch, and how much it counts.

    A named tuple of tensors and lists, because those are what AllenNLP moves between devices.
    The weights of a sentence over all `teachers` sum to 1 where it has a teacher and to 0 where it has none.
    """

    teachers: List[TeacherPotentials]
    interpolation: torch.Tensor  # (), float32 in [0, 1]: weight of the distillation term


class TeacherDescription(NamedTuple):
    """What is known of a teacher before the first batch: enough to refuse a pairing that cannot work."""

    name: str
    languages: Tuple[str, ...]
    labels: Tuple[str, ...]
    kind: str  # "potentials" (a CRF) or "log_probabilities" (a softmax tagger)
    label_encoding: Optional[str]  # how the labels write spans, such as "BIO"; none where every word has its own label
    k_best: int = 0  # how many of the best legal labellings of a sentence its store has
    calibrated: bool = False  # whether its potentials come with `reliability`
    stored: bool = True  # whether what it says was computed before the training
    # The coarser scheme of its own that its labels were converted from: only transitions tell some of them apart.
    converted_from: Optional[str] = None


@runtime_checkable
class AcceptsTeachers(Protocol):
    """
    A model that can say before the first batch whether it can learn from given teachers.

    If it has an attribute `legal_labellings`, batches have at most so many of a teacher's best legal labellings.
    """

    def check_teachers(self, teachers: Sequence[TeacherDescription]) -> None:
        """Return if the model can learn from every one of `teachers`, else raise one error that says why not."""
        ...


@runtime_checkable
class TeachesItself(AcceptsTeachers, Protocol):
    """A model a copy of which can be its teacher."""

    def describe_as_teacher(self, name: str) -> TeacherDescription:
        """What is known of it before the first batch, under the name `name`."""
        ...

    def potentials_of(self, batch: Mapping[str, Any]) -> TeacherPotentials:
        """What it says of every sentence of a batch, as a data loader gives it; every weight is 1."""
        ...
