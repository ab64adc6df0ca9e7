"""Holds some parameters as they are at the beginning of a run."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch.optim import Optimizer

from lrtrain.training.configure_optimizers import Scheduled, scheduler_of
from lrtrain.training.groups import Frozen
from lrtrain.training.stretch import Stretched


class Freezing(Stretched, pl.Callback):
    """Keeps what is frozen from the optimizer, which gathers no moments of it, and its statistics still.

    The gradients are dropped, not left out: processes that train together expect all of them.
    """

    def __init__(self) -> None:
        self._held: list[Frozen] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look up what is frozen."""
        assert isinstance(pl_module, Scheduled)
        self._held = [part for part in pl_module.frozen if part.until > scheduler_of(trainer).last_epoch]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop statistics, or let them go on."""
        for part in self._held:
            trains = scheduler_of(trainer).last_epoch >= part.until
            for layer in part.layers:
                layer.train(trains)
        if self._held:
            self._held = [part for part in self._held if part.until > scheduler_of(trainer).last_epoch]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop gradients."""
        for part in self._held:
            for parameter in part.parameters:
                parameter.grad = None
