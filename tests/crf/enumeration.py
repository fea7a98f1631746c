"""The oracle: every labelling written out, in float64, sentence by sentence."""

import itertools
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import torch

Path = Tuple[int, ...]


@dataclass
class Enumerated:
    """All labellings of one sentence with their scores; differentiable with respect to what it was made from."""

    paths: List[Path]
    scores: torch.Tensor  # (number of labellings,)
    words: int
    labels: int

    @property
    def log_partition(self) -> torch.Tensor:
        return torch.logsumexp(self.scores, 0)

    @property
    def probabilities(self) -> torch.Tensor:
        return torch.softmax(self.scores, 0)

    def marginals(self) -> torch.Tensor:
        """(words, L)"""
        rows = [
            [
                sum((p for y, p in zip(self.paths, self.probabilities, strict=True) if y[t] == j), torch.tensor(0.0))
                for j in range(self.labels)
            ]
            for t in range(self.words)
        ]
        return torch.stack([torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in row]) for row in rows])

    def edge_marginals(self) -> torch.Tensor:
        """(words - 1, L, L)"""
        table = torch.zeros(max(self.words - 1, 0), self.labels, self.labels, dtype=torch.float64)
        for y, p in zip(self.paths, self.probabilities.detach(), strict=True):
            for t in range(self.words - 1):
                table[t, y[t], y[t + 1]] += p
        return table

    def ranked(self) -> List[Tuple[float, Path]]:
        """Best first; equal scores with the lowest label of the last word first, then of the word before."""
        finite = [(float(s), y) for s, y in zip(self.scores, self.paths, strict=True) if s > float("-inf")]
        return sorted(finite, key=lambda item: (-item[0], item[1][::-1]))


def enumerate_sentence(
    emissions: torch.Tensor,
    transitions: torch.Tensor,
    start: torch.Tensor,
    end: torch.Tensor,
    mask: Optional[torch.Tensor] = None,
) -> Enumerated:
    """`emissions` (T, L), `transitions` (L, L), `start`, `end` (L,), `mask` (T,); float64."""
    kept = emissions if mask is None else emissions[mask]
    words, labels = kept.shape
    paths = list(itertools.product(range(labels), repeat=words))
    scores = []
    for y in paths:
        total = torch.zeros((), dtype=torch.float64)
        if words:
            total = total + start[y[0]] + end[y[-1]]
        for t, label in enumerate(y):
            total = total + kept[t, label]
            if t:
                total = total + transitions[y[t - 1], label]
        scores.append(total)
    return Enumerated(paths, torch.stack(scores), words, labels)


def random_potentials(
    seed: int, batch: int, words: int, labels: int, deviation: float = 1.0, per_sentence: bool = False
) -> Dict[str, torch.Tensor]:
    """Float64 potentials; transitions (L, L), or (B, L, L) with start and end (B, L)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * deviation

    lead = (batch,) if per_sentence else ()
    return {
        "emissions": draw(batch, words, labels),
        "transitions": draw(*lead, labels, labels),
        "start_transitions": draw(*lead, labels),
        "end_transitions": draw(*lead, labels),
    }


def enumerate_batch(potentials: Dict[str, torch.Tensor], mask: Optional[torch.Tensor] = None) -> List[Enumerated]:
    """One enumeration for each sentence."""
    batch = potentials["emissions"].shape[0]

    def table(name: str, dimensions: int, b: int) -> torch.Tensor:
        value = potentials[name]
        return value[b] if value.dim() > dimensions else value

    return [
        enumerate_sentence(
            potentials["emissions"][b],
            table("transitions", 2, b),
            table("start_transitions", 1, b),
            table("end_transitions", 1, b),
            None if mask is None else mask[b],
        )
        for b in range(batch)
    ]
