"""What the fast implementations take and give: potentials as a caller has them, and counts of them."""

from typing import NamedTuple, Optional

import torch


class Chain(NamedTuple):
    """
    Potentials of a batch of chains: float32 or float64, contiguous, without gradient; −inf forbids.

    A potential below `reference.FORBIDDEN_BELOW` counts as −inf too. The chain of a sentence runs over its words in
    their order, wherever they lie.
    """

    emissions: torch.Tensor  # (B, T, L); anything at masked words
    transitions: torch.Tensor  # (L, L) or (B, L, L), [from, to]
    start: torch.Tensor  # (L,) or (B, L)
    end: torch.Tensor  # (L,) or (B, L)
    mask: Optional[torch.Tensor]  # (B, T), bool; none where all are words

    def rows(self, index: torch.Tensor) -> "Chain":
        """The chains of some sentences: `index` (N,), integers."""
        return Chain(
            self.emissions[index],
            self.transitions if self.transitions.dim() == 2 else self.transitions[index],
            self.start if self.start.dim() == 1 else self.start[index],
            self.end if self.end.dim() == 1 else self.end[index],
            None if self.mask is None else self.mask[index],
        )


class Counts(NamedTuple):
    """How often each potential is used, sentence by sentence: observed, expected, or a difference; a gradient."""

    emissions: torch.Tensor  # (B, T, L), 0 at masked words
    transitions: torch.Tensor  # (B, L, L)
    start: torch.Tensor  # (B, L)
    end: torch.Tensor  # (B, L)

    @classmethod
    def empty(cls, chain: Chain) -> "Counts":
        """Room for the counts of `chain`."""
        batch, _, labels = chain.emissions.shape
        new = chain.emissions.new_empty
        return cls(
            torch.empty_like(chain.emissions), new(batch, labels, labels), new(batch, labels), new(batch, labels)
        )
