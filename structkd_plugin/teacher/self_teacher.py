"""The trainer callback by which a student learns from the moving average of itself."""

import logging
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union, cast

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training.callbacks.callback import TrainerCallback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.schedules import LinearSchedule, Schedule
from structkd_plugin.teacher.callback import TeacherCallback
from structkd_plugin.teacher.self_teacher_loader import SelfTeacherDataLoader
from structkd_plugin.teacher_batch import TeachesItself

if TYPE_CHECKING:
    from allennlp.training.gradient_descent_trainer import GradientDescentTrainer

logger = logging.getLogger(__name__)

NAME = "structkd_self_teacher"


@TrainerCallback.register(NAME)
class SelfTeacherCallback(CheckedOptions, TrainerCallback):
    """
    Self-distillation: the exponential moving average of the student's parameters is a teacher of the student.

    (Tarvainen and Valpola, 2017, call it a mean teacher.) A copy of the model, in evaluation mode and on the student's
    device, says of every training batch what a stored teacher would say; after every step of the optimizer it moves
    towards the student. It needs no store and no gold tags. It is not part of the model, whose archive is as without
    it; checkpoints have it, so that a resumed training goes on with it.

    Together with `structkd_teacher`, in whatever order the two are listed, a sentence's teachers are averaged, and the
    interpolation weight is that of `structkd_teacher`.

    # Parameters

    serialization_dir : `str`
        Given by AllenNLP.
    decay : `float`, optional (default = 0.999)
        Share that the average keeps of itself at a step, in [0, 1). At the nth step it is at most (1 + n) / (10 + n),
        so that the average soon forgets the parameters that training began with.
    weight : `float`, optional (default = 1)
        Above 0. Where stored teachers have a sentence, their weight is 1 together, and this the weight of the average.
    schedule : `Schedule`, optional (default = linear from 0 to 0.5, per step)
        The interpolation weight λ of the distillation term, where there is no `structkd_teacher`. It rises, because an
        average that is still like the student has nothing to teach. Sentences without gold tags have λ = 1.

    # Raises

    `ConfigurationError` : from `on_start`, for a model that cannot be its own teacher, or whose objective cannot learn
        from it; for a second schedule; for a model that is split over several devices.
    """

    def __init__(
        self,
        serialization_dir: str,
        decay: float = 0.999,
        weight: float = 1.0,
        schedule: Optional[Schedule] = None,
    ) -> None:
        super().__init__(serialization_dir)
        if not 0.0 <= decay < 1.0:
            raise ConfigurationError(f"`decay` of the callback {NAME} is in [0, 1), not {decay!r}")
        if not 0.0 < weight < float("inf"):
            raise ConfigurationError(f"`weight` of the callback {NAME} is a finite number above 0, not {weight!r}")
        self._decay = decay
        self._weight = weight
        self._schedule = schedule
        self._loader: Optional[SelfTeacherDataLoader] = None
        self._average: Optional[AveragedModel] = None
        self._resumed_from: Optional[Dict[str, torch.Tensor]] = None

    def on_start(self, trainer: "GradientDescentTrainer", is_primary: bool = True, **kwargs: Any) -> None:
        """Copy the model, and put its copy between the data loader and the trainer."""
        super().on_start(trainer, is_primary=is_primary, **kwargs)
        schedule = self._schedule_beside(trainer._callbacks)
        model = trainer.model
        if not isinstance(model, TeachesItself):
            raise ConfigurationError(
                f"the callback {NAME} needs a model that can be its own teacher, such as structkd_tagger; "
                f"{type(model).__name__} has no method potentials_of"
            )
        if trainer._ddp_wrapped_model is not None and trainer._ddp_wrapped_model.is_sharded:
            raise ConfigurationError(
                f"the callback {NAME} needs the whole model on every device, and this one's parameters are split over "
                "several: use the ddp_accelerator of torch"
            )
        model.check_teachers([model.describe_as_teacher(NAME)])
        # A checkpoint has been loaded into the model by now.
        self._average = moving_average(trainer.model, self._decay)
        if self._resumed_from is not None:
            self._average.load_state_dict(self._resumed_from)
            self._resumed_from = None
        elif trainer._start_after_epochs_completed or trainer._start_after_batches_in_epoch_completed:
            logger.warning(
                "the checkpoint has no moving average of %s: it begins anew with the model's parameters", NAME
            )
        self._loader = SelfTeacherDataLoader(
            trainer.data_loader,
            cast(TeachesItself, self._average.module),
            self._weight,
            schedule,
            # The trainer keeps to itself its number of epochs, and whether it is at a batch of the past.
            num_epochs=trainer._num_epochs,
            is_replaying=lambda: (
                (trainer._epochs_completed, trainer._batches_in_epoch_completed)
                < (trainer._start_after_epochs_completed, trainer._start_after_batches_in_epoch_completed)
            ),
        )
        self._loader.put_in(trainer)

    def on_batch(
        self,
        trainer: "GradientDescentTrainer",
        batch_inputs: Any,
        batch_outputs: Any,
        batch_metrics: Dict[str, Any],
        epoch: int,
        batch_number: int,
        is_training: bool,
        is_primary: bool = True,
        batch_grad_norm: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        """Update the average after a step; with accumulated gradients, a step is several batches and one call."""
        if is_training and self._average is not None:
            self._average.update_parameters(trainer.model)

    def on_end(
        self,
        trainer: "GradientDescentTrainer",
        metrics: Optional[Dict[str, Any]] = None,
        epoch: Optional[int] = None,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        """Put the data loader back."""
        if self._loader is not None:
            self._loader.take_out(trainer)

    def state_dict(self) -> Dict[str, Any]:
        """The average, for a checkpoint."""
        return {} if self._average is None else {"average": self._average.state_dict()}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Take over the average of a checkpoint; there is no copy of the model yet that it could be put into."""
        self._resumed_from = state_dict.get("average")

    def _schedule_beside(self, callbacks: List[TrainerCallback]) -> Optional[Schedule]:
        """The schedule where this callback has to know it: where no other teachers come with one."""
        if sum(isinstance(callback, SelfTeacherCallback) for callback in callbacks) > 1:
            raise ConfigurationError(f"the callback {NAME} is listed more than once: a student has one moving average")
        if not any(isinstance(callback, TeacherCallback) for callback in callbacks):
            return self._schedule or LinearSchedule(start=0.0, end=0.5)
        if self._schedule is not None:
            raise ConfigurationError(
                f"the callbacks {NAME} and structkd_teacher are both listed, and there is one interpolation weight: "
                f"set `schedule` of structkd_teacher, and leave it out of {NAME}"
            )
        return None


def moving_average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """
    A copy of `model` in evaluation mode that follows it with every call of `update_parameters`.

    Parameters are averaged, the average keeping the share min(decay, (1 + n) / (10 + n)) of itself at the nth update,
    as AllenNLP's `ExponentialMovingAverage` does; buffers are copied.
    """

    def update(averages: Any, parameters: Any, count: Union[torch.Tensor, int]) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, parameters, count)

    average = AveragedModel(model, multi_avg_fn=update)
    # The first update makes the two equal, as they are, and is counted: the next is number 1.
    average.update_parameters(model)
    return average.eval().requires_grad_(False)
