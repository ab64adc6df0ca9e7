"""Rules that look at the validation metric: pure reducers ``(state, metric) -> state`` whose one output is a scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Concatenate, Literal, NamedTuple, ParamSpec, TypeAlias

from lrtrain.parameters.rules import Count, Factor, Fraction, NonNegative, Number, PositiveCount
from lrtrain.schedules.registry import Registered, registering

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
        good: Improvements in a row since the last change of the scale.
        total: Sum of the metrics since the last decision, where one takes several.
        seen: How many they are.
    """

    scale: float = 1.0
    best: float | None = None
    bad: int = 0
    cooling: int = 0
    average: float | None = None
    good: int = 0
    total: float = 0.0
    seen: int = 0


class Feedback(Registered):
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


def _smoothed(average: float | None, metric: float, smooth: float) -> float:
    """The moving average with one more metric; a non-finite one is seen as it is."""
    return metric if average is None or not math.isfinite(metric) else smooth * average + (1 - smooth) * metric


@feedback
def plateau(
    state: Observed,
    metric: float,
    /,
    factor: Factor = 0.5,
    patience: Count = 2,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: Count = 0,
    mode: Mode = "min",
    smooth: Smoothing = 0.0,
    mean_of: PositiveCount = 1,
    eps: NonNegative = 0.0,
    min_scale: Fraction = 0.0,
) -> Observed:
    """Reduce by a factor when the validation metric has stopped improving.

    A validation is bad when it does not beat the best by more than the threshold. After more than `patience` bad
    ones in a row the scale is multiplied by `factor`, and the count starts again.

    Source: torch ReduceLROnPlateau; the relative threshold is a share of the best's size, also below zero. Means as in
    optax contrib reduce_on_plateau, whose accumulation_size they are.

    Args:
        factor: of the reduction.
        patience: bad validations that are forgiven.
        threshold: least improvement that counts.
        threshold_mode: the threshold is a share of the best (rel), or in the metric's unit (abs).
        cooldown: validations after a reduction in which bad ones are not counted.
        mode: the metric is better when it is smaller (min) or larger (max).
        smooth: weight of the past in a moving average of the metric; 0 looks at each value alone.
        mean_of: validations of which the mean is taken as one.
        eps: a reduction by no more than this share of the base rate is left out.
        min_scale: the scale never falls below.
    """
    total, seen = state.total + metric, state.seen + 1
    if seen < mean_of:
        return state._replace(total=total, seen=seen)
    metric = total / seen
    scale, best, bad, cooling, *_ = state
    average = _smoothed(state.average, metric, smooth)
    margin = threshold * abs(best or 0.0) if threshold_mode == "rel" else threshold
    if _improves(average, best, mode, margin):
        best, bad = average, 0
    else:
        bad += 1
    if cooling:
        cooling, bad = cooling - 1, 0
    if bad > patience:
        reduced = max(scale * factor, min_scale)
        scale, bad, cooling = reduced if scale - reduced > eps else scale, 0, cooldown
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
    scale = state.scale if state.best is None else min(state.scale, max(state.scale * factor, min_scale))
    return Observed(scale, best=metric)


@feedback
def greedy(
    state: Observed,
    metric: float,
    /,
    factor: Factor = 0.9,
    patience: Count = 2,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: Count = 0,
    mode: Mode = "min",
    smooth: Smoothing = 0.0,
    min_scale: Fraction = 0.0,
    max_scale: Annotated[float, Number(low=1)] = 10.0,
) -> Observed:
    """Raise the rate while the validation metric keeps improving, reduce it while it does not.

    A validation is good when it beats the best by more than the threshold, as the first one does, and bad otherwise.
    After more than `patience` good ones in a row the scale is divided by `factor`, after more than `patience` bad
    ones it is multiplied by it, and both counts start again. Validations of a cool-down do not count, nor do they
    set the best.

    Source: Subramanian & Ganapathiraman 2023, "Zeroth Order GreedyLR"; Transformers GreedyLR, whose waiting times
    after a rise (its warmup) and after a reduction are one here, and which starts anew after long at its least rate.

    Args:
        factor: of the reduction; a rise divides by it.
        patience: good or bad validations in a row that change nothing.
        threshold: least improvement that counts.
        threshold_mode: the threshold is a share of the best (rel), or in the metric's unit (abs).
        cooldown: validations after a change that are not counted.
        mode: the metric is better when it is smaller (min) or larger (max).
        smooth: weight of the past in a moving average of the metric; 0 looks at each value alone.
        min_scale: the scale never falls below.
        max_scale: the scale never rises above.
    """
    scale, best, bad, cooling, _, good, *_ = state
    average = _smoothed(state.average, metric, smooth)
    kept = average if math.isfinite(average) else state.average
    if cooling:
        return Observed(scale, best, 0, cooling - 1, kept, 0)
    margin = threshold * abs(best or 0.0) if threshold_mode == "rel" else threshold
    if _improves(average, best, mode, margin):
        best, bad, good = average, 0, good + 1
    else:
        bad, good = bad + 1, 0
    if good > patience:
        return Observed(min(scale / factor, max_scale), best, 0, cooldown, kept, 0)
    if bad > patience:
        return Observed(max(scale * factor, min_scale), best, 0, cooldown, kept, 0)
    return Observed(scale, best, bad, 0, kept, good)
