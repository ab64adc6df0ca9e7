"""Schedules whose clock counts epochs or updates from the start of the run; none of them needs to know its end."""

from __future__ import annotations

import math
from typing import Literal

from lrtrain.parameters.rules import Milestones, NonNegative, Period, Positive
from lrtrain.parameters.spans import SpanLike
from lrtrain.schedules.progress import Progress, updates
from lrtrain.schedules.registry import schedule

Clock = Literal["epoch", "step"]


def _elapsed(progress: Progress, every: SpanLike, per: str) -> float:
    """Time since the start in units of `every`: whole epochs only where the clock counts epochs."""
    steps = progress.step if per == "step" else progress.epoch * (progress.steps_per_epoch or 1)
    return steps / (updates(every, progress) or 1)


@schedule
def constant(progress: Progress, /) -> float:
    """The base learning rate throughout: ``1``."""
    return 1.0


@schedule
def exponential(progress: Progress, /, gamma: Positive = 0.95, every: Period = "1ep", per: Clock = "epoch") -> float:
    """Reduce by a constant factor every epoch: ``gamma ** epoch``.

    Source: torch ExponentialLR; Keras ExponentialDecay is ``per="step"``.

    Args:
        gamma: factor a period.
        every: the period.
        per: the clock counts completed epochs, or updates (a smooth curve).
    """
    return math.pow(gamma, _elapsed(progress, every, per))


@schedule
def step(progress: Progress, /, gamma: Positive = 0.5, every: Period = "5ep") -> float:
    """Reduce by a constant factor every k epochs: ``gamma ** floor(epoch / every)``.

    Source: torch StepLR.

    Args:
        gamma: factor a period.
        every: the period.
    """
    return gamma ** (progress.step // (updates(every, progress) or 1))


@schedule
def multistep(progress: Progress, /, gamma: Positive = 0.1, milestones: Milestones = ("50%", "75%")) -> float:
    """Reduce by a constant factor at each milestone: ``gamma ** (milestones reached)``.

    Source: torch MultiStepLR; the default milestones are those of He et al. 2016, arXiv:1512.03385.

    Args:
        gamma: factor a milestone.
        milestones: when; from the milestone on the new rate holds; one that is given twice counts twice.
    """
    reached = 0
    for milestone in milestones:
        if progress.step >= updates(milestone, progress):
            reached += 1
    return gamma**reached


@schedule
def inverse_time(
    progress: Progress,
    /,
    decay: NonNegative = 0.01,
    every: Period = "1ep",
    per: Clock = "epoch",
    staircase: bool = False,
) -> float:
    """Decrease smoothly: ``1 / (1 + decay * epoch)``.

    Source: Robbins & Monro 1951; Keras InverseTimeDecay is ``per="step"``.

    Args:
        decay: loss of rate a period, in units of the rate at that time.
        every: the period.
        per: the clock counts completed epochs, or updates (a smooth curve).
        staircase: hold the rate within each period.
    """
    periods = _elapsed(progress, every, per)
    return 1 / (1 + decay * (periods // 1 if staircase else periods))


@schedule
def inverse_sqrt(progress: Progress, /, timescale: Period = "1ep", shifted: bool = False) -> float:
    """Hold, then decay with the square root of time: ``sqrt(timescale / max(t, timescale))``, t the updates done.

    After a warm-up of the same length it is the usual rule of sequence models, of which `noam` is another form. Shifted
    it decays from the end of any warm-up W on: ``sqrt(timescale / (timescale + t - W))``.

    Source: fairseq inverse_sqrt; Raffel et al. 2020, "T5", arXiv:1910.10683; shifted, Transformers
    get_inverse_sqrt_schedule and big_vision, with Zhai et al. 2022, arXiv:2106.04560.

    Args:
        timescale: the rate is the base rate until then, and half of it at four times that.
        shifted: the decay begins where the warm-up ends; the rate is half of it after three timescales.
    """
    scale = updates(timescale, progress) or 1
    if shifted:
        return math.sqrt(scale / (scale + max(progress.step - progress.start, 0)))
    return math.sqrt(scale / max(progress.step, scale))


@schedule
def noam(progress: Progress, /, peak_at: Period = "1ep") -> float:
    """Rise linearly, then decay as of the Transformer: ``min(s / W, sqrt(W / s))``, s = t + 1 and W = peak_at.

    This is ``min(s ** -0.5, s * W ** -1.5)`` over its largest value, so the base rate is the peak, reached by the
    W-th update. It has its own ramp and needs no warm-up.

    Source: Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, eq. 3.

    Args:
        peak_at: W, when the rate is largest.
    """
    peak, count = updates(peak_at, progress) or 1, progress.step + 1
    return min(count / peak, math.sqrt(peak / count))


@schedule
def power(progress: Progress, /, timescale: Period = "1ep", exponent: Positive = 0.51) -> float:
    """Hold, then decay with a power of time: ``min(1, (t / timescale) ** -exponent)``, t the updates done.

    The default exponent is the one that Shen et al. fitted to language models; 0.5 is `inverse_sqrt`.

    Source: Shen et al. 2024, "Power Scheduler", arXiv:2408.13359; Robbins & Monro 1951 for exponents in (0.5, 1].

    Args:
        timescale: the rate is the base rate until then.
        exponent: how steep; 0.5 divides the rate by 2 when time is multiplied by 4.
    """
    scale = updates(timescale, progress) or 1
    return math.pow(scale / max(progress.step, scale), exponent)
