"""The loader that adds what a model says itself to the batches of another loader."""

from typing import Any, Callable, Iterator, Optional

import torch
from allennlp.data.data_loaders.data_loader import DataLoader, TensorDict

from structkd_plugin.decorating_loader import DecoratingDataLoader
from structkd_plugin.schedules import Progress, Schedule
from structkd_plugin.teacher_batch import TeacherBatch, TeacherPotentials, TeachesItself


class SelfTeacherDataLoader(DecoratingDataLoader):
    """
    Adds the potentials that a model computes for a batch to its `batch["teacher"]`, a `TeacherBatch`.

    Of a sentence that other teachers have, they get the share 1 / (1 + weight) together and the model
    weight / (1 + weight); of any other sentence the model is the only teacher.

    # Parameters

    inner : `DataLoader`
        The loader that makes the batches, on the device of the model.
    model : `TeachesItself`
        In evaluation mode.
    weight : `float`
        Weight of the model, where that of all other teachers together is 1; above 0.
    schedule : `Schedule`, optional
        The interpolation weight. None where `inner` gives every batch other teachers; theirs is kept then.
    num_epochs : `int`
        Length of the training.
    is_replaying : `Callable[[], bool]`
        Whether the next batch is thrown away, because a resumed training has trained on it before. The model is not
        asked then.
    """

    # It needs to see who else teaches a sentence.
    decorates_last = True

    def __init__(
        self,
        inner: DataLoader,
        model: TeachesItself,
        weight: float,
        schedule: Optional[Schedule],
        num_epochs: int,
        is_replaying: Callable[[], bool],
    ) -> None:
        super().__init__(inner)
        self._model = model
        self._weight = weight
        self._schedule = schedule
        self._num_epochs = num_epochs
        self._is_replaying = is_replaying
        try:
            self._batches_per_epoch: Optional[int] = len(inner)
        except TypeError:
            self._batches_per_epoch = None
        if schedule is not None:
            # A schedule that needs what this loader does not know says so now.
            schedule(Progress(0, 0, self._batches_per_epoch, num_epochs))

    def iter_epoch(self, epoch: int) -> Iterator[TensorDict]:
        """The batches of epoch `epoch`, with what the model says of each."""
        for batch_in_epoch, batch in enumerate(self.inner):
            if self._is_replaying():
                yield batch
                continue
            with torch.no_grad():
                own = self._model.potentials_of(batch)
                others: Any = batch.get("teacher")
                if others is None:
                    assert self._schedule is not None
                    progress = Progress(epoch, batch_in_epoch, self._batches_per_epoch, self._num_epochs)
                    others = TeacherBatch([], own.weight.new_tensor(self._schedule(progress)))
                teacher: Any = joined_by(others, own, self._weight)
            yield {**batch, "teacher": teacher}


def joined_by(others: TeacherBatch, own: TeacherPotentials, weight: float) -> TeacherBatch:
    """
    `others` and one teacher more.

    # Parameters

    others : `TeacherBatch`
        The shares of a sentence add up to 1, or to 0 where it has no teacher.
    own : `TeacherPotentials`
        A teacher of every sentence.
    weight : `float`
        Of `own`, where that of all others together is 1.

    # Returns

    `TeacherBatch` : the shares of every sentence add up to 1; the interpolation weight is that of `others`.
    """
    # (B,): 1 or 0
    taught = torch.zeros_like(own.weight)
    for slot in others.teachers:
        taught = taught + slot.weight
    share = weight / (taught + weight)
    teachers = [slot._replace(weight=slot.weight * (1.0 - share)) for slot in others.teachers]
    return TeacherBatch([*teachers, own._replace(weight=own.weight * share)], others.interpolation)
