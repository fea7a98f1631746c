"""The exact structural cross-entropy (P3)."""

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue


@Objective.register("cross_entropy")
class CrossEntropy(Objective):
    """
    −Σ_y p_T(y) log p_S(y), over all labellings of the sentence (P3, CRF → CRF).

    Its logs show the divergence too, the cross-entropy less the teacher's entropy, which is 0 exactly where the student
    equals the teacher. A softmax teacher's edge marginals are products of its token marginals (P3, MaxEnt → CRF).

    # Parameters

    temperature : `float`, optional (default = 1)
    """

    name = "cross_entropy"

    def evaluate(self, teacher: LinearChainCRF, student: LinearChainCRF) -> ObjectiveValue:
        """The objective for tempered distributions."""
        divergence = teacher.kl(student)
        return ObjectiveValue(divergence + teacher.entropy, {"kl": divergence.detach()})
