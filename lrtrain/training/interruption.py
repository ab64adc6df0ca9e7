"""Ends a run on a signal, with a checkpoint to go on from."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from lrtrain import signals
from lrtrain.errors import InterruptedRunError
from lrtrain.training.checkpoints import LastAndBest


class Interruption(pl.Callback):
    """Saves and raises `InterruptedRunError` at the first place after a signal from which the run can go on exactly.

    That is the end of the running step, or of the validation that is going on. Further signals until then change
    nothing. All ranks stop together. Before and after training, a signal ends the run at once.

    Args:
        checkpoints: Writes the checkpoint.
    """

    def __init__(self, checkpoints: LastAndBest) -> None:
        self.checkpoints = checkpoints

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep Lightning from the signals: it would exit with 0 and save nothing, and in a test change nothing."""
        setattr(trainer._signal_connector, "register_signal_handlers", lambda: None)  # noqa: B010

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on, there is something to save."""
        signals.defer()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a step."""
        if (number := _asked(trainer)) and self.checkpoints.may_save(trainer, batch_idx):
            self._stop(trainer, number)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after an epoch."""
        if number := _asked(trainer):
            self._stop(trainer, number)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All is saved."""
        signals.act()
        if number := _asked(trainer):
            raise InterruptedRunError(number)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """There is no next step to stop after."""
        signals.act()

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        self.checkpoints.save_last(trainer)
        raise InterruptedRunError(number)


def _asked(trainer: pl.Trainer) -> int:
    """The signal that any rank has received; 0 for none."""
    number = signals.received or 0
    if trainer.world_size == 1:
        return number
    return int(trainer.strategy.reduce(torch.tensor(number, device=trainer.strategy.root_device), reduce_op="max"))
