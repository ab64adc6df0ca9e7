"""Rules that look at the validation metric: pure reducers ``(state, metric) -> state`` whose one output is a scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Concatenate, Literal, NamedTuple, ParamSpec, TypeAlias

from lrtrain.schedules.parameters import Count, Factor, Fraction, NonNegative, Number
from lrtrain.schedules.schedule import Bound, registering

P = ParamSpec("P")
Mode = Literal["min", "max"]
Smoothing: TypeAlias = Annotated[float, Number(low=0, high=1, open_high=True)]


class Observed(NamedTuple):
    """What a feedback rule carries from one validation to the next: plain numbers.

    Attributes:
        scale: Multiplier on the schedule.
        best: Best metric so far, None before the first.
        bad: Validations since then without an improvement.
        cooling: Validations left in which bad ones are not counted.
        average: Moving average of the metric, None before the first.
    """

    scale: float = 1.0
    best: float | None = None
    bad: int = 0
    cooling: int = 0
    average: float | None = None


class Feedback(Bound):
    """A feedback rule with its parameters; to be called once a validation."""

    __slots__ = ()

    def __call__(self, state: Observed, metric: float) -> Observed:
        """The state after a validation."""
        return self._function(state, metric, *self._values)  # type: ignore[no-any-return]


def feedback(function: Callable[Concatenate[Observed, float, P], Observed]) -> Callable[P, Feedback]:
    """Make a pure reducer ``(state, metric) -> state`` a named feedback rule."""
    return registering(Feedback)(function)


def _improves(metric: float, best: float | None, mode: str, margin: float = 0.0) -> bool:
    """Whether the metric beats the best by more than the margin; a non-finite one never does."""
    if best is None or not math.isfinite(metric):
        return math.isfinite(metric)
    return metric < best - margin if mode == "min" else metric > best + margin


@feedback
def plateau(
    state: Observed,
    metric: float,
    /,
    factor: Factor = 0.1,
    patience: Count = 10,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: Count = 0,
    mode: Mode = "min",
    smooth: Smoothing = 0.0,
    min_scale: Fraction = 0.0,
) -> Observed:
    """Reduce by a factor when the validation metric has stopped improving.

    A validation is bad when it does not beat the best by more than the threshold. After more than `patience` bad
    ones in a row the scale is multiplied by `factor`, and the count starts again.

    Source: torch ReduceLROnPlateau; the relative threshold is a share of the best's size, also below zero.

    Args:
        factor: of the reduction.
        patience: bad validations that are forgiven.
        threshold: least improvement that counts.
        threshold_mode: the threshold is a share of the best (rel), or in the metric's unit (abs).
        cooldown: validations after a reduction in which bad ones are not counted.
        mode: the metric is better when it is smaller (min) or larger (max).
        smooth: weight of the past in a moving average of the metric; 0 looks at each value alone.
        min_scale: the scale never falls below.
    """
    scale, best, bad, cooling, average = state
    average = metric if average is None or not math.isfinite(metric) else smooth * average + (1 - smooth) * metric
    margin = threshold * abs(best or 0.0) if threshold_mode == "rel" else threshold
    if _improves(average, best, mode, margin):
        best, bad = average, 0
    else:
        bad += 1
    if cooling:
        cooling, bad = cooling - 1, 0
    if bad > patience:
        scale, bad, cooling = max(scale * factor, min_scale), 0, cooldown
    return Observed(scale, best, bad, cooling, average if math.isfinite(average) else state.average)


@feedback
def validation_drop(
    state: Observed, metric: float, /, factor: Factor = 0.9, mode: Mode = "min", min_scale: Fraction = 0.0
) -> Observed:
    """Reduce by a factor each time the validation metric improves on its best.

    This is the literal other reading of "reduce when the validation error drops". The first validation sets the
    mark and does not reduce.

    Args:
        factor: of the reduction.
        mode: the metric is better when it is smaller (min) or larger (max).
        min_scale: the scale never falls below.
    """
    if not _improves(metric, state.best, mode):
        return state
    scale = state.scale if state.best is None else max(state.scale * factor, min_scale)
    return Observed(scale, best=metric)
