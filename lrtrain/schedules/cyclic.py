"""Schedules that rise as well as fall: one cycle over the run, cycles of a length, restarts."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from lrtrain.parameters.rules import Cycle, Fraction, Number, Period, Positive, PositiveCount
from lrtrain.parameters.spans import SpanLike
from lrtrain.schedules.annealing import Share, _between
from lrtrain.schedules.progress import Progress, needs, updates
from lrtrain.schedules.registry import schedule

Growth: TypeAlias = Annotated[float, Number(low=1, high=100)]
AtLeastOne: TypeAlias = Annotated[float, Number(low=1)]


@schedule
def one_cycle(
    progress: Progress,
    /,
    pct_start: Fraction = 0.3,
    div_factor: AtLeastOne = 25.0,
    final_div_factor: AtLeastOne = 1e4,
    shape: Literal["cosine", "linear"] = "cosine",
    three_phase: bool = False,
) -> float:
    """Up to the base rate and down to far below the first: ``1/div_factor -> 1 -> 1/(div_factor final_div_factor)``.

    The base rate is the peak. It is reached where torch has it, ``pct_start (T + 1) - 1`` updates into the T of the
    run: with ``total_steps=T + 1`` torch gives these rates, and its last one is the value at the end of the run.
    With three phases the way down first mirrors the way up.

    Source: Smith & Topin 2018, "Super-convergence", arXiv:1708.07120; torch OneCycleLR.

    Args:
        pct_start: share of the run that rises.
        div_factor: the peak over the first rate.
        final_div_factor: the first rate over the last.
        shape: of each phase.
        three_phase: fall to the first rate as fast as it rose, and to the last one from there.
    """
    step, _, total, start = progress
    first = 1 / div_factor
    last = first / final_div_factor
    total = total or needs("total_steps")
    if step >= total:
        return last
    count, length = max(step - start, 0), max(total - start, 1)
    rise = max(pct_start * (length + 1) - 1, 0.0)
    if count < rise:
        left, right, u = first, 1.0, count / rise
    elif not three_phase:
        left, right, u = 1.0, last, (count - rise) / (length - rise)
    elif count < 2 * rise:
        left, right, u = 1.0, first, (count - rise) / rise
    else:
        left, right, u = first, last, (count - 2 * rise) / (length - 2 * rise)
    weight = (1 + math.cos(math.pi * u)) / 2 if shape == "cosine" else 1 - u
    return weight * left + (1 - weight) * right


@schedule
def cyclic(
    progress: Progress,
    /,
    low: Fraction = 0.1,
    up: Cycle = "2ep",
    down: Cycle = "2ep",
    shape: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: Share = 0.9999,
) -> float:
    """Up and down in straight lines, again and again: ``low + (1 - low) height x``, x from 0 to 1 and back.

    The height of a cycle is 1 (triangular), half of the last cycle's (triangular2), or ``gamma ** t`` with t the
    updates done (exp_range).

    Source: Smith 2017, arXiv:1506.01186; torch CyclicLR.

    Args:
        low: where a cycle begins and ends, as a share of the base rate.
        up: length of the way up.
        down: length of the way down.
        shape: how the height of the cycles shrinks.
        gamma: factor an update, for exp_range.
    """
    rise, fall = updates(up, progress) or 1, updates(down, progress) or 1
    cycle, count = divmod(progress.step, rise + fall)
    x = count / rise if count <= rise else (rise + fall - count) / fall
    if shape == "triangular2":
        x *= math.pow(0.5, cycle)
    elif shape == "exp_range":
        x *= math.pow(gamma, progress.step)
    return _between(x, low)


def _cycle(progress: Progress, period: SpanLike, growth: float) -> tuple[int, float]:
    """The number of restarts so far, and the share done of the cycle; restarts fall on whole updates."""
    first, step = updates(period, progress) or 1, progress.step
    if growth == 1:
        return step // first, step % first / first

    def begin(cycle: int) -> int:
        return round(first * (growth**cycle - 1) / (growth - 1))

    # The logarithm may be off by a rounding error, and a restart missed by it is a wrong rate for one update.
    cycle = max(int(math.log1p(step * (growth - 1) / first) / math.log(growth)) - 1, 0)
    while begin(cycle + 1) <= step:
        cycle += 1
    since = begin(cycle)
    return cycle, (step - since) / (begin(cycle + 1) - since)


@schedule
def cosine_restarts(
    progress: Progress, /, period: Cycle = "5ep", growth: Growth = 1.0, gamma: Share = 1.0, end: Fraction = 0.0
) -> float:
    """Half a cosine, again and again: ``end + (1 - end) gamma ** n (1 + cos(pi u)) / 2``, u the share done of cycle n.

    The clock counts from the start of the run, and cycle n is ``growth ** n`` periods long.

    Source: Loshchilov & Hutter 2017, "SGDR", arXiv:1608.03983; torch CosineAnnealingWarmRestarts; Keras
    CosineDecayRestarts, whose t_mul is growth and m_mul gamma.

    Args:
        period: length of the first cycle.
        growth: length of a cycle over that of the one before.
        gamma: height of a cycle over that of the one before.
        end: value at the end of a cycle, as a share of the base rate.
    """
    cycle, u = _cycle(progress, period, growth)
    return _between(math.pow(gamma, cycle) * (1 + math.cos(math.pi * u)) / 2, end)


@schedule
def polynomial_restarts(
    progress: Progress,
    /,
    period: Cycle = "5ep",
    power: Positive = 1.0,
    growth: Growth = 1.0,
    gamma: Share = 1.0,
    end: Fraction = 0.0,
) -> float:
    """A power curve, again and again: ``end + (1 - end) gamma ** n (1 - u) ** power``, u the share done of cycle n.

    The clock counts from the start of the run, and cycle n is ``growth ** n`` periods long. Power 1 is a sawtooth.

    Source: timm PolyLRScheduler with cycles.

    Args:
        period: length of the first cycle.
        power: above 1 the rate falls early in a cycle, below 1 late.
        growth: length of a cycle over that of the one before.
        gamma: height of a cycle over that of the one before.
        end: value at the end of a cycle, as a share of the base rate.
    """
    cycle, u = _cycle(progress, period, growth)
    return _between(math.pow(gamma, cycle) * math.pow(1 - u, power), end)


@schedule
def polynomial_cycles(
    progress: Progress, /, period: Cycle = "5ep", power: Positive = 1.0, end: Fraction = 0.0
) -> float:
    """A power curve to the end of the period, then one as if it had led to the end of the next, and so on.

    That is ``end + (1 - end) (1 - t / (n period)) ** power``, t the updates done and n the period that t is in, so each
    restart is lower: for power 1 it reaches 1 / n.

    Source: Keras PolynomialDecay with ``cycle=True``.

    Args:
        period: length of a cycle.
        power: above 1 the rate falls early in a cycle, below 1 late.
        end: value at the end of a cycle, as a share of the base rate.
    """
    length, step = updates(period, progress) or 1, progress.step
    whole = max(math.ceil(step / length), 1) * length
    return _between(math.pow(1 - step / whole, power), end)


@schedule
def cosine_waves(progress: Progress, /, waves: PositiveCount = 2, end: Fraction = 0.0) -> float:
    """Down and up on a cosine, and down at last: ``(1 + cos((2 waves - 1) pi z)) / 2``, z the fraction done.

    One wave is `cosine`. Transformers' ``num_cycles`` is waves - 0.5.

    Source: Transformers get_cosine_schedule_with_warmup.

    Args:
        waves: how often the rate falls.
        end: value at the foot of a wave, as a share of the base rate.
    """
    half_turns = (2 * waves - 1) * progress.fraction % 2  # the remainder keeps the last value exact for many waves
    return _between((1 + math.cos(math.pi * half_turns)) / 2, end)


@schedule
def chebyshev(
    progress: Progress,
    /,
    levels: Annotated[int, Number(low=0, high=20, integer=True)] = 3,
    low: Share = 0.05,
    every: Period = "1ep",
) -> float:
    """Alternate long and short steps: ``2 low / (1 + low - (1 - low) cos(pi (i + 0.5) / T))``, between low and 1.

    These T = 2 ** levels steps are the best there are for a quadratic whose curvatures lie in [low, 1] times the
    largest, where the base rate is 1 over the least curvature: by far more than is stable for a constant rate. They
    come in a fractal order that undoes the harm of a long step soon, i = 0, 7, 3, 4, 1, 6, 2, 5 of three levels,
    each for one period, again and again.

    Source: Agarwal, Goel, Zhang 2021, "Acceleration via fractal learning rate schedules", arXiv:2103.01338.

    Args:
        levels: two to the power of it is the number of different steps.
        low: least curvature over the largest, about the smallest step over the largest.
        every: the period that a step lasts: 1ep for one an epoch, 1st for one an update.
    """
    position = int(progress.step // (updates(every, progress) or 1))  # a stretched clock has fractions
    index = 0
    for level in range(levels, 0, -1):
        # Each doubling of the sequence follows every entry with its mirror image: all its bits the other way.
        if position >> (level - 1) & 1:
            index ^= (1 << (levels - level + 1)) - 1
    return 2 * low / (1 + low - (1 - low) * math.cos(math.pi * (index + 0.5) / (1 << levels)))
