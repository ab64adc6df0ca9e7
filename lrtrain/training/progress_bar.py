"""The progress bar of a run."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lrtrain.training.record import batch_loss
from lrtrain.training.scheduling import scheduler_of


class RunBar(ProgressBar):
    """One line for the whole run: epoch, updates, time left, loss, learning rate, validation.

    Args:
        every: Updates between refreshes.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.enabled = True
        self._progress: Progress | None = None

    def disable(self) -> None:
        """Show nothing, as Lightning asks on all ranks but the first."""
        self.enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self.enabled:
            (self._progress.console if self._progress else Console()).print(*args, highlight=False, soft_wrap=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar."""
        console = Console()
        if not self.enabled or not console.is_terminal:
            return
        columns = "epoch {task.fields[epoch]}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, TextColumn("{task.fields[values]}"), console=console)
        self._progress.add_task("", total=scheduler_of(trainer).total_steps, epoch="", values="")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh the bar."""
        if self._progress is None or batch_idx % self.every:
            return
        scheduler = scheduler_of(trainer)
        loss = batch_loss(trainer, outputs)
        values = [] if loss is None else [f"loss {loss:.4f}"]
        values += [f"lr {rate:.4g}" for rate in scheduler.used_lrs[:1]]
        values += [f"{name} {float(value):.4f}" for name, value in trainer.callback_metrics.items()]
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._progress.update(
            self._progress.task_ids[0], completed=scheduler.last_epoch, epoch=epoch, values="  ".join(values)
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar full."""
        if self._progress:
            self._progress.update(self._progress.task_ids[0], completed=scheduler_of(trainer).last_epoch)
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
