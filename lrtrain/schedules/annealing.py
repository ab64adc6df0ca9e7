"""Schedules with an end: functions of the fraction done of what follows the warm-up; they hold their last value."""

from __future__ import annotations

import math

from lrtrain.schedules.parameters import Fraction
from lrtrain.schedules.progress import Progress
from lrtrain.schedules.schedule import schedule


def _between(weight: float, end: float) -> float:
    """1 where weight is 1 and `end` where it is 0, both exactly."""
    return weight + (1 - weight) * end


@schedule
def linear(progress: Progress, /, end: Fraction = 0.0) -> float:
    """A straight line to the end of the run: ``1 - z (1 - end)``, z the fraction done.

    Source: Li, Yumer, Ramanan 2020, "Budgeted Training", arXiv:1905.04753.

    Args:
        end: last value, as a share of the base rate.
    """
    return _between(1 - progress.fraction, end)


@schedule
def cosine(progress: Progress, /, end: Fraction = 0.0) -> float:
    """Half a cosine to the end of the run: ``end + (1 - end) (1 + cos(pi z)) / 2``, z the fraction done.

    Source: Loshchilov & Hutter 2017, "SGDR", arXiv:1608.03983, eq. 5, without restarts.

    Args:
        end: last value, as a share of the base rate.
    """
    return _between((1 + math.cos(math.pi * progress.fraction)) / 2, end)
