"""The objective on the token marginals of forward-backward (P1, equation 13)."""

from typing import Optional

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue
from structkd_plugin.teacher_batch import KBestLabellings

TEMPER = ("potentials", "marginals")


def token_cross_entropy(q_teacher: torch.Tensor, log_q_student: torch.Tensor) -> torch.Tensor:
    """
    −Σ_t Σ_y q_T,t(y) log q_S,t(y), shape (B,), nats.

    # Parameters

    q_teacher : `torch.Tensor`
        Shape (B, T, L), probabilities, rows of 0 at masked words.
    log_q_student : `torch.Tensor`
        Shape (B, T, L), log-probabilities, −inf where forbidden.

    # Returns

    `torch.Tensor` : shape (B,); +inf where the student forbids what the teacher finds possible.
    """
    impossible = log_q_student == -float("inf")
    # 0 · log 0 is 0
    finite = -(q_teacher * torch.where(impossible, torch.zeros_like(log_q_student), log_q_student)).sum(dim=(1, 2))
    contradicted = (impossible & (q_teacher > 0)).flatten(1).any(dim=1)
    return torch.where(contradicted, torch.full_like(finite, float("inf")), finite)


@Objective.register("posterior")
class Posterior(Objective):
    """
    −Σ_t Σ_y q_T,t(y) log q_S,t(y): cross-entropy of the token marginals of both sides (P1, equation 13).

    With a softmax student and teacher this is token-level distillation (P1, equation 4); with a softmax student
    of a CRF teacher it is the case CRF → MaxEnt of P3.

    # Parameters

    temperature : `float`, optional (default = 1)
    temper : `str`, optional (default = "potentials")
        "potentials" divides the potentials of both sides before forward-backward. "marginals" raises the token
        marginals of both sides to the power 1/temperature and normalises them again, as P1's code does.
    """

    name = "posterior"

    def __init__(self, temperature: float = 1.0, temper: str = "potentials") -> None:
        super().__init__(temperature)
        if temper not in TEMPER:
            raise ConfigurationError(f"objective.temper must be one of {', '.join(TEMPER)}, not {temper!r}")
        self.temper = temper

    def __call__(
        self, teacher: LinearChainCRF, student: LinearChainCRF, legal: Optional[KBestLabellings] = None
    ) -> ObjectiveValue:
        """The objective for each sentence."""
        if self.temper == "potentials" or self.temperature == 1.0:
            return super().__call__(teacher, student)
        q = _sharpen(teacher.log_marginals, self.temperature).exp() * _words(teacher)
        value = token_cross_entropy(q, _sharpen(student.log_marginals, self.temperature))
        return ObjectiveValue(value * self.temperature**2, {})

    def evaluate(self, teacher: LinearChainCRF, student: LinearChainCRF) -> ObjectiveValue:
        """The objective for tempered distributions."""
        return ObjectiveValue(token_cross_entropy(teacher.marginals, student.log_marginals), {})


def _sharpen(log_q: torch.Tensor, temperature: float) -> torch.Tensor:
    """log of q^(1/temperature) normalised for each word, shape (B, T, L)."""
    return torch.log_softmax(log_q / temperature, dim=2)


def _words(distribution: LinearChainCRF) -> torch.Tensor:
    """1 at words and 0 at masked ones, shape (B, T, 1)."""
    return distribution.marginals.sum(dim=2, keepdim=True).round()
