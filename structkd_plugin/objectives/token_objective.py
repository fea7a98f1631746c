"""What objectives that are sums over words have in common."""

from typing import Dict, Optional, Tuple

import torch

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue
from structkd_plugin.objectives.token_weighting import TokenWeighting
from structkd_plugin.teacher_batch import KBestLabellings


def token_cross_entropy(q_teacher: torch.Tensor, log_q_student: torch.Tensor) -> torch.Tensor:
    """
    −Σ_t Σ_y q_T,t(y) log q_S,t(y), shape (B,), nats.

    # Parameters

    q_teacher : `torch.Tensor`
        Shape (B, T, L), probabilities, or these times a weight of the word; rows of 0 at masked words.
    log_q_student : `torch.Tensor`
        Shape (B, T, L), log-probabilities, −inf where forbidden.

    # Returns

    `torch.Tensor` : shape (B,); +inf where the student forbids what the teacher finds possible.
    """
    impossible = log_q_student == -float("inf")
    # To look would make a GPU wait.
    if impossible.device.type == "cpu" and not bool(impossible.any()):
        return -(q_teacher * log_q_student).sum(dim=(1, 2))
    # 0 · log 0 is 0
    finite = -(q_teacher * torch.where(impossible, torch.zeros_like(log_q_student), log_q_student)).sum(dim=(1, 2))
    contradicted = (impossible & (q_teacher > 0)).flatten(1).any(dim=1)
    return torch.where(contradicted, torch.full_like(finite, float("inf")), finite)


class TokenObjective(Objective):
    """
    −Σ_t w_t Σ_y q_T,t(y) log q_S,t(y): cross-entropy word by word, of distributions that a subclass defines.

    # Parameters

    temperature : `float`, optional (default = 1)
    token_weighting : `TokenWeighting`, optional (default = every word counts alike)
        The weights w_t. They follow from the teacher's token marginals at temperature 1, transitions included, whatever
        is compared: how sure a teacher is does not depend on how its distribution is softened. Their mean over the
        words of a sentence appears in the logs as `token_weight`.
    """

    def __init__(self, temperature: float = 1.0, token_weighting: Optional[TokenWeighting] = None) -> None:
        super().__init__(temperature)
        self.token_weighting = token_weighting
        self.needs_reliability = token_weighting is not None and token_weighting.needs_reliability

    def __call__(
        self,
        teacher: LinearChainCRF,
        student: LinearChainCRF,
        legal: Optional[KBestLabellings] = None,
        reliability: Optional[torch.Tensor] = None,
    ) -> ObjectiveValue:
        """The objective for each sentence."""
        q, log_q = self.token_distributions(teacher, student)
        reported: Dict[str, torch.Tensor] = {}
        if self.token_weighting is not None:
            weights = self.token_weighting(teacher.marginals, reliability)
            q = q * weights.words.unsqueeze(2)
            reported["token_weight"] = weights.mean
        return ObjectiveValue(token_cross_entropy(q, log_q) * self.temperature**2, reported)

    def token_distributions(
        self, teacher: LinearChainCRF, student: LinearChainCRF
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """q_T and log q_S, tempered, shape (B, T, L) each, rows of 0 at masked words; what a subclass defines."""
        raise NotImplementedError
