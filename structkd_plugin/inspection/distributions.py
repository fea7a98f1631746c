"""What a teacher's distributions are like, without gold tags: sharpness, well-formedness, its best labellings."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, Iterable, Optional, Sequence, Tuple

import numpy as np
import torch

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.inspection.chains import TeacherChains
from structkd_plugin.teacher.format import Teacher
from structkd_plugin.teacher.store import StoredRecord

# The K whose labellings' share of the probability is reported.
MASS_OF = (1, 2, 5, 10)
# Two computations of a score in float32 may differ by so much, in nats and relative to the score.
_ABSOLUTE, _RELATIVE = 1e-3, 1e-5


@dataclass
class StoredLabellings:
    """Whether the K best labellings in the store are those of its potentials."""

    k: int
    sentences: int = 0  # checked
    reordered: int = 0  # other labellings with the same scores
    wrong: int = 0
    first_wrong: Optional[str] = None  # key


@dataclass
class DistributionStatistics:
    """
    Sums over sentences, and the averages made of them; filled by `add`.

    # Parameters

    stored_labellings : `StoredLabellings`, optional
        Where the store has the K best labellings.
    """

    stored_labellings: Optional[StoredLabellings] = None
    sentences: int = 0
    words: int = 0
    impossible: int = 0  # sentences no labelling of which has a probability
    first_impossible: Optional[str] = None  # key
    _entropy: float = 0.0
    _legal_mass: float = 0.0
    _mass: Dict[int, float] = field(default_factory=dict)
    _same_words: Counter[int] = field(default_factory=Counter)
    _compared_words: Counter[int] = field(default_factory=Counter)

    @property
    def possible(self) -> int:
        """Sentences that averages are of."""
        return self.sentences - self.impossible

    @property
    def entropy_per_word(self) -> float:
        """Entropy of the stored distributions, Σ entropy of a sentence / Σ its words, nats."""
        return self._entropy / max(self.words, 1)

    @property
    def legal_mass(self) -> float:
        """The mean over sentences of the probability that a labelling drawn from the stored distribution is legal."""
        return self._legal_mass / max(self.possible, 1)

    @property
    def k_best_mass(self) -> Dict[int, float]:
        """For each K the mean over sentences of the probability of the K best, in the distribution decoded with."""
        return {k: self._mass.get(k, 0.0) / max(self.possible, 1) for k in MASS_OF}

    @property
    def agreement(self) -> Dict[int, float]:
        """For each k > 1 the share of words with the same label in the best and the k-th best labelling."""
        return {k: self._same_words[k] / n for k, n in sorted(self._compared_words.items())}

    def add(
        self, teacher: Teacher, chains: TeacherChains, keys: Sequence[str], records: Sequence[StoredRecord]
    ) -> None:
        """
        Count sentences, computed as one batch.

        # Parameters

        teacher : `Teacher`
        chains : `TeacherChains`
        keys : `Sequence[str]`
            Shape (B,).
        records : `Sequence[StoredRecord]`
            Shape (B,).
        """
        lengths = np.array([len(record.emissions) for record in records])
        stored = chains.stored(records)
        legal, decoding = chains.legal(stored), chains.decoding(stored)
        k = max(MASS_OF)
        if self.stored_labellings is not None:
            k = max(k, self.stored_labellings.k)
        # (B, K, T), (B, K)
        tags, scores = (array.numpy() for array in decoding.k_best(k))
        # (B,)
        log_z, legal_log_z, decoding_log_z = (crf.log_partition.double().numpy() for crf in (stored, legal, decoding))
        possible = decoding_log_z > -np.inf
        self.sentences += len(records)
        for row in np.flatnonzero(~possible).tolist():
            self.impossible += 1
            self.first_impossible = self.first_impossible or keys[row]
        self.words += int(lengths[possible].sum())
        self._entropy += float(stored.entropy.double().numpy()[possible].sum())
        # Z of fewer labellings is never larger, whatever rounding says.
        self._legal_mass += float(np.exp(np.minimum(legal_log_z[possible] - log_z[possible], 0.0)).sum())
        # (B, K)
        mass = np.exp(scores[possible] - decoding_log_z[possible, None]).cumsum(axis=1)
        for best in MASS_OF:
            self._mass[best] = self._mass.get(best, 0.0) + float(np.minimum(mass[:, best - 1], 1.0).sum())
        self._compare(tags, scores, lengths, possible)
        if self.stored_labellings is not None:
            self._check(self.stored_labellings, teacher, keys, records, stored, chains, (tags, scores))

    def _compare(self, tags: np.ndarray, scores: np.ndarray, lengths: np.ndarray, possible: np.ndarray) -> None:
        # (B, T)
        inside = np.arange(tags.shape[2]) < lengths[:, None]
        for k in range(2, max(MASS_OF) + 1):
            # (B,): there is a labelling number k
            there = possible & (scores[:, k - 1] > -np.inf)
            if there.any():
                same = (tags[:, 0] == tags[:, k - 1]) & inside
                self._same_words[k] += int(same[there].sum())
                self._compared_words[k] += int(lengths[there].sum())

    @staticmethod
    def _check(
        found: StoredLabellings,
        teacher: Teacher,
        keys: Sequence[str],
        records: Sequence[StoredRecord],
        stored: LinearChainCRF,
        chains: TeacherChains,
        computed: Tuple[np.ndarray, np.ndarray],
    ) -> None:
        distribution = stored if teacher.k_best_scheme is None else chains.legal(stored)
        tags, scores = computed
        if (teacher.k_best_scheme is not None) != chains.decodes_legally:
            tags, scores = (array.numpy() for array in distribution.k_best(found.k))
        tags, scores = tags[:, : found.k], scores[:, : found.k]
        # (B, K, T), (B, K)
        theirs = np.zeros_like(tags)
        for row, record in enumerate(records):
            theirs[row, :, : len(record.emissions)] = record.k_best_tags.T
        their_scores = np.stack([record.k_best_scores for record in records])
        rescored = distribution.score(torch.from_numpy(theirs)).numpy()
        for row, key in enumerate(keys):
            found.sentences += 1
            # Labellings that do not exist have a score of −inf, and tags of 0.
            exists = scores[row] > -np.inf
            if not _close(their_scores[row], scores[row]) or theirs[row][~exists].any():
                right = False
            elif np.array_equal(theirs[row], tags[row]):
                continue
            else:
                different = len(np.unique(theirs[row][exists], axis=0)) == exists.sum()
                right = different and _close(rescored[row][exists], their_scores[row][exists])
            if right:
                found.reordered += 1
            else:
                found.wrong += 1
                found.first_wrong = found.first_wrong or key


def _close(first: np.ndarray, second: np.ndarray) -> bool:
    return np.allclose(first, second, rtol=_RELATIVE, atol=_ABSOLUTE)


def distribution_statistics(
    teacher: Teacher, chains: TeacherChains, batches: Iterable[Sequence[Tuple[str, StoredRecord]]]
) -> DistributionStatistics:
    """
    The statistics of records that come with their keys, in batches.

    # Returns

    `DistributionStatistics`
    """
    statistics = DistributionStatistics(StoredLabellings(teacher.k_best) if teacher.k_best else None)
    for batch in batches:
        statistics.add(teacher, chains, [key for key, _ in batch], [record for _, record in batch])
    return statistics
