"""Schedules made of schedules."""

from __future__ import annotations

import collections.abc
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from lrtrain.parameters.rules import (
    Duration,
    Fraction,
    Length,
    ListOf,
    NonNegative,
    Number,
    Period,
    PositiveCount,
)
from lrtrain.parameters.spans import SpanLike
from lrtrain.schedules.progress import Progress, needs, updates
from lrtrain.schedules.registry import by_name, schedule


class AnySchedule:
    """The rule of a parameter that is itself a schedule.

    Any callable from `Progress` to a multiplier, or what a configuration can hold: ``{scheduler: cosine, end: 0.1}``.
    """

    def parse(self, value: Any) -> Callable[[Progress], float]:
        """Return the schedule, or raise ValueError."""
        if isinstance(value, Mapping) and "scheduler" in value:
            parameters = {str(key): item for key, item in value.items() if key != "scheduler"}
            return by_name(value["scheduler"], parameters)  # type: ignore[no-any-return]
        if not callable(value):
            raise ValueError(f"must be a schedule such as cosine() or {{scheduler: cosine}}, got {value!r}")
        return value  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return "a schedule"


Inner: TypeAlias = Annotated[Callable[[Progress], float], AnySchedule()]
Parts: TypeAlias = Annotated[collections.abc.Sequence[Callable[[Progress], float]], ListOf(AnySchedule(), least=1)]
Lengths: TypeAlias = Annotated[collections.abc.Sequence[SpanLike], ListOf(Length(positive=True))]
Value: TypeAlias = Annotated[float, Number()]
UpdateIndex: TypeAlias = Annotated[int, Number(low=0, integer=True)]

RampShape: TypeAlias = Literal["linear", "cosine", "1-sqrt", "exponential"]
CooldownShape: TypeAlias = Literal["linear", "cosine", "1-sqrt"]

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
    shape: RampShape = "linear",
    start: Fraction = 0.0,
) -> float:
    """Ramp up to another schedule: update t < W is multiplied by ``start + (1 - start) shape((t + 1) / W)``.

    No update is wasted at rate 0, and update W - 1 has the full rate. Schedules with an end run over what
    remains; those that count epochs or updates keep their clock.

    Source: Goyal et al. 2017, arXiv:1706.02677, sec. 2.2; shapes as in Transformers' get_wsd_schedule.

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
    u = (max(step - begin, 0) + 1) / ramp
    if shape == "exponential":
        if not start:
            raise ValueError("warmup: an exponential ramp needs a start above 0")
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


@schedule
def ceiling(progress: Progress, /, inner: Inner, most: NonNegative = 1.0) -> float:
    """Never rise above a share of the base rate: ``min(inner, most)``.

    Source: Shen et al. 2024, "Power Scheduler", arXiv:2408.13359, whose power of time is cut off at a largest rate.

    Args:
        inner: the schedule.
        most: share of the base rate.
    """
    return min(inner(progress), most)


@schedule
def hold(progress: Progress, /, inner: Inner, every: Period = "1ep") -> float:
    """Change only at the start of each period: ``inner(floor(t / every) every)``.

    Args:
        inner: the schedule.
        every: the period, from the start of the run.
    """
    step, steps_per_epoch, total_steps, start = progress
    period = updates(every, progress) or 1
    return inner(Progress(step // period * period, steps_per_epoch, total_steps, start))


@schedule
def cooldown(
    progress: Progress,
    /,
    inner: Inner,
    length: Duration = "20%",
    shape: CooldownShape = "linear",
    end: Fraction = 0.0,
) -> float:
    """Anneal any schedule over the last part of the run, from the rate that it has there.

    From update T - C on, with u the fraction done of the cooldown: ``inner(T - C) (1 - (1 - end) shape(u))``.

    Source: Haegele et al. 2024, arXiv:2405.18392, sec. 3, where the inner schedule is constant.

    Args:
        inner: the schedule before.
        length: C; 0 is no cooldown.
        shape: of the descent, down from 1: linear ``1 - u``, cosine ``(1 + cos(pi u)) / 2``, or ``1 - sqrt(u)``.
        end: last value, as a share of the rate that the cooldown starts from.
    """
    step, steps_per_epoch, total_steps, start = progress
    total = total_steps or needs("total_steps")
    long = updates(length, progress)
    if step <= total - long:
        return inner(progress)
    u = min(1.0, (step - total + long) / long) if long else 0.0
    value = inner(Progress(total - long, steps_per_epoch, total_steps, start))
    weight = 1 - math.sqrt(u) if shape == "1-sqrt" else 1 - _RAMPS[shape](u)
    return value * (weight + (1 - weight) * end)


@schedule
def stretch(progress: Progress, /, inner: Inner, planned: Period) -> float:
    """Run a schedule that was written for a run of another length: its whole clock is scaled to this one.

    A milestone at epoch 30 of 90 planned comes at epoch 3 of a run of 9.

    Source: Composer's scale_schedule_ratio.

    Args:
        inner: the schedule.
        planned: the length that it was written for.
    """
    step, steps_per_epoch, total_steps, start = progress
    total = total_steps or needs("total_steps")
    long = updates(planned, progress) or 1
    # Products before quotients: a place that scales to a whole update is met exactly.
    position = step * long // total if step * long % total == 0 else step * long / total
    return inner(Progress(position, steps_per_epoch, long, start * long / total))  # type: ignore[arg-type]


@schedule
def until(progress: Progress, /, inner: Inner, end: Period) -> float:
    """End a schedule before or after the run does; percentages in it are of this length.

    Args:
        inner: the schedule.
        end: where it ends.
    """
    step, steps_per_epoch, _, start = progress
    return inner(Progress(step, steps_per_epoch, updates(end, progress) or 1, start))


@schedule
def join(
    progress: Progress,
    /,
    parts: Parts = ({"scheduler": "constant"}, {"scheduler": "linear"}),  # type: ignore[assignment]
    lengths: Lengths = ("50%",),
    at: Literal["continue", "restart"] = "continue",
) -> float:
    """Run schedules one after another; each sees its own part as a run of its own.

    Source: optax join_schedules.

    Args:
        parts: the schedules, in order.
        lengths: of every part but the last, which takes the rest of the run.
        at: a boundary, the next part continues from the rate that was reached, or restarts from the base rate.
    """
    if len(lengths) != len(parts) - 1:
        raise ValueError(f"join: {len(parts)} parts need {len(parts) - 1} lengths, got {len(lengths)}")
    step, steps_per_epoch, total_steps, start = progress
    scale, begin = 1.0, 0
    for part, length in zip(parts, lengths, strict=False):
        end = begin + updates(length, progress)
        if step < end:
            return scale * part(Progress(step - begin, steps_per_epoch, end - begin, max(0, start - begin)))
        if at == "continue":
            scale *= part(Progress(end - begin, steps_per_epoch, end - begin, max(0, start - begin)))
        begin = end
    rest = None if total_steps is None else max(1, total_steps - begin)
    return scale * parts[-1](Progress(step - begin, steps_per_epoch, rest, max(0, start - begin)))


@schedule
def product(
    progress: Progress,
    /,
    parts: Parts = ({"scheduler": "inverse_time"}, {"scheduler": "linear"}),  # type: ignore[assignment]
) -> float:
    """Multiply schedules.

    Args:
        parts: the factors.
    """
    return math.prod(part(progress) for part in parts)


@schedule
def frozen(progress: Progress, /, inner: Inner, length: Duration = "1ep") -> float:
    """Rate 0 at first, then another schedule at its place: for parameter groups that are unfrozen in mid-run.

    Args:
        inner: the schedule.
        length: how long.
    """
    return inner(progress) if progress.step >= updates(length, progress) else 0.0


@schedule
def between(progress: Progress, /, inner: Inner, high: Value, low: Value) -> float:
    """Take a schedule's shape to another scale: `high` where it is 1, `low` where it is 0, both exactly.

    For other hyperparameters: ``between(cosine(), 0.04, 0.4)`` lets weight decay grow as the rate falls;
    ``between(one_cycle(), 0.85, 0.95)`` moves momentum opposite to the rate (Smith 2018, arXiv:1803.09820).

    Args:
        inner: the schedule.
        high: value where the schedule is 1; may be the smaller number.
        low: value where the schedule is 0.
    """
    weight = inner(progress)
    return weight * high + (1 - weight) * low


@schedule
def stretched_rest(progress: Progress, /, inner: Inner, at: UpdateIndex, planned: PositiveCount) -> float:
    """From one update on, spread what is left of a schedule over what is left of a longer or shorter run.

    Update t from `at` on has the rate that the schedule gives at ``at + (t - at) (planned - at) / (T - at)``.

    Args:
        inner: the schedule.
        at: the update where the plan changed.
        planned: updates of the run that it was made for.
    """
    step, steps_per_epoch, total_steps, start = progress
    if step > at:
        left = max(1, (total_steps or needs("total_steps")) - at)
        scaled = (step - at) * (planned - at)
        step = at + (scaled // left if scaled % left == 0 else scaled / left)  # type: ignore[assignment]
    return inner(Progress(step, steps_per_epoch, planned, start))


@schedule
def append(
    progress: Progress, /, before: Inner, after: Inner, at: UpdateIndex, planned: PositiveCount, ratio: Value
) -> float:
    """From one update on, begin another schedule, over what is left of the run.

    Args:
        before: the schedule until then.
        after: the schedule from then on, on a clock that begins there.
        at: the update where the plan changed.
        planned: updates of the run that `before` was made for.
        ratio: its base rate over that of `after`.
    """
    step, steps_per_epoch, total_steps, start = progress
    if step < at:
        return ratio * before(Progress(step, steps_per_epoch, planned, start))
    return after(Progress(step - at, steps_per_epoch, max(1, (total_steps or needs("total_steps")) - at)))


@schedule
def switch(
    progress: Progress, /, before: Inner, after: Inner, at: UpdateIndex, planned: PositiveCount, ratio: Value
) -> float:
    """From one update on, follow another schedule, as if it had been the plan all along.

    Args:
        before: the schedule until then.
        after: the schedule from then on, at its place.
        at: the update where the plan changed.
        planned: updates of the run that `before` was made for.
        ratio: its base rate over that of `after`.
    """
    if progress.step >= at:
        return after(progress)
    step, steps_per_epoch, _, start = progress
    return ratio * before(Progress(step, steps_per_epoch, planned, start))


@schedule
def reduced(progress: Progress, /, inner: Inner, at: UpdateIndex, scale: Value, least: Fraction = 0.0) -> float:
    """From one update on, multiply a schedule as feedback does: ``max(scale inner, min(inner, least))``.

    Args:
        inner: the schedule.
        at: the update from which it is multiplied.
        scale: what feedback has come to by then.
        least: share of the base rate below which it does not reduce.
    """
    value = inner(progress)
    return value if progress.step < at else max(value * scale, min(value, least))
