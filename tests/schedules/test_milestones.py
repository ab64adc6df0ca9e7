"""Which changes of a rate are milestones: those between two levels that hold."""

from __future__ import annotations

import pytest

from lrtrain.plan.milestones import milestones
from lrtrain.schedules import (
    Horizon,
    Schedule,
    constant,
    cosine,
    exponential,
    hold,
    inverse_time,
    multistep,
    step,
    warmup,
)

LENGTH = 40


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (multistep(milestones=[3, 7]), 10, [120, 280]),
        (multistep(milestones=["50%", "75%"]), 1, [20, 30]),
        (step(every=30), 90, [1200, 2400]),
        (step(every=30), 9000, [1200 * number for number in range(1, 300)]),
        (warmup(step(every=5), "1ep"), 12, [200, 400]),
        (constant(), 10, []),
        (cosine(), 10, []),
        (hold(cosine(), "1ep"), 100, []),
        (hold(cosine(), "1ep"), 9000, []),
        (exponential(gamma=0.9), 20, []),
        (inverse_time(decay=0.1), 20, []),
    ],
    ids=repr,
)
def test_milestones(schedule: Schedule, epochs: int, expected: list[int]) -> None:
    horizon = Horizon(LENGTH, LENGTH * epochs)
    assert milestones(lambda step: schedule(horizon.at(step)), horizon) == expected
