"""Schedules made of schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from lrtrain.schedules.parameters import Duration, Fraction
from lrtrain.schedules.progress import Progress, updates
from lrtrain.schedules.schedule import schedule


class AnySchedule:
    """The rule of a parameter that is itself a schedule: any callable from `Progress` to a multiplier."""

    def parse(self, value: object) -> Callable[[Progress], float]:
        """Return the value if it can be called, else raise ValueError."""
        if not callable(value):
            raise ValueError(f"must be a schedule such as cosine(), got {value!r}")
        return value

    def __str__(self) -> str:
        return "a schedule"


Inner: TypeAlias = Annotated[Callable[[Progress], float], AnySchedule()]

_RAMPS: dict[str, Callable[[float], float]] = {
    "linear": lambda u: u,
    "cosine": lambda u: (1 - math.cos(math.pi * u)) / 2,
    "1-sqrt": lambda u: 1 - math.sqrt(1 - u),
}


@schedule
def warmup(
    progress: Progress,
    /,
    inner: Inner,
    length: Duration = "0ep",
    shape: Literal["linear", "cosine", "1-sqrt", "exponential"] = "linear",
    start: Fraction = 0.0,
) -> float:
    """Ramp up to another schedule: update t < W is multiplied by ``start + (1 - start) shape((t + 1) / W)``.

    No update is wasted at rate 0, and update W - 1 has the full rate. Schedules with an end run over what
    remains; those that count epochs or updates keep their clock.

    Source: Goyal et al. 2017, arXiv:1706.02677, sec. 2.2.

    Args:
        inner: the schedule that follows.
        length: W; 0 is no warm-up.
        shape: of the ramp; exponential is ``start ** (1 - u)``, and needs start > 0.
        start: the multiplier that the ramp rises from.
    """
    step, steps_per_epoch, total_steps, begin = progress
    ramp = updates(length, progress)
    value = inner(Progress(step, steps_per_epoch, total_steps, begin + ramp))
    if step >= begin + ramp:
        return value
    u = (step - begin + 1) / ramp
    if shape == "exponential":
        return value * math.pow(start, 1 - u)
    return value * (start + (1 - start) * _RAMPS[shape](u))


@schedule
def floor(progress: Progress, /, inner: Inner, least: Fraction = 0.0) -> float:
    """Never fall below a share of the base rate: ``max(inner, least)``.

    Args:
        inner: the schedule.
        least: share of the base rate.
    """
    return max(inner(progress), least)
