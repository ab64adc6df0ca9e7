"""How fast a training comes to its values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrtrain.evidence.paired import Values

SHARES = (0.25, 0.5, 1.0)
"""Of the epochs, after which a value is told."""


class Curve(NamedTuple):
    """What a run measured while it trained.

    Attributes:
        epochs: That were done at each measurement, growing.
        values: Of the metric then.
    """

    epochs: Values
    values: Values


def value_at(curve: Curve, share: float) -> float:
    """The newest value after a share of the run's epochs; NaN before the first."""
    if not len(curve.epochs):
        return math.nan
    found = np.searchsorted(curve.epochs, share * curve.epochs[-1] * (1 + 1e-9), side="right")
    return float(curve.values[found - 1]) if found else math.nan


def epochs_to(curve: Curve, target: float, mode: str) -> float:
    """The epochs after which a value first was as good as the target; NaN where none was."""
    reached = curve.values <= target if mode == "min" else curve.values >= target
    return float(curve.epochs[int(reached.argmax())]) if reached.any() else math.nan


def mean_of(values: Sequence[float]) -> float | None:
    """The mean of those that are numbers; None without any."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
