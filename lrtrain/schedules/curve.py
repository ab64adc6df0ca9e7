"""A schedule over a whole run: its rates, and a sentence about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lrtrain.schedules.feedback import Feedback
from lrtrain.schedules.progress import Horizon, Progress


class Plan(NamedTuple):
    """What the learning rate will do.

    Attributes:
        strategy: Its name, for people.
        lr: Base rate.
        schedule: The multiplier over time.
        feedback: The rule that looks at the validation, if any; its scale is not foreseen.
        horizon: How long the run is.
        warmup: Updates that ramp up to the schedule.
    """

    strategy: str
    lr: float
    schedule: Callable[[Progress], float]
    feedback: Feedback | None
    horizon: Horizon
    warmup: int = 0

    def rate(self, step: int) -> float:
        """The rate of the update `step`, as the scheduler computes it."""
        return self.lr * self.schedule(self.horizon.at(step))

    def rates(self) -> Iterator[float]:
        """The rate of every update 0..total-1, and the one that holds after the last."""
        return map(self.rate, range(self.horizon.total_steps + 1))

    @property
    def per_epoch(self) -> bool:
        """Whether the rate holds within an epoch, looked up in the first epoch and the middle one after the warm-up."""
        length, epochs = self.horizon
        ramped = -(-self.warmup // length)
        return all(
            self.rate(step) == self.rate(epoch * length)
            for epoch in {ramped, (ramped + epochs) // 2}
            for step in range(epoch * length, (epoch + 1) * length, max(1, length // 64))
        )

    def sentence(self) -> str:
        """What the rate will do, in one line."""
        epochs = self.horizon.epochs
        total = self.horizon.total_steps
        changes = "per epoch" if self.per_epoch else "per update"
        text = (
            f"{self.strategy}: {self.rate(0):.4g} -> {self.rate(total - 1):.4g} over {epochs} epoch{'s' * (epochs > 1)}"
            f", {total:,} updates, {changes}"
        )
        if self.warmup:
            text += f", after a warm-up of {self.warmup:,} updates to {self.lr:.4g}"
        if self.feedback:
            text += f", and times {self.feedback.parameters['factor']:g} whenever {self.feedback.name} says so"
        return text
