"""A trainer callback that makes a resumed training equal to one that was never broken off."""

import hashlib
import random
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional

import numpy
import torch
from allennlp.data.data_loaders.data_loader import DataLoader, TensorDict
from allennlp.training.callbacks.callback import TrainerCallback

from structkd_plugin.decorating_loader import DecoratingDataLoader

if TYPE_CHECKING:
    from allennlp.training.gradient_descent_trainer import GradientDescentTrainer


@TrainerCallback.register("structkd_random_state")
class RandomStateCallback(TrainerCallback):
    """
    Makes every batch's random numbers a function of the configured seed, the epoch, the batch and the process.

    `allennlp train --recover` draws the batches of the past again but computes nothing with them, so that dropout
    afterwards takes other random numbers than it would have taken. With this callback the generators of Python,
    numpy and torch (CPU and CUDA) are seeded anew before every batch is drawn. There is no state to save: a training
    resumed at any batch gives the parameters of one that ran through, bit for bit, also in distributed training,
    where AllenNLP writes the state of the first process alone.

    It starts in `on_start`, by a loader around `trainer.data_loader`, and ends in `on_end`. The two runs must both
    have it, and the same `pytorch_seed`.

    # Parameters

    serialization_dir : `str`
        Given by AllenNLP.
    """

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)

    def on_start(self, trainer: "GradientDescentTrainer", is_primary: bool = True, **kwargs: Any) -> None:
        """Put the seeding loader around the trainer's."""
        super().on_start(trainer, is_primary=is_primary, **kwargs)
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        self._loader = SeedingDataLoader(trainer.data_loader, torch.initial_seed(), rank)
        trainer.data_loader = self._loader

    def on_end(
        self,
        trainer: "GradientDescentTrainer",
        metrics: Optional[Dict[str, Any]] = None,
        epoch: Optional[int] = None,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        """Take it away."""
        self._loader.take_out(trainer)


class SeedingDataLoader(DecoratingDataLoader):
    """
    Seeds the random generators before every batch is drawn from `inner`.

    # Parameters

    inner : `DataLoader`
        The loader that makes the batches.
    seed : `int`
        Seed of the training.
    rank : `int`
        Number of this process. It counts for torch alone: whatever draws data with Python's or numpy's generator
        may rely on all processes drawing the same.
    """

    def __init__(self, inner: DataLoader, seed: int, rank: int) -> None:
        super().__init__(inner)
        self._seed = seed
        self._rank = rank

    def iter_epoch(self, epoch: int) -> Iterator[TensorDict]:
        """The batches of epoch `epoch`, the generators being seeded before each."""
        batches = iter(self.inner)
        batch_in_epoch = 0
        while True:
            shared = _derived_seed(self._seed, epoch, batch_in_epoch)
            random.seed(shared)
            numpy.random.seed(shared % 2**32)
            torch.manual_seed(_derived_seed(self._seed, epoch, batch_in_epoch, self._rank))
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch
            batch_in_epoch += 1


def _derived_seed(*numbers: int) -> int:
    """A seed in [0, 2⁶³): seeds that lie close together would give generators that start alike."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
