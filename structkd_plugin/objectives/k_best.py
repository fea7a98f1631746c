"""The objective on the teacher's K best labellings (P1, equations 8 and 9)."""

from typing import Optional

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue
from structkd_plugin.teacher_batch import KBestLabellings

LABELLINGS = ("all", "legal")


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
    labellings : `str`, optional (default = "all")
        What the K best are taken from: "all" labellings that training finds possible, or the "legal" ones, those that
        decoding may give, also where constraints hold for decoding only. A teacher store can hold the legal ones
        (`allennlp cache-teacher --k-best`); those that it does not hold are computed at every step.
    """

    needs_transitions = True

    def __init__(self, k: int, weighted: bool = False, temperature: float = 1.0, labellings: str = "all") -> None:
        super().__init__(temperature)
        if k < 1:
            raise ConfigurationError(
                f"objective.k must be at least 1, not {k}: it is how many labellings are learnt from"
            )
        if labellings not in LABELLINGS:
            raise ConfigurationError(f"objective.labellings must be one of {', '.join(LABELLINGS)}, not {labellings!r}")
        self.k = k
        self.weighted = weighted
        self.legal_labellings = k if labellings == "legal" else 0

    @property
    def name(self) -> str:
        """`k_best` or `weighted_k_best`."""
        return "weighted_k_best" if self.weighted else "k_best"

    def __call__(
        self,
        teacher: LinearChainCRF,
        student: LinearChainCRF,
        legal: Optional[KBestLabellings] = None,
        reliability: Optional[torch.Tensor] = None,
    ) -> ObjectiveValue:
        """The objective for each sentence."""
        if not self.legal_labellings:
            return super().__call__(teacher, student)
        if legal is None or legal.scores.shape[1] < self.k:
            raise ValueError(f"the objective {self.name} needs the {self.k} best legal labellings of the teacher")
        # A temperature changes the scores of labellings, and not which are the best.
        scores = legal.scores[:, : self.k] / self.temperature
        value = self._value(legal.tags[:, : self.k], scores, student.temper(self.temperature))
        return ObjectiveValue(value * self.temperature**2, {})

    def evaluate(self, teacher: LinearChainCRF, student: LinearChainCRF) -> ObjectiveValue:
        """The objective for tempered distributions."""
        return ObjectiveValue(self._value(*teacher.k_best(self.k), student), {})

    def _value(self, tags: torch.Tensor, teacher_scores: torch.Tensor, student: LinearChainCRF) -> torch.Tensor:
        """(B,) from labellings (B, K, T), their tempered scores (B, K) and a tempered student."""
        exists = teacher_scores > -float("inf")
        # A sentence the teacher allows nothing for has no labellings to learn from, and a softmax of −inf is NaN.
        logits = (teacher_scores if self.weighted else torch.zeros_like(teacher_scores)).masked_fill(~exists, -1e30)
        # (B, K)
        weights = torch.softmax(logits, dim=1) * exists
        return -student.expected_log_prob(tags, weights)
