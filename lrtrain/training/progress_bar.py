"""The progress bar of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.private import count_batches
from lrtrain.training.record import batch_loss
from lrtrain.training.stretch import Stretched

BAR = 10
"""Columns of the bar itself: the values beside it say more."""


def tell(trainer: pl.Trainer, text: str) -> None:
    """Print a line above a trainer's progress bar, on the first rank only."""
    if trainer.is_global_zero:
        bar = trainer.progress_bar_callback
        (bar.print if bar else print)(text)


class RunBar(Stretched, ProgressBar):
    """One line for the whole run: epoch, updates, time left, loss, learning rate, validation.

    Args:
        every: Updates between refreshes.
        shown: Draw the bar, if the output is a terminal.
        say: Prints a line while no bar is drawn.
    """

    def __init__(self, every: int, shown: bool, say: Callable[[str], None]) -> None:
        super().__init__()
        self.every = every
        self.shown = shown
        self.say = say
        self.enabled = True
        self._progress: Progress | None = None

    def disable(self) -> None:
        """Draw and print nothing, as on all ranks but the first."""
        self.enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        text = " ".join(map(str, args))
        if self._progress:
            self._progress.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
        elif self.enabled:
            self.say(text)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar."""
        console = Console()
        if not (self.shown and self.enabled and console.is_terminal):
            return
        columns = "epoch {task.fields[epoch]}", BarColumn(BAR), MofNCompleteColumn(), TimeRemainingColumn()
        values = TextColumn("{task.fields[values]}", markup=False)
        self._progress = Progress(*columns, values, console=console)
        self._progress.add_task("", total=scheduler_of(trainer).total_steps, epoch="", values="")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh the bar."""
        if self._progress is None or batch_idx % self.every:
            return
        scheduler = scheduler_of(trainer)
        loss = batch_loss(trainer, outputs, batch_idx)
        values = [] if loss is None else [f"loss {loss:.4f}"]
        values += [f"lr {rate:.4g}" for rate in scheduler.used_lrs[:1]]
        values += [f"{name} {float(value):.4f}" for name, value in trainer.callback_metrics.items()]
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        total = scheduler.total_steps
        room = self._progress.console.width - len(f"epoch {epoch} {total}/{total} 0:00:00 ") - BAR
        ends = accumulate(len(value) + 2 for value in values)
        shown = [value for value, end in zip(values, ends, strict=True) if end <= room]  # whole ones only
        self._progress.update(
            self._progress.task_ids[0], completed=scheduler.last_epoch, epoch=epoch, values="  ".join(shown)
        )

    def patience(self, trainer: pl.Trainer) -> float:
        """Until the next refresh."""
        return -count_batches(trainer) % self.every + 1 if self._progress else math.inf

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar full."""
        if self._progress:
            self._progress.update(self._progress.task_ids[0], completed=scheduler_of(trainer).last_epoch)
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Release the terminal."""
        self._stop()

    def _stop(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
