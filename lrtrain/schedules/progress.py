"""Where a run stands."""

from __future__ import annotations

from typing import NamedTuple

from lrtrain.parameters.spans import Span, SpanLike


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
        total_steps: Optimizer updates in the run.
    """

    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, steps_per_epoch: int, length: SpanLike) -> Horizon:
        """That of a run of so many epochs or updates."""
        return cls(steps_per_epoch, updates(length, Progress(0, steps_per_epoch)))

    @property
    def epochs(self) -> float:
        """Epochs in the run; a whole number is an int."""
        whole, rest = divmod(self.total_steps, self.steps_per_epoch)
        return self.total_steps / self.steps_per_epoch if rest else whole

    def at(self, step: int) -> Progress:
        """The position of the update `step`."""
        return Progress(step, self.steps_per_epoch, self.total_steps)


def needs(field: str) -> int:
    """Refuse a schedule that asks for what the caller did not say."""
    raise ValueError(f"this schedule needs {field}: give Scheduler(..., {field}=...) or Progress(..., {field}=...)")


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
