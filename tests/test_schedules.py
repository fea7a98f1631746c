"""Schedules give the weights their formulas say, for every batch of a training."""

from typing import Any

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.schedules import ConstantSchedule, LinearSchedule, PercentPerEpochSchedule, Progress, Schedule


def make(**params: Any) -> Schedule:
    return Schedule.from_params(Params(params))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"type": "constant", "value": 0.3}, [0.3] * 6),
        ({"type": "linear"}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ({"type": "linear", "per": "epoch"}, [1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3]),
        ({"type": "linear", "start": 0.2, "end": 0.8}, [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        ({"type": "percent_per_epoch", "c": 0.5}, [1, 1, 0.995, 0.995, 0.99, 0.99]),
        ({"type": "percent_per_epoch", "c": 60.0}, [1, 1, 0.4, 0.4, 0, 0]),
        ({}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
    ],
    ids=str,
)
def test_three_epochs_of_two_batches(params: dict, expected: list) -> None:
    schedule = make(**params)
    weights = [schedule(Progress(epoch, batch, 2, 3)) for epoch in range(3) for batch in range(2)]
    assert weights == pytest.approx(expected)


@pytest.mark.parametrize(
    "schedule",
    [ConstantSchedule(0.5), LinearSchedule(per="epoch"), PercentPerEpochSchedule(1.0)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_only_linear_per_step_needs_the_length_of_an_epoch(schedule: Schedule) -> None:
    assert 0.0 <= schedule(Progress(1, 3, None, 4)) <= 1.0
    with pytest.raises(ConfigurationError, match="needs to know the number of batches"):
        LinearSchedule()(Progress(1, 3, None, 4))


@given(
    schedule=st.one_of(
        st.builds(ConstantSchedule, st.floats(0, 1)),
        st.builds(LinearSchedule, st.floats(0, 1), st.floats(0, 1), st.sampled_from(["step", "epoch"])),
        st.builds(PercentPerEpochSchedule, st.floats(0, 100)),
    ),
    num_epochs=st.integers(1, 1000),
    batches=st.integers(1, 1000),
    data=st.data(),
)
def test_every_weight_is_a_weight(schedule: Schedule, num_epochs: int, batches: int, data: st.DataObject) -> None:
    epoch = data.draw(st.integers(0, num_epochs - 1))
    # A loader may give more batches than it announced.
    batch = data.draw(st.integers(0, 2 * batches))
    assert 0.0 <= schedule(Progress(epoch, batch, batches, num_epochs)) <= 1.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"type": "constant", "value": 1.5}, r"`value` of a schedule is a weight in \[0, 1\], not 1.5"),
        ({"type": "constant", "value": float("nan")}, "`value` of a schedule"),
        ({"type": "linear", "start": -0.1}, "`start` of a schedule"),
        ({"type": "linear", "end": 2.0}, "`end` of a schedule"),
        ({"type": "linear", "per": "batch"}, '`per` of a linear schedule is "step" or "epoch", not \'batch\''),
        ({"type": "percent_per_epoch", "c": -1.0}, "`c` of a percent_per_epoch schedule"),
        ({"type": "percent_per_epoch"}, 'key "c" is required'),
        ({"type": "cosine"}, "cosine not in acceptable choices"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(params: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**params)
