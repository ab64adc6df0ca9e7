"""Stops a run that has diverged."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lrtrain.errors import DivergedError
from lrtrain.training.scheduling import scheduler_of

EXPLODED = 1e4


class DivergenceGuard(pl.Callback):
    """Raises `DivergedError` at the first loss that is not finite, or beyond `EXPLODED` times the first of the run.

    The training loss is looked at before it reaches the weights, the validation loss before they are called the best.
    Ranks stop together, without asking each other at every step: a rank whose loss is bad makes its gradient NaN, and
    the mean of the gradients, which DDP gives to all of them, tells each.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self._bad: float | None = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the training loss."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)  # Lightning shows the loss as fp16 scales it
        value = float(loss.detach()) / (scaler.get_scale() if scaler else 1.0)
        if self.first is None:
            self.first = abs(value)
        if self._is_sound(value):
            return
        if trainer.world_size == 1:
            raise diverged(trainer, f"train_loss is {value:.4g}")
        self._bad = value
        if _averages_gradients(trainer):
            loss.register_hook(lambda gradient: gradient * math.nan)  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Look at what other ranks say of theirs."""
        if trainer.world_size == 1:
            return
        if _averages_gradients(trainer):
            norm = get_total_norm(weight.grad for weight in pl_module.parameters() if weight.grad is not None)
            sound = math.isfinite(norm)
        else:
            sound = trainer.strategy.reduce_boolean_decision(self._bad is None)
        if not sound:
            raise diverged(trainer, self._whose(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the validation loss, which is the same on all ranks."""
        if "val_loss" in trainer.callback_metrics and not trainer.sanity_checking:
            value = float(trainer.callback_metrics["val_loss"])
            if not self._is_sound(value):
                raise diverged(trainer, f"val_loss is {value:.4g}")

    def state_dict(self) -> dict[str, float | None]:
        """The first loss of the run."""
        return {"first": self.first}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Measure a resumed run by its own first loss."""
        self.first = state_dict["first"]

    def _is_sound(self, value: float) -> bool:
        return abs(value) <= EXPLODED * max(self.first or 0.0, 1.0)  # false for NaN

    def _whose(self, trainer: pl.Trainer) -> str:
        """Ask all ranks, now that all of them ask."""
        losses: list[float | None] = [None] * trainer.world_size
        torch.distributed.all_gather_object(losses, self._bad)
        bad = [f"train_loss is {value:.4g} on rank {rank}" for rank, value in enumerate(losses) if value is not None]
        return ", ".join(bad) or "the gradient is not finite"


def _averages_gradients(trainer: pl.Trainer) -> bool:
    """Whether a NaN in the gradient of one rank reaches all, and means what it says: a `GradScaler` expects some."""
    return isinstance(trainer.strategy, DDPStrategy) and getattr(trainer.precision_plugin, "scaler", None) is None


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
