"""What is known of a run that is compared with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RUN = "run"
"""The key that is the name of a run, where nothing else is known of what it was."""
POINTS = 200
"""Of a series at most: a report shows no more, and thousands of runs fit into memory."""


class Series(NamedTuple):
    """What a run recorded of one quantity.

    Attributes:
        steps: Optimizer updates that were done, growing.
        values: Of the quantity then.
    """

    steps: NDArray[np.float32]
    values: NDArray[np.float32]


UNREAD = "unread"
"""The status of a run that does not say how it ended."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run.

    Attributes:
        name: For people.
        place: Its folder; None where it is a row of a table.
        config: What it was, by whole keys, with ``scheduler`` for its strategy.
        metrics: Of its best weights, by name; nothing where it failed, or has not ended.
        monitor: What chose these weights; None where that is not known.
        status: As it ended, or `UNREAD`.
        error: What went wrong.
        seconds: It took.
        steps: Optimizer updates that it did.
        epochs: That it completed.
        ended: When, as text that sorts.
        versions: Of the packages that it was made with.
        series: What it recorded, by name; ``lr`` is the rate.
    """

    name: str
    place: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    monitor: str | None = None
    status: str = "finished"
    error: str | None = None
    seconds: float = 0.0
    steps: int = 0
    epochs: float = 0.0
    ended: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)

    @property
    def epochs_per_step(self) -> float:
        """What turns steps into epochs; 1 where these are not known."""
        return self.epochs / self.steps if self.epochs and self.steps else 1.0


def as_series(steps: Sequence[float], values: Sequence[float | str]) -> Series:
    """A series of at most `POINTS`, the last one kept.

    Raises:
        ValueError: A value is not a number.
    """
    kept = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int))
    chosen = np.array([values[index] for index in kept], np.float64)  # from numbers or their texts
    with np.errstate(over="ignore"):  # a rate may be anything
        return Series(np.array([steps[index] for index in kept], np.float32), chosen.astype(np.float32))


class Log(NamedTuple):
    """What another program has logged of a run.

    Attributes:
        series: By the names that it uses.
        epochs: That the run did; 0 where that is not known.
        seconds: It took; likewise.
        config: What it was, where the log says so.
    """

    series: Mapping[str, Series]
    epochs: float = 0.0
    seconds: float = 0.0
    config: Mapping[str, Any] = {}


def as_value(text: str) -> Any:
    """What a word says: a number, where it is one."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
