"""Stores of random potentials that are small enough to write out every labelling, and files with tags for them."""

import itertools
import random
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.teacher.format import Teacher
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter
from tests.teacher.stores import teacher

LABELS = ("O", "B-X", "I-X")
READER = {"type": "structkd_column", "scheme": "BIO", "ill_formed": "repair", "token_indexers": {"w": {"type": "none"}}}
# Labels for words, not for spans.
PLAIN = {"label_encoding": None, "constraints": None}
PLAIN_READER = {"type": "structkd_column"}


def legal(labels: Sequence[str]) -> bool:
    return all(after != "I-X" or before != "O" for before, after in zip(["O", *labels[:-1]], labels, strict=True))


class Synthetic(NamedTuple):
    language: str
    words: List[str]
    emissions: np.ndarray  # (T, L), float32

    @property
    def key(self) -> str:
        return sentence_key(self.language, self.words)


class Enumerated(NamedTuple):
    """Every labelling of a sentence, and its score and probability in float64."""

    paths: np.ndarray  # (N, T)
    scores: np.ndarray  # (N,)

    @property
    def log_partition(self) -> float:
        most = self.scores.max()
        return float(most + np.log(np.exp(self.scores - most).sum()))

    @property
    def probabilities(self) -> np.ndarray:
        return np.exp(self.scores - self.log_partition)

    def position(self, path: Sequence[int]) -> int:
        return int(np.flatnonzero((self.paths == np.array(path)).all(axis=1))[0])

    def marginals(self) -> np.ndarray:
        """(T, L)"""
        p, labels = self.probabilities, range(len(LABELS))
        return np.array([[p[column == label].sum() for label in labels] for column in self.paths.T])

    def ranked(self) -> List[Tuple[float, Tuple[int, ...]]]:
        """Best first; of equal scores that of the lowest last label, then of the one before."""
        items = [(score, tuple(path)) for score, path in zip(self.scores.tolist(), self.paths.tolist(), strict=True)]
        return sorted(items, key=lambda item: (-item[0], item[1][::-1]))


@cache
def all_paths(words: int) -> np.ndarray:
    return np.array(list(itertools.product(range(len(LABELS)), repeat=words)))


class Corpus(NamedTuple):
    sentences: List[Synthetic]
    tables: Dict[str, torch.Tensor]
    teacher: Teacher

    def enumerated(self, sentence: Synthetic, temperature: float = 1.0) -> Enumerated:
        names = ("transitions", "start_transitions", "end_transitions")
        transitions, start, end = (self.tables[name].double().numpy() for name in names)
        paths = all_paths(len(sentence.words))
        scores = start[paths[:, 0]] + end[paths[:, -1]] + transitions[paths[:, :-1], paths[:, 1:]].sum(axis=1)
        scores = scores + sentence.emissions.astype(np.float64)[np.arange(paths.shape[1]), paths].sum(axis=1)
        return Enumerated(paths, scores / temperature)

    def labels_of(self, path: Sequence[int]) -> List[str]:
        return [self.teacher.labels[label] for label in path]

    def sampled(self, temperature: float = 1.0, seed: int = 0, legally: bool = False) -> List[List[str]]:
        """For each sentence the tags of one draw from the tempered distribution."""
        draw = random.Random(seed)
        tags = []
        for sentence in self.sentences:
            found = self.enumerated(sentence, temperature)
            weights = found.probabilities
            if legally:
                weights = weights * [legal(self.labels_of(path)) for path in found.paths]
            tags.append(self.labels_of(draw.choices(found.paths, weights.tolist())[0]))
        return tags


def random_corpus(
    number: int, seed: int = 0, scale: float = 1.0, languages: Sequence[str] = ("en",), **changes: Any
) -> Corpus:
    draw = np.random.default_rng(seed)
    description = teacher(LABELS, **changes)
    size = len(LABELS)
    factor = 0.0 if description.kind == "log_probabilities" else scale
    tables = {
        "transitions": torch.from_numpy(factor * draw.standard_normal((size, size))).float(),
        "start_transitions": torch.from_numpy(factor * draw.standard_normal(size)).float(),
        "end_transitions": torch.from_numpy(factor * draw.standard_normal(size)).float(),
    }
    sentences = []
    for i in range(number):
        words = [f"w{i}", *(f"v{draw.integers(9)}" for _ in range(draw.integers(4)))]
        emissions = scale * draw.standard_normal((len(words), size))
        sentences.append(Synthetic(languages[i % len(languages)], words, emissions.astype(np.float32)))
    return Corpus(sentences, tables, description)


def k_best_by_enumeration(corpus: Corpus, sentence: Synthetic, k: int) -> Tuple[np.ndarray, np.ndarray]:
    """Tags (T, K) and scores (K,) of the k best labellings, legal ones where the teacher says so."""
    scheme = corpus.teacher.k_best_scheme
    ranked = corpus.enumerated(sentence).ranked()
    ranked = [item for item in ranked if scheme is None or legal(corpus.labels_of(item[1]))][:k]
    tags, scores = np.zeros((len(sentence.words), k), np.int64), np.full(k, -np.inf, np.float32)
    for rank, (score, path) in enumerate(ranked):
        tags[:, rank], scores[rank] = path, score
    return tags, scores


def write(
    corpus: Corpus,
    path: Path,
    reader: Optional[Dict[str, Any]] = None,
    writer: str = "main",
    per_shard: int = 16,
    best: Optional[Dict[str, Tuple[np.ndarray, np.ndarray]]] = None,
) -> str:
    """The store of a corpus; `best` has other than its own best labellings, by key."""
    k = corpus.teacher.k_best
    records = []
    for sentence in corpus.sentences:
        table: Any = (None, None)
        if k:
            table = (best or {}).get(sentence.key) or k_best_by_enumeration(corpus, sentence, k)
        records.append(Record(sentence.key, sentence.language, sentence.words, sentence.emissions, *table))
    settings = reader or (PLAIN_READER if corpus.teacher.label_encoding is None else READER)
    with TeacherStoreWriter(str(path), corpus.teacher, corpus.tables, settings, writer) as store:
        for start in range(0, len(records), per_shard):
            store.commit(records[start : start + per_shard])
        store.finish()
    return str(path)


def write_tagged(path: Path, sentences: Sequence[Synthetic], tags: Sequence[Sequence[str]]) -> str:
    blocks = (
        "".join(f"{word} {tag}\n" for word, tag in zip(sentence.words, of_sentence, strict=True))
        for sentence, of_sentence in zip(sentences, tags, strict=True)
    )
    path.write_text("\n".join(blocks), encoding="utf-8")
    return str(path)
