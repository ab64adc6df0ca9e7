"""Ends a run in the middle of an epoch."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.stretch import Stretched


class EndOfRun(Stretched, pl.Callback):
    """Stops training after the schedule's last update, if that is before the end of an epoch.

    Lightning knows whole epochs only. When told to stop it validates, and ends the epoch as any other.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop a resumed run that has no update left."""
        self._stop_if_done(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after the last update."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._stop_if_done(trainer)

    def patience(self, trainer: pl.Trainer) -> float:
        """Until the last update."""
        scheduler = scheduler_of(trainer)
        return (scheduler.total_steps or math.inf) - scheduler.last_epoch

    @staticmethod
    def _stop_if_done(trainer: pl.Trainer) -> None:
        scheduler = scheduler_of(trainer)
        if scheduler.last_epoch >= (scheduler.total_steps or math.inf):
            trainer.should_stop = True
