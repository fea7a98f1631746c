"""How much each word counts in an objective that is a sum over words."""

import math
from typing import NamedTuple, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.registrable import Registrable

from structkd_plugin.checked_options import CheckedOptions


class TokenWeights(NamedTuple):
    """The weights of the words of a batch, without gradient."""

    words: torch.Tensor  # (B, T), at least 0; 0 at masked words
    mean: torch.Tensor  # (B,), mean over a sentence's words before normalisation; 0 for a sentence without words


class TokenWeighting(CheckedOptions, Registrable):
    """
    How much the teacher is trusted on each word, from its token marginals.

    Left as they are, the weights are in [0, 1], so that where the teacher is unsure of a sentence the gold tags count
    for more: the objective becomes smaller and the negative log-likelihood does not.

    # Parameters

    normalize : `bool`, optional (default = False)
        Whether the weights of a sentence are scaled to a mean of 1, so that only its words are weighed against each
        other. A sentence whose weights are all 0 stays as it is.
    """

    # Whether it has to be given how reliable the teacher is.
    needs_reliability = False

    def __init__(self, normalize: bool = False) -> None:
        self.normalize = normalize

    def __call__(self, marginals: torch.Tensor, reliability: Optional[torch.Tensor] = None) -> TokenWeights:
        """
        The weights of all words.

        # Parameters

        marginals : `torch.Tensor`
            Shape (B, T, L), the teacher's token marginals at temperature 1; rows of 0 at masked words.
        reliability : `torch.Tensor`, optional
            Shape (B, R), see `TeacherPotentials`.
        """
        with torch.no_grad():
            marginals = marginals.detach()
            # (B, T): rows of words add up to 1
            words = marginals.sum(dim=2) > 0.5
            # (B, T)
            weights = self.trust(marginals, reliability).to(marginals.dtype)
            weights = torch.where(words, weights, torch.zeros_like(weights))
            # (B,)
            mean = weights.sum(dim=1) / words.sum(dim=1).clamp(min=1)
            if self.normalize:
                scale = torch.where(mean > 0, mean, torch.ones_like(mean))
                weights = weights / scale.unsqueeze(1)
            return TokenWeights(weights, mean)

    def trust(self, marginals: torch.Tensor, reliability: Optional[torch.Tensor]) -> torch.Tensor:
        """The weights (B, T), at least 0, anything at masked words; what a subclass defines."""
        raise NotImplementedError


@TokenWeighting.register("confidence")
class Confidence(TokenWeighting):
    """
    The probability of the most probable label, to a power; 0 below a threshold.

    With `power: 0` and a threshold, words are chosen and not weighed, as Sohn et al., 2020 (FixMatch) choose examples.

    # Parameters

    power : `float`, optional (default = 1)
        At least 0.
    threshold : `float`, optional (default = 0)
        In [0, 1]: a word whose most probable label is less probable does not count.
    normalize : `bool`, optional (default = False)
    """

    def __init__(self, power: float = 1.0, threshold: float = 0.0, normalize: bool = False) -> None:
        super().__init__(normalize)
        if not 0.0 <= power < float("inf"):
            raise ConfigurationError(f"token_weighting.power must be a finite number of at least 0, not {power}")
        if not 0.0 <= threshold <= 1.0:
            raise ConfigurationError(f"token_weighting.threshold is a probability, in [0, 1], not {threshold}")
        self.power = power
        self.threshold = threshold

    def trust(self, marginals: torch.Tensor, reliability: Optional[torch.Tensor]) -> torch.Tensor:
        """max_y q_t(y)^power."""
        confidence = _confidence(marginals)
        return torch.where(confidence < self.threshold, torch.zeros_like(confidence), confidence**self.power)


@TokenWeighting.register("entropy")
class Entropy(TokenWeighting):
    """
    1 − H(q_t) / log L: 1 where the teacher is certain, 0 where all labels are equally probable to it.

    So Iscen et al., 2019 (label propagation) weigh the examples whose labels were guessed.

    # Parameters

    normalize : `bool`, optional (default = False)
    """

    def trust(self, marginals: torch.Tensor, reliability: Optional[torch.Tensor]) -> torch.Tensor:
        """1 − H(q_t) / log L, and 1 where there is only one label."""
        labels = marginals.shape[2]
        # (B, T), nats
        entropy = torch.special.entr(marginals).sum(dim=2)
        return (1.0 - entropy / math.log(labels)).clamp(0.0, 1.0) if labels > 1 else torch.ones_like(entropy)


@TokenWeighting.register("reliability")
class Reliability(TokenWeighting):
    """
    How often the teacher was right, on development data, where it was as confident as it is of this word.

    The table is that of a reliability diagram (Guo et al., 2017), which `allennlp calibrate-teacher` measures. Between
    the middles of its bins the weight is interpolated linearly, so that it has no jumps; outside the outermost ones it
    is constant. Teachers have to be calibrated; where one is not, the error comes before the first step.

    # Parameters

    normalize : `bool`, optional (default = False)
    """

    needs_reliability = True

    def trust(self, marginals: torch.Tensor, reliability: Optional[torch.Tensor]) -> torch.Tensor:
        """The table's value at max_y q_t(y)."""
        if reliability is None:
            raise ValueError("token_weighting reliability needs teachers that are calibrated")
        last = reliability.shape[1] - 1
        table = reliability.to(marginals.dtype)
        # (B, T), 0 at the middle of the first bin
        position = (_confidence(marginals) * (last + 1) - 0.5).clamp(0.0, float(last))
        lower = position.floor().long()
        below, above = (table.gather(1, bins) for bins in (lower, (lower + 1).clamp(max=last)))
        return torch.lerp(below, above, position - lower)


def _confidence(marginals: torch.Tensor) -> torch.Tensor:
    """Probability of each word's most probable label, shape (B, T), in [0, 1] whatever rounding did."""
    return marginals.amax(dim=2).clamp(0.0, 1.0)
