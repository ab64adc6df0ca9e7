"""Stops a run that has diverged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lrtrain.errors import DivergedError
from lrtrain.training.accumulation import weight_of
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.private import flag_non_finite
from lrtrain.training.validation import ValidationObserver

EXPLODED = 1e4


class DivergenceGuard(ValidationObserver):
    """Raises `DivergedError` at the first loss or gradient that is not finite, or a loss that has exploded.

    A loss has exploded if it is more than `EXPLODED` times the first of the run. The training loss and the gradient are
    checked before they change the weights, the validation loss and the monitored metric before they count as the best.
    Ranks stop together without a message at every step: a rank whose loss is bad makes its gradient NaN, which reaches
    all others in DDP's mean of the gradients.

    Args:
        monitor: The metric of the feedback and the best weights; it must be finite.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.first: float | None = None
        self._bad: float | None = None
        self._divisor = 1.0
        self._gradients = Gradients(())
        self._scaler: torch.amp.GradScaler | None = None
        self._alone = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look up what stays the same in training."""
        self._gradients = Gradients(pl_module.parameters())
        self._scaler = _scaler(trainer)
        self._alone = trainer.world_size == 1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note what the loss of the batch will be divided by, as accumulated gradients are."""
        self._divisor = trainer.accumulate_grad_batches / weight_of(trainer, batch_idx)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Check the training loss."""
        value = loss.item() * self._divisor
        if self._scaler:
            value /= self._scaler.get_scale()  # Lightning passes the loss as scaled for fp16
        if self.first is None:
            self.first = abs(value)
        if self._is_sound(value):
            return
        if self._alone:
            raise diverged(trainer, f"train_loss is {value:.4g}")
        self._bad = value
        if _averages_gradients(trainer):
            loss.register_hook(lambda gradient: gradient * math.nan)  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Check the gradient, unless a `GradScaler` does, and the losses of other ranks."""
        sound = self._scaler is not None or self._gradients.are_finite()
        if not self._alone and not _averages_gradients(trainer):
            sound = trainer.strategy.reduce_boolean_decision(sound and self._bad is None)
        if not sound:
            raise diverged(trainer, self._whose(trainer))

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Check the metrics, which are the same on all ranks."""
        for name, is_sound in {self.monitor: math.isfinite, "val_loss": self._is_sound}.items():
            if name in metrics and not is_sound(metrics[name]):
                raise diverged(trainer, f"{name} is {metrics[name]:.4g}")

    def state_dict(self) -> dict[str, float | None]:
        """The first loss of the run."""
        return {"first": self.first}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Continue with a saved run's first loss."""
        self.first = state_dict["first"]

    def _is_sound(self, value: float) -> bool:
        return abs(value) <= EXPLODED * max(self.first or 0.0, 1.0)  # false for NaN

    def _whose(self, trainer: pl.Trainer) -> str:
        """The bad losses of all ranks, which all call this."""
        losses = [self._bad] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(losses, self._bad)
        bad = [f"train_loss is {value:.4g} on rank {rank}" for rank, value in enumerate(losses) if value is not None]
        return ", ".join(bad) or "the gradient is not finite"


class Gradients:
    """The gradients of some parameters.

    Args:
        parameters: May not be replaced by others.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._usual: list[Tensor] = []
        self._others: list[Tensor] = []
        self._found, self._one = torch.zeros(1), torch.ones(1)
        for parameter in parameters:
            if not self._usual:
                self._found, self._one = self._found.to(parameter.device), self._one.to(parameter.device)
            same = parameter.device == self._found.device and parameter.device.type in ("cpu", "cuda")
            (self._usual if same and parameter.dtype is torch.float32 else self._others).append(parameter)

    def are_finite(self) -> bool:
        """Whether all present gradients are finite.

        Those of 32 bits are checked in one call; the few others by their norm, which takes several times as long.
        """
        gradients = [parameter.grad for parameter in self._usual if parameter.grad is not None]
        flag_non_finite(gradients, self._found, self._one)
        if self._found.item():
            return False
        if not self._others:
            return True
        others = [parameter.grad for parameter in self._others if parameter.grad is not None]
        return math.isfinite(get_total_norm(others, math.inf))


def not_finite(values: Mapping[str, Any]) -> list[str]:
    """The names of the tensors with a number that is not finite; other values are ignored."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return [name for name, value in tensors.items() if not torch.isfinite(value).all()]


def _averages_gradients(trainer: pl.Trainer) -> bool:
    """Whether a NaN in the gradient of one rank reaches all, and means a bad loss."""
    return isinstance(trainer.strategy, DDPStrategy) and _scaler(trainer) is None


def _scaler(trainer: pl.Trainer) -> torch.amp.GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)


def diverged(trainer: pl.Trainer, what: str) -> DivergedError:
    """The error that says at which update and rate."""
    scheduler = scheduler_of(trainer)
    cause = "lower lr, or add a warmup" if scheduler.last_epoch else "check inputs and model: no update was made yet"
    return DivergedError(
        f"{what} at update {scheduler.last_epoch} (epoch {trainer.current_epoch}), "
        f"learning rate {scheduler.get_last_lr()[0]:.4g}: {cause}",
        scheduler.state.scale,
    )


class Rescale(pl.Callback):
    """Continues a run that was rolled back at a lower rate.

    Args:
        scale: Factor of all rates from now on.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lower the rates, now that the checkpoint is loaded."""
        scheduler_of(trainer).rescale(self.scale)
