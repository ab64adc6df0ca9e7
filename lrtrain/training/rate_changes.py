"""A line for each change of the rate that a person would look for."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lrtrain.plan.milestones import milestones
from lrtrain.scheduler import Scheduler
from lrtrain.schedules import Horizon
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.progress_bar import tell
from lrtrain.training.stretch import Stretched


def tell_change(trainer: pl.Trainer, step: int, before: float, after: float, why: str) -> None:
    """Print that the rate is another one from an update on, and mark it in the run's logs.

    Args:
        trainer: Of the run.
        step: The index of the first update with the new rate.
        before: The rate of the update before it.
        after: Its own.
        why: For people.
    """
    scheduler = scheduler_of(trainer)
    epoch = step / (scheduler.steps_per_epoch or 1)
    line = f"epoch {epoch:.4g}: lr {before:.4g} -> {after:.4g} ({why})"
    tell(trainer, line)
    for logger in trainer.loggers:
        if write := getattr(logger, "log_line", None):  # ours
            write("reductions", line, min(step, scheduler.last_epoch - 1))  # what a checkpoint has, stays when resumed


class Milestones(Stretched, pl.Callback):
    """Tells of each milestone of the schedule after the first update with the new rate.

    Args:
        why: The name of the strategy.
    """

    def __init__(self, why: str) -> None:
        self.why = why
        self._left: list[int] = []
        self._scheduler: Scheduler | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look up those that are still to come."""
        self._scheduler = scheduler = scheduler_of(trainer)
        horizon = Horizon(scheduler.steps_per_epoch or scheduler.total_steps, scheduler.total_steps)
        self._left = [step for step in milestones(scheduler.rate_at, horizon) if step >= scheduler.last_epoch]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of a milestone that was passed."""
        if self._left and (scheduler := self._scheduler) and scheduler.last_epoch > self._left[0]:
            step = self._left.pop(0)
            tell_change(trainer, step, scheduler.rate_at(step - 1), scheduler.rate_at(step), self.why)

    def patience(self, trainer: pl.Trainer) -> float:
        """Until the update after the next milestone."""
        return max(1, self._left[0] + 1 - scheduler_of(trainer).last_epoch) if self._left else float("inf")
