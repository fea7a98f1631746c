"""The objective on emissions alone (P1, equation 5)."""

from typing import Tuple

import torch

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective
from structkd_plugin.objectives.token_objective import TokenObjective


@Objective.register("emission")
class Emission(TokenObjective):
    """
    Σ_t CE(softmax e_T,t, softmax e_S,t): what is left when transitions are ignored on both sides (P1, equation 5).

    # Parameters

    temperature : `float`, optional (default = 1)
    token_weighting : `TokenWeighting`, optional (default = every word counts alike)
    """

    name = "emission"
    ignores_transitions = True

    def token_distributions(
        self, teacher: LinearChainCRF, student: LinearChainCRF
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """The softmax of the tempered emissions of both sides."""
        softmax = [side.temper(self.temperature).without_transitions() for side in (teacher, student)]
        return softmax[0].marginals, softmax[1].log_marginals
