"""The LightningModule whose optimizer and schedule come from outside."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer

from lrtrain.errors import RequestError
from lrtrain.scheduler import Scheduler
from lrtrain.training.scheduling import for_lightning, planned_updates


class Scheduled(pl.LightningModule):
    """Trains under the optimizer and the scheduler that it is given.

    Attributes:
        make_optimizer: Returns the optimizer of the parameters.
        make_scheduler: Given the optimizer, returns its scheduler.
        monitor: The metric that the scheduler's feedback looks at.
    """

    make_optimizer: Callable[[], Optimizer]
    make_scheduler: Callable[[Optimizer], Scheduler]
    monitor: str

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its scheduler, which counts the updates itself."""
        optimizer = self.make_optimizer()
        scheduler = self.make_scheduler(optimizer)
        planned = planned_updates(self.trainer)
        if planned != scheduler.total_steps:
            raise RequestError(
                f"the schedule is planned for {scheduler.total_steps:,} updates, but Lightning will do {planned:,}: "
                "set the length of the run by epochs and trainer.limit_train_batches only"
            )
        return for_lightning(scheduler, self.monitor)
