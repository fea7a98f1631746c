"""The objective on the teacher's K best labellings (P1, equations 8 and 9)."""

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue


@Objective.register("k_best")
class KBest(Objective):
    """
    −Σ_k w_k log p_S(y_k) over the teacher's K best distinct labellings y_k.

    Uniform weights are P1's Top-K (equation 8). With `weighted`, w is the softmax of the labellings' scores under the
    tempered teacher: P1's Top-WK (equation 9), which tends to `cross_entropy` as K grows. A sentence with fewer than K
    labellings uses all it has. log Z_S does not depend on the labelling and is computed once.

    # Parameters

    k : `int`
        At least 1.
    weighted : `bool`, optional (default = False)
    temperature : `float`, optional (default = 1)
    """

    needs_transitions = True

    def __init__(self, k: int, weighted: bool = False, temperature: float = 1.0) -> None:
        super().__init__(temperature)
        if k < 1:
            raise ConfigurationError(
                f"objective.k must be at least 1, not {k}: it is how many labellings are learnt from"
            )
        self.k = k
        self.weighted = weighted

    @property
    def name(self) -> str:
        """`k_best` or `weighted_k_best`."""
        return "weighted_k_best" if self.weighted else "k_best"

    def evaluate(self, teacher: LinearChainCRF, student: LinearChainCRF) -> ObjectiveValue:
        """The objective for tempered distributions."""
        # (B, K, T), (B, K)
        tags, teacher_scores = teacher.k_best(self.k)
        exists = teacher_scores > -float("inf")
        # A sentence the teacher allows nothing for has no labellings to learn from, and a softmax of −inf is NaN.
        logits = torch.where(exists, teacher_scores if self.weighted else torch.zeros_like(teacher_scores), -1e30)
        # (B, K)
        weights = torch.softmax(logits, dim=1) * exists
        # (B, K)
        log_prob = student.log_prob(tags)
        impossible = exists & (log_prob == -float("inf"))
        finite = -(weights * torch.where(exists & ~impossible, log_prob, torch.zeros_like(log_prob))).sum(dim=1)
        value = torch.where(impossible.any(dim=1), torch.full_like(finite, float("inf")), finite)
        return ObjectiveValue(value, {})
