"""Lets a signal end a run only where it can be resumed exactly."""

from __future__ import annotations

import lightning.pytorch as pl

from lrtrain.process import signals
from lrtrain.training.private import leave_signals_alone


class Interruption(pl.Callback):
    """Defers a signal during training: `LastAndBest` ends the run where it may save next.

    That is the end of the current step or validation. Before and after training there is nothing to save, and a signal
    ends the run at once.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep Lightning from handling signals: it would exit with 0 and save nothing."""
        leave_signals_alone(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Defer: from now on there is something to save."""
        signals.defer()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End for a deferred signal, as all is saved."""
        signals.act()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop deferring: there is no next step."""
        signals.ended_by(exception)
