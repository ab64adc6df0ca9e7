"""Runs that train at one set of weights and are judged by an average of those.

The average is in the model during validation and once training has ended. In a checkpoint it is the ``state_dict``;
the weights to train on from are beside it, as ``current_model_state``.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn


def moving_average(decay: float) -> WeightAveraging:
    """Keeps an exponential moving average of the weights and buffers, which begins as the weights of the first update.

    Args:
        decay: What stays of the old average at each update.
    """
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return WeightAveraging(multi_avg_fn=average)


class ScheduleFree(pl.Callback):
    """Switches an optimizer that averages the weights itself to its average, and exactly back.

    Such optimizers (Defazio et al. 2024, arXiv:2405.15682) have the methods `train` and `eval`. Here a validation
    leaves no trace in the training: the weights are put back as they were, not computed back.
    """

    def __init__(self) -> None:
        self._weights: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin at the training weights, and say what has no average."""
        _switch(trainer, "train")
        if any(isinstance(layer, _BatchNorm) for layer in pl_module.modules()):
            trainer.print("warning: batch norm's statistics are those of the training weights, not of their average")

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the average."""
        if trainer.state.fn == "fit":
            self._show(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on at the training weights."""
        if trainer.state.fn == "fit":
            self._hide(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the model."""
        _switch(trainer, "eval")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average, and the training weights beside it."""
        current = checkpoint["state_dict"]
        self._show(trainer, pl_module)
        checkpoint["state_dict"] = {name: value.clone() for name, value in current.items()}
        self._hide(trainer, pl_module)
        checkpoint["current_model_state"] = current

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on at the training weights."""
        pl_module.load_state_dict(checkpoint["current_model_state"])

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._weights = [parameter.detach().clone() for parameter in pl_module.parameters()]
        _switch(trainer, "eval")

    def _hide(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _switch(trainer, "train")
        for parameter, weight in zip(pl_module.parameters(), self._weights, strict=True):
            parameter.data.copy_(weight)
        self._weights = []


def _switch(trainer: pl.Trainer, mode: str) -> None:
    getattr(trainer.optimizers[0], mode)()
