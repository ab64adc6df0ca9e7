"""Gives every validation's metric to the scheduler's feedback rule."""

from __future__ import annotations

import lightning.pytorch as pl

from lrtrain.errors import RequestError
from lrtrain.training.module import scheduler_of


class ValidationFeedback(pl.Callback):
    """One decision per validation, made before any checkpoint of that validation is written.

    Works with any LightningModule whose scheduler is an `lrtrain.Scheduler`. Lightning averages a metric that is
    logged with ``sync_dist=True`` over the ranks, so all of them decide alike.

    Args:
        monitor: Name of a metric that the validation logs.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Observe the metric, and say so when the rate changes."""
        scheduler = scheduler_of(trainer)
        if trainer.sanity_checking or scheduler.feedback is None:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise RequestError(f"monitor={self.monitor} is not logged by the validation; there are {known}")
        metric = float(trainer.callback_metrics[self.monitor])
        before = scheduler.get_last_lr()[0]
        if scheduler.observe(metric) != 1 and trainer.is_global_zero:
            trainer.print(
                f"epoch {trainer.current_epoch}, update {scheduler.last_epoch}: learning rate {before:.4g} -> "
                f"{scheduler.get_last_lr()[0]:.4g} ({scheduler.feedback.name}, {self.monitor} {metric:.4g})"
            )
