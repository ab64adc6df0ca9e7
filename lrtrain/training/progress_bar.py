"""The progress bar of a run, in a terminal or in a notebook."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console

from lrtrain import notebook
from lrtrain.notebook import NotebookView
from lrtrain.report.live_view import PER_SECOND, LiveView, PlainLines
from lrtrain.scheduler import Scheduler
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.private import count_batches
from lrtrain.training.record import batch_loss
from lrtrain.training.stretch import Stretched

View = LiveView | NotebookView | PlainLines

POINTS = 200
"""Of the curve of the rate."""


def tell(trainer: pl.Trainer, text: str) -> None:
    """Print a line above a trainer's progress bar, on the first rank only."""
    if trainer.is_global_zero:
        bar = trainer.progress_bar_callback
        (bar.print if bar else print)(text)


class RunBar(Stretched, ProgressBar):
    """One view of the whole run: epoch, updates, time left, rate, losses and metrics, and the curve of the rate.

    Args:
        every: Updates between looks at the loss; it is drawn a few times per second at most.
        shown: Draw the view; where the output is neither a terminal nor a notebook, say a line from time to time.
        say: Prints a line while nothing is drawn.
    """

    def __init__(self, every: int, shown: bool, say: Callable[[str], None]) -> None:
        super().__init__()
        self.every = every
        self.shown = shown
        self.say = say
        self.enabled = True
        self._view: View | None = None
        self._rates: _Rates | None = None
        self._drawn = -math.inf
        self._last: tuple[Any, int] | None = None

    def disable(self) -> None:
        """Draw and print nothing, as on all ranks but the first."""
        self.enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the view."""
        text = " ".join(map(str, args))
        if isinstance(self._view, LiveView):
            self._view.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
        elif self.enabled:
            self.say(text)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the view."""
        if not (self.shown and self.enabled):
            return
        scheduler = scheduler_of(trainer)
        total = scheduler.total_steps
        self._rates, self._last = _Rates(scheduler), None
        epochs = total / (scheduler.steps_per_epoch or total)
        if notebook.is_here():
            self._view = NotebookView(total, epochs)
        elif (console := Console()).is_terminal:
            self._view = LiveView(console, total, epochs)
        else:
            self._view = PlainLines(self.say, total, epochs)
        self._view.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refresh the view."""
        if self._view is None or batch_idx % self.every:
            return
        self._last = outputs, batch_idx
        if time.monotonic() > self._drawn + 1 / PER_SECOND:
            self._show(trainer, self._view)

    def patience(self, trainer: pl.Trainer) -> float:
        """Until the next refresh."""
        return -count_batches(trainer) % self.every + 1 if self._view else math.inf

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state on the screen."""
        if self._view:
            self._show(trainer, self._view)
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Release the terminal."""
        self._stop()

    def _show(self, trainer: pl.Trainer, view: View) -> None:
        scheduler = scheduler_of(trainer)
        values = {"lr": f"{scheduler.used_lrs[0]:.4g}"} if scheduler.used_lrs else {}
        if self._last and (loss := batch_loss(trainer, *self._last)) is not None:
            values["train_loss"] = f"{loss:.4f}"
        values |= {name: f"{float(value):.4f}" for name, value in trainer.callback_metrics.items()}
        view.show(scheduler.last_epoch, values, self._rates.now(scheduler) if self._rates else [])
        self._drawn = time.monotonic()

    def _stop(self) -> None:
        if self._view:
            self._view.stop()
            self._view = None


class _Rates:
    """The rates of a run at equal distances: as they were used, and as they will be with the feedback as it is now.

    Those of a resumed run from before a reduction are not known.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._steps = [round(number * scheduler.total_steps / (POINTS - 1)) for number in range(POINTS)]
        self._rates = [math.nan] * POINTS
        self._plan(scheduler, 0 if scheduler.state.scale == 1 else scheduler.last_epoch)

    def now(self, scheduler: Scheduler) -> list[float]:
        """All of them."""
        if scheduler.state.scale != self._scale:
            self._plan(scheduler, scheduler.last_epoch)
        return self._rates

    def _plan(self, scheduler: Scheduler, begin: int) -> None:
        known = zip(self._steps, self._rates, strict=True)
        self._rates = [rate if step < begin else scheduler.rate_at(step) for step, rate in known]
        self._scale = scheduler.state.scale
