"""Schedules that are written down point by point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from lrtrain.parameters.rules import Length, ListOf, Number
from lrtrain.parameters.spans import Span, SpanLike
from lrtrain.schedules.progress import Progress, updates
from lrtrain.schedules.registry import schedule


@dataclass(frozen=True)
class Point:
    """A pair of a time and a multiplier."""

    def parse(self, value: object) -> tuple[Span, float]:
        """Return the pair if both of its parts are admitted, else raise ValueError."""
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError(f"must be {self}, got {value!r}")
        return Length().parse(value[0]), Number(low=0).parse(value[1])

    def __str__(self) -> str:
        return "a pair [length, multiplier] such as [5ep, 0.1]"


@dataclass(frozen=True)
class Curve:
    """A list of points whose times grow, as far as they can be compared."""

    def parse(self, value: object) -> tuple[object, ...]:
        """Return the points if there are any and their times grow, else raise ValueError."""
        points: tuple[Any, ...] = ListOf(Point(), least=1).parse(value)
        ListOf(Length(), rising=True).parse([time for time, _ in points])
        return points

    def __str__(self) -> str:
        return f"a list, each {Point()}"


Points: TypeAlias = Annotated[tuple[tuple[SpanLike, float], ...], Curve()]


@schedule
def piecewise(
    progress: Progress,
    /,
    points: Points = (("50%", 0.1), ("75%", 0.01)),
    interpolation: Literal["constant", "linear", "cosine"] = "constant",
) -> float:
    """Any curve through given points: from a point on its multiplier holds, or leads to the next one.

    The curve begins at 1 unless the first point is at 0, and holds the last multiplier for ever. Times count from
    the start of the run.

    Source: optax piecewise_interpolate_schedule, piecewise_constant_schedule; Keras PiecewiseConstantDecay.

    Args:
        points: pairs of a time and the multiplier on the base rate from then on.
        interpolation: between two points the value is that of the first, on a line, or on half a cosine.
    """
    step, since, value = progress.step, 0, 1.0
    for time, following in points:
        reached = updates(time, progress)
        if step < reached:
            if interpolation == "constant":
                return value
            u = (step - since) / (reached - since)
            weight = 1 - u if interpolation == "linear" else (1 + math.cos(math.pi * u)) / 2
            return weight * value + (1 - weight) * following
        since, value = reached, following
    return value
