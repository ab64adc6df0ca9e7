"""Where a run stands, and lengths of time in a run."""

from __future__ import annotations

import math
import re
from typing import NamedTuple, TypeAlias

_SPAN = re.compile(r"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*(ep|st|%)?\s*", re.IGNORECASE)


class Progress(NamedTuple):
    """The position of one optimizer update in its run.

    Attributes:
        step: Updates already done; the first update of a run has step 0.
        steps_per_epoch: Updates in an epoch; None where only updates are counted.
        total_steps: Updates in the whole run; None where the run has no planned end.
        start: Update at which a schedule with an end leaves its peak: the length of the warm-up.
    """

    step: int
    steps_per_epoch: int | None = None
    total_steps: int | None = None
    start: int = 0

    @property
    def epoch(self) -> int:
        """Completed epochs: 0 during the first."""
        steps_per_epoch = self.steps_per_epoch
        return self.step // steps_per_epoch if steps_per_epoch else needs("steps_per_epoch")

    @property
    def fraction(self) -> float:
        """Share done of what follows the warm-up: 0 until it ends, 1 from the end of the run on."""
        step, _, total, start = self
        total = total or needs("total_steps")
        if step >= total:
            return 1.0
        return (step - start) / (total - start) if step > start else 0.0


class Horizon(NamedTuple):
    """How long a run is.

    Attributes:
        steps_per_epoch: Optimizer updates in an epoch.
        epochs: Epochs in the run.
    """

    steps_per_epoch: int
    epochs: int

    @property
    def total_steps(self) -> int:
        """Optimizer updates in the run."""
        return self.steps_per_epoch * self.epochs

    def at(self, step: int) -> Progress:
        """The position of the update `step`."""
        return Progress(step, self.steps_per_epoch, self.total_steps)


def needs(field: str) -> int:
    """Refuse a schedule that asks for what the caller did not say."""
    raise ValueError(f"this schedule needs {field}: give Scheduler(..., {field}=...) or Progress(..., {field}=...)")


class Span(NamedTuple):
    """A length of time: ``5ep`` (epochs), ``300st`` (optimizer updates) or ``10%`` (of the whole run)."""

    value: float
    unit: str

    @classmethod
    def parse(cls, text: SpanLike) -> Span:
        """Read a span; a bare number counts epochs.

        Raises:
            ValueError: Not a length, negative, or not finite.
        """
        if isinstance(text, Span):
            return text
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError(f"must be a length such as 5ep, 300st or 10%, got {text!r}")
        match = _SPAN.fullmatch(str(text))
        if not match or not math.isfinite(float(match[1])):
            raise ValueError(f"must be a length such as 5ep, 300st or 10% (a bare number counts epochs), got {text!r}")
        value = float(match[1])
        return cls(int(value) if value.is_integer() else value, (match[2] or "ep").lower())

    def __str__(self) -> str:
        return f"{self.value!r}{self.unit}"

    def __repr__(self) -> str:
        return repr(str(self))


SpanLike: TypeAlias = Span | str | int | float


def updates(length: SpanLike, progress: Progress) -> int:
    """The length in optimizer updates, rounded to the nearest whole one.

    Raises:
        ValueError: The length's unit needs what `progress` does not know.
    """
    value, unit = length if type(length) is Span else Span.parse(length)
    if unit == "ep":
        return round(value * (progress.steps_per_epoch or needs("steps_per_epoch")))
    if unit == "st":
        return round(value)
    return round(value * (progress.total_steps or needs("total_steps")) / 100)
