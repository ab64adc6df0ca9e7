"""Lets a signal end a run where it can go on from exactly."""

from __future__ import annotations

import lightning.pytorch as pl

from lrtrain import signals


class Interruption(pl.Callback):
    """Puts a signal off while the model trains: `LastAndBest` ends the run at the next place where it may save.

    That is the end of the running step, or of the validation that is going on. Before and after training, when there
    is nothing to save, a signal ends the run at once.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep Lightning from the signals: it would exit with 0 and save nothing, and in a test change nothing."""
        setattr(trainer._signal_connector, "register_signal_handlers", lambda: None)  # noqa: B010

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on, there is something to save."""
        signals.defer()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All is saved."""
        signals.act()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """There is no next step to stop after."""
        signals.ended_by(exception)
