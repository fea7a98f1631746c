"""Small stores, made without a model."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch

from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.teacher.format import Teacher
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter

LABELS = ("O", "B-PER", "I-PER")


class Spoken(NamedTuple):
    language: str
    words: str

    @property
    def key(self) -> str:
        return sentence_key(self.language, self.words.split())


SENTENCES = (
    Spoken("en", "Ada sleeps"),
    Spoken("en", "so does Boris"),
    Spoken("en", "why"),
    Spoken("de", "Ada schläft"),
    Spoken("de", "warum nur"),
)


def teacher(labels: Sequence[str] = LABELS, **changes: Optional[str]) -> Teacher:
    fields = {
        "fingerprint": "f" * 64,
        "labels": tuple(labels),
        "kind": "potentials",
        "label_encoding": "BIO",
        "constraints": "decoding",
        "encoding": "float32",
    }
    return Teacher(**{**fields, **changes})


def emissions_of(sentence: Spoken, labels: Sequence[str] = LABELS, seed: int = 0) -> np.ndarray:
    """(T, L), different for every sentence, word and label, and the same for a label wherever it stands."""
    rows = []
    for number, word in enumerate(sentence.words.split()):
        values = [sum(map(ord, sentence.language + word + label)) % 97 + number + seed for label in labels]
        rows.append([value / 8 for value in values])
    return np.array(rows, dtype=np.float32)


def tables_of(labels: Sequence[str] = LABELS, seed: int = 0) -> Dict[str, torch.Tensor]:
    """Tables whose entries tell of which labels they are."""
    values = torch.tensor([float(sum(map(ord, label)) + seed) for label in labels])
    return {
        "transitions": values.unsqueeze(1) * 2 + values.unsqueeze(0),
        "start_transitions": values / 3,
        "end_transitions": values / 5,
    }


def records_of(sentences: Sequence[Spoken], labels: Sequence[str] = LABELS, seed: int = 0) -> List[Record]:
    return [
        Record(sentence.key, sentence.language, sentence.words.split(), emissions_of(sentence, labels, seed))
        for sentence in sentences
    ]


def write_store(
    path: Path,
    sentences: Sequence[Spoken] = SENTENCES,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    per_shard: int = 2,
    writer: str = "main",
    finish: bool = True,
    **changes: Optional[str],
) -> Optional[TeacherStore]:
    records = records_of(sentences, labels, seed)
    with TeacherStoreWriter(
        str(path), teacher(labels, **changes), tables_of(labels, seed), {"type": "test"}, writer
    ) as store:
        for start in range(0, len(records), per_shard):
            store.commit(records[start : start + per_shard])
        if finish:
            store.finish()
    return TeacherStore.open(str(path)) if finish else None
