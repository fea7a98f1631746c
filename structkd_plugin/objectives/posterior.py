"""The objective on the token marginals of forward-backward (P1, equation 13)."""

from typing import Optional, Tuple

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective
from structkd_plugin.objectives.token_objective import TokenObjective
from structkd_plugin.objectives.token_weighting import TokenWeighting

TEMPER = ("potentials", "marginals")


@Objective.register("posterior")
class Posterior(TokenObjective):
    """
    −Σ_t Σ_y q_T,t(y) log q_S,t(y): cross-entropy of the token marginals of both sides (P1, equation 13).

    With a softmax student and teacher this is token-level distillation (P1, equation 4); with a softmax student
    of a CRF teacher it is the case CRF → MaxEnt of P3.

    # Parameters

    temperature : `float`, optional (default = 1)
    temper : `str`, optional (default = "potentials")
        "potentials" divides the potentials of both sides before forward-backward. "marginals" raises the token
        marginals of both sides to the power 1/temperature and normalises them again, as P1's code does.
    token_weighting : `TokenWeighting`, optional (default = every word counts alike)
    """

    name = "posterior"

    def __init__(
        self,
        temperature: float = 1.0,
        temper: str = "potentials",
        token_weighting: Optional[TokenWeighting] = None,
    ) -> None:
        super().__init__(temperature, token_weighting)
        if temper not in TEMPER:
            raise ConfigurationError(f"objective.temper must be one of {', '.join(TEMPER)}, not {temper!r}")
        self.temper = temper

    def token_distributions(
        self, teacher: LinearChainCRF, student: LinearChainCRF
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """The token marginals of both sides, tempered before or after forward-backward."""
        if self.temper == "potentials" or self.temperature == 1.0:
            return teacher.temper(self.temperature).marginals, student.temper(self.temperature).log_marginals
        q = _sharpen(teacher.log_marginals, self.temperature).exp() * _words(teacher)
        return q, _sharpen(student.log_marginals, self.temperature)


def _sharpen(log_q: torch.Tensor, temperature: float) -> torch.Tensor:
    """log of q^(1/temperature) normalised for each word, shape (B, T, L)."""
    # The softmax of a sentence nothing is allowed for, −inf throughout, would be NaN.
    possible = (log_q > -float("inf")).any(dim=2, keepdim=True)
    sharpened = torch.log_softmax(torch.where(possible, log_q, torch.zeros_like(log_q)) / temperature, dim=2)
    return torch.where(possible, sharpened, log_q)


def _words(distribution: LinearChainCRF) -> torch.Tensor:
    """1 at words and 0 at masked ones, shape (B, T, 1)."""
    return distribution.marginals.sum(dim=2, keepdim=True).round()
