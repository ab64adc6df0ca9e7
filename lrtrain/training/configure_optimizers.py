"""The optimizer and the schedule of any LightningModule: what its `configure_optimizers` returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import lightning.pytorch as pl
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer

from lrtrain.errors import RequestError
from lrtrain.scheduler import Scheduler
from lrtrain.schedules import Feedback, Progress
from lrtrain.training.groups import Frozen


def with_schedule(
    optimizer: Optimizer,
    schedule: Callable[[Progress], float],
    trainer: pl.Trainer,
    feedback: Feedback | None = None,
    monitor: str = "val_loss",
) -> OptimizerLRScheduler:
    """An optimizer under a schedule, as `configure_optimizers` returns it; the trainer knows the run's length.

    Example:
        >>> def configure_optimizers(self):
        ...     return with_schedule(SGD(self.parameters(), lr=0.1), warmup(cosine(), "5%"), self.trainer)

    Args:
        optimizer: Of the module's parameters.
        schedule: Maps `Progress` to a multiplier.
        trainer: The module's trainer.
        feedback: A rule such as ``plateau()``; the trainer then needs `ValidationFeedback` among its callbacks.
        monitor: The metric that the feedback observes.

    Raises:
        RequestError: The trainer does not know the run's length, has no callback that gives the metric to the feedback,
            or one that brings a schedule of its own.
    """
    _check_callbacks(trainer, feedback, monitor)
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
        # ValidationFeedback gives it the metric, not Lightning, which would do so at the end of epochs.
        "lr_scheduler": {"scheduler": scheduler, "interval": "step", "monitor": monitor, "reduce_on_plateau": False},
    }


def _check_callbacks(trainer: pl.Trainer, feedback: Feedback | None, monitor: str) -> None:
    from lrtrain.training.validation_feedback import ValidationFeedback

    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks):
        raise RequestError(
            "StochasticWeightAveraging brings its own schedule: leave it out, and end the schedule in a constant one, "
            "join([schedule, constant()], ['75%']), with lightning's WeightAveraging callback"
        )
    observers = [callback for callback in callbacks if isinstance(callback, ValidationFeedback)]
    if feedback and not observers:
        raise RequestError(f"feedback={feedback}: add ValidationFeedback({monitor!r}) to the Trainer's callbacks")
    if feedback and all(callback.monitor != monitor for callback in observers):
        given = f"ValidationFeedback({observers[0].monitor!r})"
        raise RequestError(f"{given} is among the callbacks, but with_schedule has monitor={monitor!r}: give both one")


def planned_updates(trainer: pl.Trainer) -> int:
    """The optimizer updates that the trainer will do.

    Raises:
        RequestError: It does not know, as with iterable data or unlimited epochs.
    """
    total = trainer.estimated_stepping_batches
    if math.isinf(total) or total < 0:
        raise RequestError("the length of the run is not known: set max_steps of the Trainer")
    return int(total)


def scheduler_of(trainer: pl.Trainer) -> Scheduler:
    """The scheduler of a trainer."""
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    assert isinstance(scheduler, Scheduler)
    return scheduler


class Scheduled(pl.LightningModule):
    """Trains under an optimizer and a scheduler that are given to it.

    Attributes:
        make_optimizer: Returns the optimizer of the parameters.
        make_scheduler: Given the optimizer, returns its scheduler.
        monitor: The metric that the scheduler's feedback observes.
        frozen: What is held as it is at the beginning.
        measured: The names of what each validation and test measures; those of a user's module are not known before.
    """

    make_optimizer: Callable[[], Optimizer]
    make_scheduler: Callable[[Optimizer], Scheduler]
    monitor: str
    frozen: Sequence[Frozen] = ()
    measured: Sequence[str] = ()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its scheduler; `EndOfRun` ends a run whose last epoch is not a whole one."""
        scheduler = self.make_scheduler(self.make_optimizer())
        total, planned = scheduler.total_steps or 0, planned_updates(self.trainer)
        if not planned - (scheduler.steps_per_epoch or 1) < total <= planned:
            raise RequestError(
                f"the schedule is planned for {total:,} updates, but Lightning will do {planned:,}: "
                "set the length of the run by epochs and trainer.limit_train_batches only"
            )
        return for_lightning(scheduler, self.monitor)
