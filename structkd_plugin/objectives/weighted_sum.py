"""Several objectives at once."""

from typing import Dict, List, Optional

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.objectives.objective import Objective, ObjectiveValue
from structkd_plugin.teacher_batch import KBestLabellings


@Objective.register("weighted_sum")
class WeightedSum(Objective):
    """
    Σ_i w_i · objective_i; P1's "Pos.+Top-WK" is the average of two.

    Every objective has its own temperature, and appears in the logs by itself, unweighted.

    # Parameters

    objectives : `List[Objective]`
    weights : `List[float]`, optional (default = the average)
        One for each objective, at least 0 and not all 0.
    """

    name = "weighted_sum"

    def __init__(self, objectives: List[Objective], weights: Optional[List[float]] = None) -> None:
        super().__init__()
        if not objectives:
            raise ConfigurationError("weighted_sum.objectives is empty: name at least one objective")
        if weights is None:
            weights = [1.0 / len(objectives)] * len(objectives)
        if len(weights) != len(objectives):
            raise ConfigurationError(
                f"weighted_sum has {len(objectives)} objectives and {len(weights)} weights; give one weight for each"
            )
        if min(weights) < 0.0 or not 0.0 < sum(weights) < float("inf"):
            raise ConfigurationError(f"weighted_sum.weights must be at least 0 and not all 0, not {weights}")
        self.objectives = objectives
        self.weights = weights
        self.needs_transitions = any(objective.needs_transitions for objective in objectives)
        self.ignores_transitions = any(objective.ignores_transitions for objective in objectives)
        self.legal_labellings = max(objective.legal_labellings for objective in objectives)
        self.needs_reliability = any(objective.needs_reliability for objective in objectives)

    def __call__(
        self,
        teacher: LinearChainCRF,
        student: LinearChainCRF,
        legal: Optional[KBestLabellings] = None,
        reliability: Optional[torch.Tensor] = None,
    ) -> ObjectiveValue:
        """The weighted sum; the temperatures are those of its objectives."""
        reported: Dict[str, torch.Tensor] = {}
        values = []
        for weight, objective in zip(self.weights, self.objectives, strict=True):
            value, details = objective(teacher, student, legal, reliability)
            values.append(weight * value)
            for name, detail in {objective.name: value.detach(), **details}.items():
                # Two of a kind, of different temperatures say, are told apart by a number.
                same = sum(key.split(" ")[0] == name for key in reported)
                reported[name if same == 0 else f"{name} {same + 1}"] = detail
        return ObjectiveValue(torch.stack(values).sum(dim=0), reported)
