"""The objective on emissions alone (P1, equation 5)."""

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue
from structkd_plugin.objectives.posterior import token_cross_entropy


@Objective.register("emission")
class Emission(Objective):
    """
    Σ_t CE(softmax e_T,t, softmax e_S,t): what is left when transitions are ignored on both sides (P1, equation 5).

    # Parameters

    temperature : `float`, optional (default = 1)
    """

    name = "emission"

    def evaluate(self, teacher: LinearChainCRF, student: LinearChainCRF) -> ObjectiveValue:
        """The objective for tempered distributions."""
        q = teacher.without_transitions().marginals
        return ObjectiveValue(token_cross_entropy(q, student.without_transitions().log_marginals), {})
