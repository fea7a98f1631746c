"""The records of a store as distributions over labellings."""

from itertools import islice
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, TypeVar

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF, chain_constraints
from structkd_plugin.teacher.format import POTENTIALS, Teacher
from structkd_plugin.teacher.store import StoredRecord, Tables

_Item = TypeVar("_Item")

# Sentences that are sorted by length together.
_WINDOW = 2048


class TeacherChains:
    """
    Makes of records the distributions that a training sees, and those that decoding is done with.

    # Parameters

    teacher : `Teacher`
        Who the records are from.
    tables : `Tables`
        Its tables.
    dtype : `torch.dtype`, optional (default = `torch.float32`)
        What is computed in.

    # Raises

    `ConfigurationError` : for labels that are not of the teacher's own scheme.
    """

    def __init__(self, teacher: Teacher, tables: Tables, dtype: torch.dtype = torch.float32) -> None:
        self.labels = teacher.labels
        self.scheme = teacher.label_encoding
        # A teacher that does not hold its labels to their scheme decodes without.
        self.decodes_legally = teacher.label_encoding is not None and teacher.constraints is not None
        self._dtype = dtype
        self._tables = [table.to(dtype) for table in tables]
        # A softmax tagger, whose words are independent.
        self._has_tables = teacher.kind == POTENTIALS
        self._barriers: Optional[List[torch.Tensor]] = None
        if teacher.label_encoding is not None:
            try:
                allowed = chain_constraints(teacher.labels, teacher.label_encoding)
            except ValueError as error:
                raise ConfigurationError(f"the labels of the store are not of its label encoding: {error}") from None
            self._barriers = [torch.zeros(table.shape).masked_fill(~table, -float("inf")) for table in allowed]

    def stored(self, records: Sequence[StoredRecord]) -> LinearChainCRF:
        """The distributions as the store has them, one for each record: what objectives compare a student with."""
        rows = [torch.from_numpy(np.array(record.emissions)).to(self._dtype) for record in records]
        # (B, T, L)
        emissions = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        # (B, T)
        mask = torch.arange(emissions.shape[1]) < lengths.unsqueeze(1)
        transitions, start, end = self._tables if self._has_tables else (None, None, None)
        return LinearChainCRF(emissions, transitions, start, end, mask)

    def legal(self, stored: LinearChainCRF) -> LinearChainCRF:
        """`stored` given that the labelling is well-formed in the label encoding; itself without one."""
        return stored if self._barriers is None else stored.forbid(*self._barriers)

    def decoding(self, stored: LinearChainCRF) -> LinearChainCRF:
        """`stored` under the constraint that the teacher decodes with."""
        return self.legal(stored) if self.decodes_legally else stored


def in_batches(items: Iterable[_Item], length: Callable[[_Item], int], size: int) -> Iterator[List[_Item]]:
    """
    `items` in batches of at most `size`, those of similar `length` together; the same for the same items.

    Holds a window of items in memory, never all of them.
    """
    stream = iter(items)
    while True:
        window = sorted(islice(stream, max(_WINDOW, size)), key=length)
        if not window:
            return
        for start in range(0, len(window), size):
            yield window[start : start + size]
