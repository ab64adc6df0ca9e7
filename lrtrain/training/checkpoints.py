"""Keeps the last and the best weights, with all that a run needs to go on exactly."""

from __future__ import annotations

import math
import os
import random
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch.nn.utils import parameters_to_vector

from lrtrain.errors import RequestError
from lrtrain.runs import RunFolder
from lrtrain.training.guard import diverged
from lrtrain.training.scheduling import scheduler_of


class Cadence(NamedTuple):
    """How often the last checkpoint is written; it always is when training ends.

    Attributes:
        updates: Every so many optimizer updates.
        seconds: Every so many seconds. Where neither is given, as often as takes `SHARE` of the time.
    """

    updates: int | None = None
    seconds: float | None = None


SHARE = 0.01
"""Of a run's time, what its last checkpoints may take where nothing else is asked for."""


class LastAndBest(Checkpoint):
    """Writes the best weights after a validation, and the last ones at a cadence.

    Each replaces its predecessor in one step, and the last keeps the one before as ``previous``. A last checkpoint is
    written only where a run can go on from exactly: after an update, and after the validation that may follow it.
    Lightning calls a `Checkpoint` after all other callbacks, so what is saved includes the feedback's decision.

    Args:
        folder: Where the checkpoints belong.
        monitor: The metric that says which is best.
        mode: ``min`` or ``max``.
        cadence: Of the last checkpoint.
    """

    def __init__(self, folder: RunFolder, monitor: str, mode: str, cadence: Cadence) -> None:
        self.folder = folder
        self.monitor = monitor
        self.mode = mode
        self.cadence = cadence
        self.best: dict[str, float] = {}
        self._saved_step = self._seen_step = 0
        self._saved_at = time.monotonic()
        self._save_took = 0.02  # until the first has been measured
        self._random: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin counting."""
        self._saved_step = self._seen_step = scheduler_of(trainer).last_epoch
        self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Go on with the random numbers of the run that was saved, now that nothing else will draw from them."""
        if self._random is not None:
            _restore_random(self._random)
            self._random = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in mid-epoch where the cadence says so."""
        if self.is_due(trainer) and self.may_save(trainer, batch_idx):
            self.save_last(trainer)
        self._seen_step = scheduler_of(trainer).last_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch where the cadence says so, and of the last one always."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if ends or self.is_due(trainer):
            self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights that are the best so far; raises DivergedError for a metric that is not finite."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not math.isfinite(metrics[self.monitor]):
            raise diverged(trainer, f"{self.monitor} is {metrics[self.monitor]:.4g}")
        if not self.best or self._better(metrics[self.monitor], self.best[self.monitor]):
            self.best = {"epoch": trainer.current_epoch, "step": scheduler_of(trainer).last_epoch, **metrics}
            self._save(trainer, self.folder.best_checkpoint)

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Whether the cadence asks for a checkpoint now."""
        updates, seconds = self.cadence
        if updates is None:
            seconds = self._save_took / SHARE if seconds is None else seconds
            due = time.monotonic() - self._saved_at >= seconds
            return trainer.strategy.broadcast(due) if trainer.world_size > 1 else due
        return scheduler_of(trainer).last_epoch - self._saved_step >= updates

    def may_save(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Whether a run can go on exactly from the end of this batch: no gradients pending, no validation to follow."""
        updated = scheduler_of(trainer).last_epoch > self._seen_step
        count, validates = batch_idx + 1, trainer.val_check_batch
        return updated and count < trainer.num_training_batches and not (validates and count % validates == 0)

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write the last checkpoint now; weights that are not finite are not kept.

        Raises:
            DivergedError: There are such weights.
        """
        weights = parameters_to_vector(trainer.lightning_module.parameters())
        if not torch.isfinite(weights).all():
            raise diverged(trainer, "a weight is not finite")
        began = time.monotonic()
        self._save(trainer, self.folder.last_checkpoint, self.folder.previous_checkpoint)
        self._saved_step, self._saved_at = scheduler_of(trainer).last_epoch, time.monotonic()
        self._save_took = self._saved_at - began

    def _better(self, value: float, best: float) -> bool:
        return value < best if self.mode == "min" else value > best

    @staticmethod
    def _save(trainer: pl.Trainer, path: Path, previous: Path | None = None) -> None:
        for logger in trainer.loggers:
            logger.save()  # what a checkpoint goes on from is on the disk by then
        scratch = path.with_name(f".{path.name}")
        trainer.save_checkpoint(scratch)
        if trainer.is_global_zero:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            scratch.replace(path)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        """The best so far and the state of the random numbers, as plain values."""
        return {"best": self.best, "random": _random_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with those of a saved run."""
        self.best, self._random = state_dict["best"], state_dict["random"]


def sound_checkpoint(folder: RunFolder) -> tuple[Path, int]:
    """The newest checkpoint of a run that is whole, and the updates done by then.

    A checkpoint is a zip archive, whose checksums are compared with what is in it.

    Raises:
        RequestError: There is none.
    """
    for path in (folder.last_checkpoint, folder.previous_checkpoint):
        if (step := _position(path)) is not None:
            return path, step
        if path.exists():
            print(f"{path} is damaged; going back to the one before")
    raise RequestError(f"{folder.path} has no checkpoint that is whole; the best weights may be in best.ckpt")


def _position(path: Path) -> int | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        return int(torch.load(path, map_location="cpu", weights_only=True)["lr_schedulers"][0]["step"])
    except Exception:  # whatever reading a damaged file runs into, it is not whole
        return None


def _random_state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    state = {"torch": torch.get_rng_state(), "python": [version, list(internal), gauss]}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _restore_random(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
