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
from lrtrain.training.stretch import Fault, Passed, Stretched, Taken
from lrtrain.training.validation import ValidationObserver

EXPLODED = 1e4


class DivergenceGuard(Stretched, ValidationObserver):
    """Raises `DivergedError` at the first loss or gradient that is not finite, or a loss that has exploded.

    A loss has exploded if it is more than `EXPLODED` times the first of the run. The training loss and the gradient are
    checked before they change the weights, the validation loss and the monitored metric before they count as the best.
    On an accelerator they are checked one update later, so that the host never waits for it: the error names the update
    that went wrong, and nothing is validated or saved before it is checked.

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
        self._late: Late | None = None
        self._loss: Tensor | None = None
        self._unread: tuple[int, float] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look up what stays the same in training."""
        self._gradients = Gradients(pl_module.parameters())
        self._scaler = _scaler(trainer)
        self._alone = trainer.world_size == 1
        device = trainer.strategy.root_device
        self._late = Late(device) if reads_late(device) and self._alone and not self._scaler else None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note what the loss of the batch will be divided by, as accumulated gradients are."""
        self._divisor = trainer.accumulate_grad_batches / weight_of(trainer, batch_idx)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Check the training loss."""
        if self._late:
            own = loss.detach() if self._divisor == 1 else loss.detach() * self._divisor
            # Of several batches the largest counts; maximum keeps a NaN.
            self._loss = own if self._loss is None else torch.maximum(self._loss.abs(), own.abs())
            return
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
        if self._late:
            self._read(trainer)
            assert self._loss is not None, "there was a loss"
            self._late.write(torch.stack([self._loss, self._gradients.flag()]))
            scheduler, self._loss = scheduler_of(trainer), None
            self._unread = scheduler.last_epoch, float(scheduler.get_lr()[0])
            return
        sound = self._scaler is not None or self._gradients.are_finite()
        if not self._alone and not _averages_gradients(trainer):
            sound = trainer.strategy.reduce_boolean_decision(sound and self._bad is None)
        if not sound:
            raise diverged(trainer, self._whose(trainer))

    def fault(self, trainer: pl.Trainer, passed: Passed, taken: Taken) -> Fault | None:
        """The first loss or gradient that is wrong."""
        for number, (loss, norm) in enumerate(zip(taken.losses, taken.norms, strict=True)):
            if self.first is None:
                self.first = abs(loss)
            sound = self._is_sound(loss)
            if not (sound and math.isfinite(norm)):
                what = "the gradient is not finite" if sound else f"train_loss is {loss:.4g}"
                rate = passed.rates[number + 1][0]
                return Fault(number, diverged(trainer, what, passed.first + number, float(rate)))
        return None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last update before its weights are measured."""
        super().on_validation_start(trainer, pl_module)
        self._read(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the last update before its weights are saved."""
        self._read(trainer)

    def _read(self, trainer: pl.Trainer) -> None:
        """Check the update that was written of last."""
        if self._late is None or self._unread is None:
            return
        (loss, found), at, self._unread = self._late.read(), self._unread, None
        if self.first is None:
            self.first = abs(loss)
        if not self._is_sound(loss):
            raise diverged(trainer, f"train_loss is {loss:.4g}", *at)
        if found:
            raise diverged(trainer, "the gradient is not finite", *at)

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
        """Whether all present gradients are finite."""
        return not self.flag().item()

    def flag(self) -> Tensor:
        """Not 0 if a present gradient is not finite; computed on their device.

        Those of 32 bits are checked in one call; the few others by their norm, which takes several times as long.
        """
        gradients = [parameter.grad for parameter in self._usual if parameter.grad is not None]
        flag_non_finite(gradients, self._found, self._one)
        if not self._others:
            return self._found[0]
        others = [parameter.grad for parameter in self._others if parameter.grad is not None]
        norm = get_total_norm(others, math.inf).to(self._found.device)
        return self._found[0] + ~torch.isfinite(norm)


class Late:
    """Two numbers that a device has computed, which the host reads later.

    Args:
        device: Of the numbers.
    """

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._host = torch.empty(2, pin_memory=on_gpu)
        self._written = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]

    def write(self, values: Tensor) -> None:
        """Have them copied once they are there."""
        self._host.copy_(values, non_blocking=True)
        if self._written:
            self._written.record()

    def read(self) -> list[float]:
        """Those that were written last; waits for them."""
        if self._written:
            self._written.synchronize()
        return self._host.tolist()


def reads_late(device: torch.device) -> bool:
    """Whether asking a device for a number would keep it from going on with what it was given."""
    return device.type != "cpu"


def not_finite(values: Mapping[str, Any]) -> list[str]:
    """The names of the tensors with a number that is not finite; other values are ignored."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return [name for name, value in tensors.items() if not _is_finite(value)]


def _is_finite(tensor: Tensor) -> bool:
    """Whether all its numbers are; a sum that is takes a fortieth of looking at each, and one may overflow."""
    return bool(torch.isfinite(tensor.sum()) or torch.isfinite(tensor).all())


def _averages_gradients(trainer: pl.Trainer) -> bool:
    """Whether a NaN in the gradient of one rank reaches all, and means a bad loss."""
    return isinstance(trainer.strategy, DDPStrategy) and _scaler(trainer) is None


def _scaler(trainer: pl.Trainer) -> torch.amp.GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)


def diverged(trainer: pl.Trainer, what: str, step: int | None = None, rate: float | None = None) -> DivergedError:
    """The error that says at which update and rate; the present ones if not said."""
    scheduler = scheduler_of(trainer)
    step = scheduler.last_epoch if step is None else step
    rate = float(scheduler.get_lr()[0]) if rate is None else rate
    cause = "lower lr, or add a warmup" if step else "check inputs and model: no update was made yet"
    return DivergedError(
        f"{what} at update {step} (epoch {trainer.current_epoch}), learning rate {rate:.4g}: {cause}",
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
