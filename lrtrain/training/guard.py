"""Stops a run that has diverged."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import Tensor

from lrtrain.errors import DivergedError
from lrtrain.training.scheduling import scheduler_of

EXPLODED = 1e4


class DivergenceGuard(pl.Callback):
    """Raises `DivergedError` at the first loss that is not finite, or beyond `EXPLODED` times the first of the run.

    The training loss is looked at before it reaches the weights, the validation loss before they are called the best.
    """

    def __init__(self) -> None:
        self.first: float | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the training loss."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)  # Lightning shows the loss as fp16 scales it
        value = float(loss.detach()) / (scaler.get_scale() if scaler else 1.0)
        if self.first is None:
            self.first = abs(value)
        self._check(trainer, "train_loss", value)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the validation loss."""
        if "val_loss" in trainer.callback_metrics and not trainer.sanity_checking:
            self._check(trainer, "val_loss", float(trainer.callback_metrics["val_loss"]))

    def state_dict(self) -> dict[str, float | None]:
        """The first loss of the run."""
        return {"first": self.first}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Measure a resumed run by its own first loss."""
        self.first = state_dict["first"]

    def _check(self, trainer: pl.Trainer, name: str, value: float) -> None:
        if abs(value) <= EXPLODED * max(self.first or 0.0, 1.0):  # false for NaN
            return
        raise diverged(trainer, f"{name} is {value:.4g}")


def diverged(trainer: pl.Trainer, what: str) -> DivergedError:
    """The error that says when and at which rate."""
    scheduler = scheduler_of(trainer)
    return DivergedError(
        f"{what} at update {scheduler.last_epoch} (epoch {trainer.current_epoch}), "
        f"learning rate {scheduler.get_last_lr()[0]:.4g}: lower lr, or add a warmup",
        scheduler.state.scale,
    )


class Rescale(pl.Callback):
    """Begins a run that was rolled back at a lower rate.

    Args:
        scale: What the rates are multiplied by from here on.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lower the rates, once the checkpoint's state is in place."""
        scheduler_of(trainer).rescale(self.scale)
