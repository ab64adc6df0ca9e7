"""Schedules whose clock counts epochs or updates from the start of the run; none of them needs to know its end."""

from __future__ import annotations

import math
from typing import Literal

from lrtrain.schedules.parameters import Milestones, NonNegative, Period, Positive
from lrtrain.schedules.progress import Progress, SpanLike, updates
from lrtrain.schedules.schedule import schedule

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
        milestones: when; from the milestone on the new rate holds.
    """
    return gamma ** sum(progress.step >= updates(milestone, progress) for milestone in milestones)


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
