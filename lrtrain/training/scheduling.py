"""A schedule in anybody's LightningModule: what `configure_optimizers` returns, and the callback for feedback."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer

from lrtrain.errors import RequestError
from lrtrain.scheduler import Scheduler
from lrtrain.schedules import Feedback, Progress


def with_schedule(
    optimizer: Optimizer,
    schedule: Callable[[Progress], float],
    trainer: pl.Trainer,
    feedback: Feedback | None = None,
    monitor: str = "val_loss",
) -> OptimizerLRScheduler:
    """An optimizer under a schedule, as `configure_optimizers` returns it; the run's length is asked of the trainer.

    Example:
        >>> def configure_optimizers(self):
        ...     return with_schedule(SGD(self.parameters(), lr=0.1), warmup(cosine(), "5%"), self.trainer)

    Args:
        optimizer: Of the module's parameters.
        schedule: Maps `Progress` to a multiplier.
        trainer: The module's trainer.
        feedback: A rule such as ``plateau()``; the trainer then needs `ValidationFeedback` among its callbacks.
        monitor: The metric that the feedback looks at.

    Raises:
        RequestError: The trainer does not know how long the run is.
    """
    total = planned_updates(trainer)
    batches = trainer.num_training_batches
    steps_per_epoch = None if math.isinf(batches) else math.ceil(batches / trainer.accumulate_grad_batches)
    scheduler = Scheduler(
        optimizer, schedule, total_steps=total, steps_per_epoch=steps_per_epoch or None, feedback=feedback
    )
    return for_lightning(scheduler, monitor)


def for_lightning(scheduler: Scheduler, monitor: str) -> OptimizerLRScheduler:
    """A scheduler with its optimizer, in the form in which `configure_optimizers` returns them."""
    return {
        "optimizer": scheduler.optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step", "monitor": monitor},
    }


def planned_updates(trainer: pl.Trainer) -> int:
    """How many optimizer updates the trainer will do.

    Raises:
        RequestError: It does not know, as with iterable data or unlimited epochs.
    """
    total = trainer.estimated_stepping_batches
    if math.isinf(total) or total < 0:
        raise RequestError("the length of the run is not known: give the Trainer max_steps")
    return int(total)


def scheduler_of(trainer: pl.Trainer) -> Scheduler:
    """The scheduler that a trainer runs."""
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    assert isinstance(scheduler, Scheduler)
    return scheduler


def names_in_sanity_check(trainer: pl.Trainer) -> list[str]:
    """What the sanity check has logged.

    There, Lightning keeps no value of what belongs to one of several loaders, such as ``val_loss/dataloader_idx_0``.
    """
    results = trainer._results
    assert results is not None, "its loop has run"
    of_loaders = (results._forked_name(metric, False) for metric in results.values() if metric.meta.on_epoch)
    return list(dict.fromkeys([*trainer.callback_metrics, *chain.from_iterable(of_loaders)]))


class ValidationFeedback(pl.Callback):
    """Gives every validation's metric to the feedback rule: one decision each, before any checkpoint of it is written.

    Lightning averages a metric that is logged with ``sync_dist=True`` over the ranks, so all of them decide alike.

    A resumed run whose metric is another, or is better the other way, begins its feedback anew.

    Args:
        monitor: Name of a metric that the validation logs.
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self._logged: list[str] = []
        self._mode: Any = None
        self._saved: tuple[str, Any] | None = None

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a metric that the validation does not log before the first update."""
        self._logged = sorted(names_in_sanity_check(trainer))
        self._refuse_unless_in(self._logged)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what was observed of another metric."""
        scheduler = scheduler_of(trainer)
        if scheduler.feedback is not None:
            self._mode = scheduler.feedback.parameters.get("mode")
            if self._saved not in (None, (self.monitor, self._mode)):
                scheduler.forget()
        self._saved = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Observe the metric, and say so when the rate changes."""
        scheduler = scheduler_of(trainer)
        if trainer.sanity_checking or scheduler.feedback is None:
            return
        self._refuse_unless_in(sorted(trainer.callback_metrics))
        metric = float(trainer.callback_metrics[self.monitor])
        before = scheduler.get_last_lr()[0]
        if scheduler.observe(metric) != 1:
            trainer.print(
                f"epoch {trainer.current_epoch + 1}, update {scheduler.last_epoch}: learning rate {before:.4g} -> "
                f"{scheduler.get_last_lr()[0]:.4g} ({scheduler.feedback.name}, {self.monitor} {metric:.4g})"
            )

    def state_dict(self) -> dict[str, Any]:
        """What is observed, and which metrics there are."""
        return {"monitor": self.monitor, "mode": self._mode, "logged": self._logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Learn what a saved run observed; raises RequestError where it had no such metric as is asked for now."""
        self._saved, self._logged = (state_dict["monitor"], state_dict["mode"]), state_dict["logged"]
        if self._logged:
            self._refuse_unless_in(self._logged)

    def _refuse_unless_in(self, logged: list[str]) -> None:
        if self.monitor not in logged:
            known = ", ".join(logged) or "none"
            raise RequestError(f"monitor={self.monitor} is not logged by the validation; there are {known}")
