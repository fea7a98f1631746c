"""Schedules: how much distillation counts, as a function of how far the training is."""

from dataclasses import dataclass
from typing import Optional

from allennlp.common.checks import ConfigurationError
from allennlp.common.registrable import Registrable

from structkd_plugin.checked_options import CheckedOptions


@dataclass(frozen=True)
class Progress:
    """How far the training is, at the beginning of a batch."""

    epoch: int  # from 0
    batch_in_epoch: int  # from 0
    batches_per_epoch: Optional[int]  # none where the data loader does not know
    num_epochs: int


class Schedule(CheckedOptions, Registrable):
    """
    The interpolation weight λ in [0, 1] of the distillation term, from `Progress` and nothing else.

    Having no state, a schedule is exact after a training was resumed.
    """

    default_implementation = "linear"

    def __call__(self, progress: Progress) -> float:
        """The weight λ for the batch at `progress`."""
        raise NotImplementedError


@Schedule.register("constant")
class ConstantSchedule(Schedule):
    """
    Always the same weight.

    # Parameters

    value : `float`
        λ, in [0, 1].
    """

    def __init__(self, value: float) -> None:
        self.value = _weight("value", value)

    def __call__(self, progress: Progress) -> float:
        """The weight λ, the same for every batch."""
        return self.value


@Schedule.register("linear")
class LinearSchedule(Schedule):
    """
    From `start` in a straight line to `end`, which it reaches when the last epoch is over.

        λ = start + (end − start) · f,   f = (epoch + batch / batches_per_epoch) / num_epochs

    (Wang et al., 2020, anneal from 1 to 0 so.) With `per: epoch` the fraction of the epoch is left out.

    # Parameters

    start : `float`, optional (default = 1.0)
        λ of the first batch.
    end : `float`, optional (default = 0.0)
        λ after the last batch.
    per : `str`, optional (default = "step")
        "step": λ changes with every batch. "epoch": it stays the same within an epoch.
    """

    def __init__(self, start: float = 1.0, end: float = 0.0, per: str = "step") -> None:
        self.start = _weight("start", start)
        self.end = _weight("end", end)
        if per not in ("step", "epoch"):
            raise ConfigurationError(f'`per` of a linear schedule is "step" or "epoch", not {per!r}')
        self.per = per

    def __call__(self, progress: Progress) -> float:
        """The weight λ for the batch at `progress`."""
        done = float(progress.epoch)
        if self.per == "step":
            if not progress.batches_per_epoch:
                raise ConfigurationError(
                    "a linear schedule per step needs to know the number of batches of an epoch, and this data "
                    'loader does not: set `batches_per_epoch` of the data loader, or `per: "epoch"` of the schedule'
                )
            done += progress.batch_in_epoch / progress.batches_per_epoch
        # A loader may give more batches than it announced.
        fraction = min(done / progress.num_epochs, 1.0)
        return self.start + (self.end - self.start) * fraction


@Schedule.register("percent_per_epoch")
class PercentPerEpochSchedule(Schedule):
    """
    Some percentage points less with every epoch, as in the code of Wang et al., 2020.

        λ = max(0, 1 − c · epoch / 100)

    # Parameters

    c : `float`
        Percentage points an epoch, at least 0; the paper's code has 0.5 and 1.0.
    """

    def __init__(self, c: float) -> None:
        if not 0.0 <= c <= 100.0:
            raise ConfigurationError(f"`c` of a percent_per_epoch schedule is in [0, 100], not {c!r}")
        self.c = c

    def __call__(self, progress: Progress) -> float:
        """The weight λ for every batch of the epoch at `progress`."""
        return max(0.0, 1.0 - self.c * progress.epoch / 100.0)


def _weight(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"`{name}` of a schedule is a weight in [0, 1], not {value!r}")
    return float(value)
