"""Small stores, made without a model."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.teacher.format import Teacher
from structkd_plugin.teacher.parts import Part
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter

LABELS = ("O", "B-PER", "I-PER")
# What makes a store hold the best labellings too.
WITH_K_BEST = {"k_best": 3, "k_best_scheme": "BIO"}


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


def teacher(labels: Sequence[str] = LABELS, **changes: Any) -> Teacher:
    fields = {
        "fingerprint": "f" * 64,
        "labels": tuple(labels),
        "kind": "potentials",
        "label_encoding": "BIO",
        "constraints": "decoding",
        "encoding": "float32",
        "k_best": 0,
        "k_best_scheme": None,
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


def k_best_of(sentence: Spoken, k: int, labels: Sequence[str] = LABELS, seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """
    Tags (T, K) and scores (K,), different for every sentence, word and rank, and the same label whatever its position.

    They are nobody's best labellings. The last of a single word does not exist.
    """
    words, names = sentence.words.split(), sorted(labels)
    tags = [[labels.index(names[(sum(map(ord, word)) + rank) % len(names)]) for rank in range(k)] for word in words]
    scores = np.array([ord(words[0][0]) + seed - rank / 8 for rank in range(k)], dtype=np.float32)
    if len(words) == 1:
        scores[-1] = -np.inf
    return np.array(tags), scores


def records_of(
    sentences: Sequence[Spoken], labels: Sequence[str] = LABELS, seed: int = 0, k_best: int = 0
) -> List[Record]:
    records = []
    for sentence in sentences:
        table = k_best_of(sentence, k_best, labels, seed) if k_best else (None, None)
        emissions = emissions_of(sentence, labels, seed)
        records.append(Record(sentence.key, sentence.language, sentence.words.split(), emissions, *table))
    return records


def write_store(
    path: Path,
    sentences: Sequence[Spoken] = SENTENCES,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    per_shard: int = 2,
    writer: str = "main",
    finish: bool = True,
    part: Optional[Part] = None,
    **changes: Any,
) -> Optional[TeacherStore]:
    records = records_of(sentences, labels, seed, changes.get("k_best", 0))
    with TeacherStoreWriter(
        str(path), teacher(labels, **changes), tables_of(labels, seed), {"type": "test"}, writer, part
    ) as store:
        for start in range(0, len(records), per_shard):
            store.commit(records[start : start + per_shard])
        if finish:
            store.finish()
    # Of a part alone there is no store to open.
    finished = finish and (part is None or len(list(path.glob("manifest.*"))) == part.parts)
    return TeacherStore.open(str(path)) if finished else None
