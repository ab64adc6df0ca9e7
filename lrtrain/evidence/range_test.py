"""What short trainings under a rising rate say of the rate of a long one: numbers in, a suggestion out.

A learning-rate range test (Smith 2015, arXiv:1506.01186) trains for some updates while the rate rises by the same
factor each time. It sees the first updates only: it finds the largest rate that is stable, and below it the one at
which the loss falls fastest. It cannot find the rate of the best final loss. One ramp is noisy, and so is what is read
from it point by point: here several ramps, each with random numbers and an order of the data of its own, are read
together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

UPDATES, SHARE = 300, 0.1
"""What all ramps may cost: so many updates, or this share of the run's if that is more."""
RAMPS = 3
SCOUT = 0.2
"""The share of the updates for a first ramp over all rates, which says where the others are to look."""
LOWEST, HIGHEST = 1e-6, 10.0
"""The rates of the first ramp."""
BELOW, ABOVE = 1e-3, 4.0
"""Those of the others, as factors of the highest at which the first had not diverged; lower where it never did."""
LEAST_FALL = 0.03
"""Of the loss, as a share of what it begins with: a smaller one is taken for noise."""
EDGE_SHARE = 0.15
"""Of the edge of divergence."""
WINDOW = 5
"""Updates that the losses of a ramp are averaged over."""
KNOWS = "a range test sees the first updates only: it knows the largest stable rate, not the one that ends best"

Floats = NDArray[np.float64]
Take = Callable[[float, float, int, int], "Ramp"]
"""Takes a ramp from a low to a high rate over so many updates; the number of the ramp decides its random numbers."""


class Ramp(NamedTuple):
    """A short training under a rising rate.

    Attributes:
        rates: Of all updates, those after a divergence too.
        losses: On the batch of each update, before it; fewer where it diverged.
    """

    rates: Sequence[float]
    losses: Sequence[float]


class Shape(NamedTuple):
    """A loss over the rate, smoothed: it falls to its least value, then rises.

    Attributes:
        rates: From low to high.
        losses: At each.
        start: The loss before any rate had an effect.
        steepest: The rate at which it falls fastest over the logarithm of the rate.
        least: The rate of the least loss.
        edge: The rate from which half of the fall is lost again, or the highest.
    """

    rates: Floats
    losses: Floats
    start: float
    steepest: float
    least: float
    edge: float

    @property
    def fall(self) -> float:
        """How far the loss fell, as a share of its start."""
        return float(self.start - self.losses.min()) / (abs(self.start) or 1.0)

    @property
    def begin(self) -> float:
        """The rate from which on the loss has fallen by a fifth of the whole fall."""
        return float(self.rates[int(np.argmax(self.losses <= self.start - 0.2 * (self.start - self.losses.min())))])

    @property
    def suggestion(self) -> float:
        """Between the steepest fall and a share of the edge, twice as near to that, as it varies less over the ramps.

        Not above the rate of the least loss.
        """
        return min(math.cbrt(self.steepest * (EDGE_SHARE * self.edge) ** 2), self.least)


@dataclass(frozen=True)
class RateFound:
    """What some ramps say.

    Attributes:
        suggestion: A rate to train at; None where nothing can be suggested.
        low: From here on the loss fell: a fifth of the whole fall.
        high: Here the loss of the first ramp stopped to fall.
        error: A factor: one standard deviation of the suggestions of single ramps, on a logarithmic scale.
        reason: Of the suggestion, or why there is none.
        shape: Of the median of the ramps.
        ramps: As they were.
        updates: That all ramps have cost.
    """

    suggestion: float | None
    low: float | None
    high: float | None
    error: float | None
    reason: str
    shape: Shape
    ramps: Sequence[Ramp]
    updates: int

    def sentence(self) -> str:
        """What is suggested, in one line."""
        if self.suggestion is None:
            return self.reason
        known = f"between {self.low:.2g} and {self.high:.2g}, known to a factor of {self.error:.2f}"
        return f"{self.suggestion:g} ({known}; {self.updates} updates)"

    def plain(self) -> dict[str, Any]:
        """As it is written down."""
        own = {name: getattr(self, name) for name in ("suggestion", "low", "high", "error", "reason", "updates")}
        shape = {"steepest": self.shape.steepest, "least": self.shape.least, "edge": self.shape.edge}
        curve = {"rates": self.shape.rates.tolist(), "losses": self.shape.losses.tolist()}
        return own | shape | {"curve": curve, "ramps": [list(ramp.losses) for ramp in self.ramps]}


def budget(total_steps: int) -> int:
    """The updates that the ramps for a run of so many may cost."""
    return max(UPDATES, int(SHARE * total_steps))


def find_rate(take: Take, updates: int) -> RateFound:
    """Find a rate by one ramp over all rates, and several around the edge of divergence that it finds.

    Args:
        take: Takes a ramp.
        updates: That all of them together may cost.
    """
    first = take(LOWEST, HIGHEST, round(SCOUT * updates), 0)
    edge, length = _last_not_above_start(first), (updates - round(SCOUT * updates)) // RAMPS
    low = BELOW * edge
    if edge >= first.rates[-2]:  # updates that are bounded may never diverge: the edge says nothing of where they begin
        low = min(low, fit([first]).begin / 10)
    ramps = [take(low, ABOVE * edge, length, number) for number in range(1, RAMPS + 1)]
    return judge(ramps, len(first.losses) + sum(len(ramp.losses) for ramp in ramps))


def judge(ramps: Sequence[Ramp], updates: int) -> RateFound:
    """What ramps over the same rates say."""
    shape, single = fit(ramps), [fit([ramp]) for ramp in ramps]
    nothing = RateFound(None, None, None, None, "", shape, ramps, updates)
    if not all(ramp.losses for ramp in ramps) or not math.isfinite(shape.start):
        return replace(nothing, reason="the loss is not finite before the first update: check inputs and model")
    if shape.fall < LEAST_FALL:
        ends = f"from {shape.rates[0]:.2g} to {shape.rates[-1]:.2g}"
        return replace(
            nothing,
            reason=f"the loss falls at no rate {ends} within {len(shape.rates)} updates ({shape.start:.4g} to "
            f"{shape.losses.min():.4g}): it may need more of them, or check data and model",
        )
    low = min(shape.begin, shape.suggestion)
    high = max(min(each.least for each in single), shape.suggestion)
    spread = float(np.std([math.log(each.suggestion) for each in single], ddof=1)) if len(single) > 1 else 0.0
    reason = (
        f"the loss falls fastest at {shape.steepest:.2g}, is least at {shape.least:.2g} "
        f"and has lost half of its fall at {shape.edge:.2g}; {KNOWS}"
    )
    return RateFound(round_rate(shape.suggestion), low, high, math.exp(spread), reason, shape, ramps, updates)


def round_rate(rate: float) -> float:
    """A rate to two digits, which is more than a range test knows."""
    return float(f"{rate:.1e}")


def fit(ramps: Sequence[Ramp]) -> Shape:
    """The shape of the median of some ramps over the same rates: isotonic down to its least value, and up again."""
    rates = np.array(ramps[0].rates)
    start = _start(ramps)
    median = np.median([_smoothed(ramp, start + 2 * abs(start)) for ramp in ramps], axis=0)
    turn = int(median.argmin())
    falling = isotonic_regression(median[: turn + 1], increasing=False).x
    rising = isotonic_regression(median[turn:]).x
    losses = np.concatenate([falling, rising[1:]])
    lost = np.flatnonzero(losses[turn:] > (start + losses.min()) / 2)
    edge = rates[turn + lost[0]] if lost.size and turn else rates[-1]
    return Shape(
        rates, losses, start, _steepest(rates[: turn + 1], np.minimum(falling, start)), float(rates[turn]), float(edge)
    )


def _last_not_above_start(ramp: Ramp) -> float:
    """The highest rate at which the loss of a ramp is not above its start: beyond it, it diverges."""
    if len(ramp.losses) < 3:
        return ramp.rates[-1]
    middle = np.median(np.lib.stride_tricks.sliding_window_view(ramp.losses, 3), axis=1)  # a single spike is noise
    below = np.flatnonzero(middle <= _start([ramp]))
    return ramp.rates[int(below[-1]) + 1 if below.size else 0]


def _start(ramps: Sequence[Ramp]) -> float:
    """The median loss while no rate has an effect."""
    first = [loss for ramp in ramps for loss in ramp.losses[: max(3, len(ramp.rates) // 8)]]
    return float(np.median(first)) if first else math.nan


def _smoothed(ramp: Ramp, most: float) -> Floats:
    """The losses as means of neighbours, none above a bound; what was not reached is at the bound."""
    losses = np.full(len(ramp.rates), most)
    losses[: len(ramp.losses)] = np.nan_to_num(np.minimum(ramp.losses, most), nan=most)
    padded = np.pad(losses, WINDOW // 2, mode="edge")
    return np.convolve(padded, np.full(WINDOW, 1 / WINDOW), mode="valid")


def _steepest(rates: Floats, falling: Floats) -> float:
    """The rate in the middle of the half decade over which the loss falls most."""
    logs, half = np.log(rates), math.log(10) / 4
    drop = np.interp(logs - half, logs, falling) - np.interp(logs + half, logs, falling)
    return float(rates[int(drop.argmax())])
