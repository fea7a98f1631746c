"""Several teachers as one."""

import math
from typing import Dict, List, Optional, Sequence

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.teacher.fingerprint import teacher_fingerprint
from structkd_plugin.teacher.format import LOG_PROBABILITIES, POTENTIALS
from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher


@CapturedTeacher.register("ensemble")
class EnsembleTeacher(CapturedTeacher):
    """
    The log-linear mixture of several teachers: `{"type": "ensemble", "members": [...], "weights": [...]}`.

    Its potentials are the weighted sum of theirs, so that it is one chain again, p(y) ∝ Πᵢ pᵢ(y)^wᵢ, with one store:
    likely is what all members find likely, and what one forbids is forbidden. The callback structkd_teacher, given one
    store of each instead, averages the objectives: for cross-entropies that is the objective of the arithmetic mixture
    Σᵢ wᵢ pᵢ(y), where likely is what any of them finds likely, and which is no chain.

    Members may be of different kinds. With one that gives potentials the ensemble gives potentials; of members that all
    give log-probabilities it gives log-probabilities, normalised again for each word.

    # Parameters

    members : `List[CapturedTeacher]`
        Teachers with the same set of labels, in any order, and the same label encoding. The ensemble has the labels in
        the order of the first, and reads files by the first reader of this plugin that one of them has.
    weights : `List[float]`, optional (default = the same for all)
        A number above 0 for each member; they are scaled to the sum 1.

    # Raises

    `ConfigurationError` : for members that do not fit each other, and for weights that are none.
    """

    def __init__(self, members: List[CapturedTeacher], weights: Optional[List[float]] = None) -> None:
        if not members:
            raise ConfigurationError("an ensemble needs members")
        weights = [1.0] * len(members) if weights is None else weights
        if len(weights) != len(members) or not all(0 < weight < math.inf for weight in weights):
            raise ConfigurationError(
                f"an ensemble needs a finite weight above 0 for each of its {len(members)} members, not {weights}"
            )
        first = members[0]
        for number, member in enumerate(members[1:], 2):
            lacks, besides = set(first.labels) - set(member.labels), set(member.labels) - set(first.labels)
            if lacks or besides:
                raise ConfigurationError(
                    f"the members of an ensemble need the same labels: member {number} lacks "
                    f"{sorted(lacks) or 'none'} of the first's and has besides {sorted(besides) or 'none'}"
                )
            if member.label_encoding != first.label_encoding:
                raise ConfigurationError(
                    f"the members of an ensemble need the same label encoding: that of member {number} is "
                    f"{member.label_encoding}, the first's is {first.label_encoding}"
                )
        # What any of them forbids while training it forbids for the sum.
        constraints = {member.constraints for member in members}
        readers = [member for member in members if isinstance(member._reader, ShardedReader)]
        super().__init__(
            first.labels,
            POTENTIALS if any(member.kind == POTENTIALS for member in members) else LOG_PROBABILITIES,
            first.label_encoding,
            next((name for name in ("everywhere", "decoding") if name in constraints), None),
            readers[0].reader if readers else None,
            readers[0].reader_settings if readers else None,
        )
        self.members = members
        self.weights = [weight / sum(weights) for weight in weights]
        # For each member (L,): where the first's labels are among its own.
        self._columns = [np.array([member.labels.index(label) for label in self.labels]) for member in members]

    @property
    def device(self) -> torch.device:
        """Where the first member computes."""
        return self.members[0].device

    def eval(self) -> None:
        """Put all members into evaluation mode."""
        for member in self.members:
            member.eval()

    def fingerprint(self) -> str:
        """Hash of the members' fingerprints and their weights, in their order."""
        members = [[member.fingerprint(), weight] for member, weight in zip(self.members, self.weights, strict=True)]
        return teacher_fingerprint({}, self.labels, self.label_encoding, self.constraints, {"ensemble": members})

    def tables(self) -> Dict[str, torch.Tensor]:
        """The weighted sums of the members' tables."""
        totals: Dict[str, torch.Tensor] = {}
        for member, weight, columns in zip(self.members, self.weights, self._columns, strict=True):
            for name, table in member.tables().items():
                aligned = weight * (table[columns][:, columns] if table.dim() == 2 else table[columns])
                totals[name] = totals[name] + aligned if name in totals else aligned
        return totals

    def emissions(self, sentences: Sequence[Sentence]) -> List[np.ndarray]:
        """The weighted sums of the members' emissions; float32, (T, L) each."""
        totals = [np.zeros((len(sentence.words), len(self.labels)), dtype=np.float32) for sentence in sentences]
        for member, weight, columns in zip(self.members, self.weights, self._columns, strict=True):
            for total, rows in zip(totals, member.emissions(sentences), strict=True):
                total += np.float32(weight) * rows[:, columns]
        if self.kind == POTENTIALS:
            return totals
        return [torch.from_numpy(total).log_softmax(dim=1).numpy() for total in totals]
