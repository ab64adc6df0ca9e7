"""Ends a run on a signal, with a checkpoint to go on from."""

from __future__ import annotations

import signal
from typing import Any

import lightning.pytorch as pl

from lrtrain.errors import InterruptedRunError
from lrtrain.training.checkpoints import LastAndBest

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]


class Interruption(pl.Callback):
    """Saves and raises `InterruptedRunError` at the first place after a signal from which the run can go on exactly.

    That is the end of the running step, or of the validation that is going on. Further signals until then change
    nothing. All ranks stop together.

    Args:
        checkpoints: Writes the checkpoint.
    """

    def __init__(self, checkpoints: LastAndBest) -> None:
        self.checkpoints = checkpoints
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._launcher: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over, from Lightning too, which would exit with 0 and save nothing."""
        self._launcher = trainer.strategy.launcher
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a step."""
        if self._asked(trainer) and self.checkpoints.may_save(trainer, batch_idx):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after an epoch."""
        if self._asked(trainer):
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is None and hasattr(self._launcher, "kill"):
            self._launcher.kill(number)  # pass it on to the processes that we started
        self.received = self.received or number

    def _asked(self, trainer: pl.Trainer) -> bool:
        asked = self.received is not None
        return trainer.strategy.reduce_boolean_decision(asked, all=False) if trainer.world_size > 1 else asked

    def _stop(self, trainer: pl.Trainer) -> None:
        self.checkpoints.save_last(trainer)
        raise InterruptedRunError(self.received or signal.SIGTERM, str(self.checkpoints.folder.path))

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
