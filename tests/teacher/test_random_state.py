"""A training that was broken off and resumed equals one that ran through, dropout included."""

import random
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy
import pytest
import torch
from allennlp.data import DataLoader
from torch.multiprocessing import ProcessRaisedException

from structkd_plugin.random_state import SeedingDataLoader

from .training import BreakOff, config, difference, in_two_processes, train


def settings_with_dropout(data: Path, **data_loader: Any) -> Dict[str, Any]:
    settings = config(data, dropout=0.5)
    settings["data_loader"].update(data_loader)
    settings["trainer"].update(
        num_epochs=3,
        checkpointer={"save_every_num_batches": 3},
        callbacks=[{"type": "structkd_random_state"}, {"type": "test_break_off"}],
    )
    return settings


def broken_off_and_recovered(settings: Dict[str, Any], output: Path, moment: str) -> Dict[str, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(BreakOff.VARIABLE, moment)
        # The second is what becomes of the first in another process.
        with pytest.raises((BreakOff.Broken, ProcessRaisedException)):
            train(settings, output)
    return train(settings, output, recover=True)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, torch.Tensor]:
    return train(settings_with_dropout(data), tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("moment", ["1.1", "1.5", "2.8"], ids="broken off in {}".format)
def test_bit_for_bit(data: Path, whole: Dict[str, torch.Tensor], tmp_path: Path, moment: str) -> None:
    recovered = broken_off_and_recovered(settings_with_dropout(data), tmp_path / "run", moment)
    assert difference(recovered, whole) == 0


def test_without_it_dropout_differs(data: Path, whole: Dict[str, torch.Tensor], tmp_path: Path) -> None:
    settings = settings_with_dropout(data)
    settings["trainer"]["callbacks"] = [{"type": "test_break_off"}]
    through = train(settings, tmp_path / "through")
    assert difference(broken_off_and_recovered(settings, tmp_path / "run", "1.5"), through) > 1e-4


def test_lazy_shuffling_and_accumulation(data: Path, tmp_path: Path) -> None:
    settings = settings_with_dropout(data, max_instances_in_memory=8, batch_size=2)
    settings["trainer"]["num_gradient_accumulation_steps"] = 2
    through = train(settings, tmp_path / "through")
    assert difference(broken_off_and_recovered(settings, tmp_path / "run", "1.5"), through) == 0


def test_a_batch_sampler_that_draws_with_torch(data: Path, tmp_path: Path) -> None:
    settings = settings_with_dropout(data)
    settings["data_loader"] = {"batch_sampler": {"type": "bucket", "batch_size": 4, "padding_noise": 0.3}}
    through = train(settings, tmp_path / "through")
    assert difference(broken_off_and_recovered(settings, tmp_path / "run", "2.2"), through) == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_processes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AllenNLP saves the state of the first process alone; there is none that the second would miss."""
    settings = in_two_processes(settings_with_dropout(data), tmp_path, monkeypatch)
    through = train(settings, tmp_path / "through")
    assert difference(broken_off_and_recovered(settings, tmp_path / "run", "1.5"), through) == 0


class Drawing(DataLoader):
    """Its batches are the first numbers of every generator."""

    def __iter__(self) -> Iterator[Any]:
        for _ in range(3):
            yield self.draw()

    @staticmethod
    def draw() -> Tuple[float, float, float]:
        return random.random(), float(numpy.random.random()), float(torch.rand(()))


def numbers(rank: int = 0, seed: int = 7) -> List[Any]:
    loader = SeedingDataLoader(Drawing(), seed, rank)
    found = []
    for _ in range(2):
        for batch in loader:
            found.append((batch, Drawing.draw()))
            # What else a training draws does not matter.
            torch.rand(random.randrange(5))
    return found


def test_every_batch_has_its_own_numbers_and_always_the_same() -> None:
    first, again = numbers(), numbers()
    assert first == again
    flat = [number for pair in first for draw in pair for number in draw]
    assert len(set(flat)) == len(flat) == 2 * 3 * 6


def test_seeds_give_different_numbers() -> None:
    assert not set(map(str, numbers())) & set(map(str, numbers(seed=8)))


def test_processes_share_all_generators_but_torchs() -> None:
    for (first, _), (second, _) in zip(numbers(rank=0), numbers(rank=1), strict=True):
        assert first[:2] == second[:2]
        assert first[2] != second[2]
