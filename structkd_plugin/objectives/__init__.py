"""The objectives of distillation that a configuration can name."""

from structkd_plugin.objectives.cross_entropy import CrossEntropy
from structkd_plugin.objectives.emission import Emission
from structkd_plugin.objectives.k_best import KBest
from structkd_plugin.objectives.objective import Objective, ObjectiveValue
from structkd_plugin.objectives.posterior import Posterior
from structkd_plugin.objectives.token_weighting import TokenWeighting
from structkd_plugin.objectives.weighted_sum import WeightedSum

__all__ = [
    "CrossEntropy",
    "Emission",
    "KBest",
    "Objective",
    "ObjectiveValue",
    "Posterior",
    "TokenWeighting",
    "WeightedSum",
]
