"""What an objective of distillation is."""

from typing import Dict, NamedTuple, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.registrable import Registrable

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.teacher_batch import KBestLabellings


class ObjectiveValue(NamedTuple):
    """An objective of every sentence, and what else is worth seeing in the logs."""

    value: torch.Tensor  # (B,), nats per sentence
    reported: Dict[str, torch.Tensor]  # name -> (B,), without gradient; nats per sentence, but for weights


class Objective(CheckedOptions, Registrable):
    """
    How far a student's distribution is from a teacher's, in nats per sentence.

    Objectives have no parameters. Potentials of both sides are divided by `temperature` before they are normalised, and
    the value is multiplied by temperature², so that gradients keep their size.

    # Parameters

    temperature : `float`, optional (default = 1)
        Above 0; above 1 makes both distributions flatter.
    """

    # Whether a teacher without transitions (a softmax tagger) has too little to say.
    needs_transitions = False

    # Whether it does without the transitions of a teacher that has some.
    ignores_transitions = False

    # How many of the teacher's best legal labellings it has to be given.
    legal_labellings = 0

    # Whether it has to be given how reliable the teacher is.
    needs_reliability = False

    def __init__(self, temperature: float = 1.0) -> None:
        if not 0.0 < temperature < float("inf"):
            raise ConfigurationError(
                f"objective.temperature must be a finite number above 0, not {temperature}; "
                "1 leaves potentials as they are"
            )
        self.temperature = temperature

    def __call__(
        self,
        teacher: LinearChainCRF,
        student: LinearChainCRF,
        legal: Optional[KBestLabellings] = None,
        reliability: Optional[torch.Tensor] = None,
    ) -> ObjectiveValue:
        """
        The objective for each sentence.

        # Parameters

        teacher, student : `LinearChainCRF`
            Over the same words and labels.
        legal : `KBestLabellings`, optional
            The teacher's best legal labellings, at least `legal_labellings` of them where that is not 0, with their
            scores at temperature 1.
        reliability : `torch.Tensor`, optional
            Shape (B, R): how often the teacher was right, by how probable its most probable label was; needed where
            `needs_reliability`.
        """
        value, reported = self.evaluate(teacher.temper(self.temperature), student.temper(self.temperature))
        return ObjectiveValue(value * self.temperature**2, reported)

    def evaluate(self, teacher: LinearChainCRF, student: LinearChainCRF) -> ObjectiveValue:
        """The objective between distributions that are tempered already; what a subclass defines."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name under which the objective appears in logs."""
        raise NotImplementedError
