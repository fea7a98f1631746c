"""A data loader around another: how a trainer callback gets at batches before the forward pass."""

from typing import TYPE_CHECKING, Iterator

import torch
from allennlp.data.data_loaders.data_loader import DataLoader, TensorDict
from allennlp.data.instance import Instance
from allennlp.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from allennlp.training.gradient_descent_trainer import GradientDescentTrainer


class DecoratingDataLoader(DataLoader):
    """
    Does what `inner` does; subclasses add to its batches.

    A `TrainerCallback` has no hook before the forward pass, but the trainer asks for `trainer.data_loader` anew every
    epoch: a callback puts a decorating loader there in `on_start` and takes it out in `on_end`.

    # Parameters

    inner : `DataLoader`
        The loader that makes the batches.
    """

    # Whether it works on batches that have in them what all loaders that are put in add, also those that come later.
    decorates_last = False

    def __init__(self, inner: DataLoader) -> None:
        self.inner = inner
        self._epochs_started = 0

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[TensorDict]:
        # Replayed epochs of a resumed training come here too, so that the count is right after it.
        epoch = self._epochs_started
        self._epochs_started += 1
        return self.iter_epoch(epoch)

    def iter_epoch(self, epoch: int) -> Iterator[TensorDict]:
        """The batches of epoch `epoch`, counted from 0."""
        raise NotImplementedError

    def iter_instances(self) -> Iterator[Instance]:
        """The instances of `inner`."""
        return iter(self.inner.iter_instances())

    def index_with(self, vocab: Vocabulary) -> None:
        """Index the instances of `inner` with `vocab`."""
        self.inner.index_with(vocab)

    def set_target_device(self, device: torch.device) -> None:
        """Have `inner` put its batches on `device`."""
        self.inner.set_target_device(device)

    def put_in(self, trainer: "GradientDescentTrainer") -> None:
        """Stand around the trainer's data loader, or inside the one of a chain that decorates last."""
        last, loader = None, trainer.data_loader
        while isinstance(loader, DecoratingDataLoader):
            last = loader if loader.decorates_last else last
            loader = loader.inner
        if last is None or self.decorates_last:
            self.inner, trainer.data_loader = trainer.data_loader, self
        else:
            self.inner, last.inner = last.inner, self

    def take_out(self, trainer: "GradientDescentTrainer") -> None:
        """Put back what this loader stands for, wherever in a chain of decorating loaders it is."""
        if trainer.data_loader is self:
            trainer.data_loader = self.inner
            return
        outer = trainer.data_loader
        while isinstance(outer, DecoratingDataLoader):
            if outer.inner is self:
                outer.inner = self.inner
                return
            outer = outer.inner


def undecorated(loader: DataLoader) -> DataLoader:
    """The loader inside all decorating ones."""
    while isinstance(loader, DecoratingDataLoader):
        loader = loader.inner
    return loader
