"""What several runs recorded of one quantity, as one curve with a band around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrtrain.records.record import Record, Series

POINTS = 100
"""Of a curve, where the runs do not share theirs."""
RATE = "lr"
CLOCKS: Mapping[str, Callable[[Record], float]] = {
    "epochs": lambda run: run.epochs_per_step,
    "updates": lambda run: 1.0,
    "seconds": lambda run: run.seconds / run.steps if run.seconds and run.steps else 1.0,
}
"""What turns the updates of a run into what an axis shows; its seconds are taken to be alike."""

Values = NDArray[np.float64]


class Band(NamedTuple):
    """A median over runs, and their range.

    Attributes:
        at: Where, on a clock.
        median: Of the runs that have a value there.
        low: The smallest of them.
        high: The largest.
    """

    at: Values
    median: Values
    low: Values
    high: Values


def band(runs: Sequence[Record], name: str, clock: str) -> Band | None:
    """The band of a quantity on one of `CLOCKS`; None where no run has recorded it."""
    lines = [(own.steps * CLOCKS[clock](run), own.values) for run in runs if (own := run.series.get(name))]
    if not lines:
        return None
    first = lines[0][0]
    shared = all(np.array_equal(first, at) for at, _ in lines)
    grid = first if shared else np.linspace(min(at[0] for at, _ in lines), max(at[-1] for at, _ in lines), POINTS)
    rows = np.array([_read_at(grid, Series(at, values), name == RATE) for at, values in lines], float)
    kept = np.isfinite(rows).any(axis=0)
    rows = rows[:, kept]
    return Band(grid[kept].astype(float), np.nanmedian(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0))


def _read_at(grid: NDArray[np.float32], series: Series, holds: bool) -> Values:
    """Values between points: those of the line through them, or of the last point where it holds; NaN outside."""
    at, values = series
    if holds:
        found = values[np.clip(np.searchsorted(at, grid, side="right") - 1, 0, None)].astype(float)
    else:
        found = np.interp(grid, at, values)
    return np.where((grid >= at[0]) & (grid <= at[-1] * (1 + 1e-6)), found, np.nan)
