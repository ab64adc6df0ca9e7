"""Keeps the last and the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from lrtrain.runs import RunFolder
from lrtrain.training.scheduling import scheduler_of


class LastAndBest(Checkpoint):
    """Writes both checkpoints of a run after each validation; each replaces its predecessor in one step.

    Lightning calls a `Checkpoint` after all other callbacks, so what is saved includes the feedback's decision.

    Args:
        folder: Where the checkpoints belong.
        monitor: The metric that says which is best.
        mode: ``min`` or ``max``.
    """

    def __init__(self, folder: RunFolder, monitor: str, mode: str) -> None:
        self.folder = folder
        self.monitor = monitor
        self.mode = mode
        self.best: dict[str, float] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights, and again under the other name where they are the best so far."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not self.best or self._better(metrics[self.monitor], self.best[self.monitor]):
            self.best = {"epoch": trainer.current_epoch, "step": scheduler_of(trainer).last_epoch, **metrics}
            self._save(trainer, self.folder.best_checkpoint)
        self._save(trainer, self.folder.last_checkpoint)

    def _better(self, value: float, best: float) -> bool:
        return value < best if self.mode == "min" else value > best

    @staticmethod
    def _save(trainer: pl.Trainer, path: Path) -> None:
        scratch = path.with_name(f".{path.name}")
        trainer.save_checkpoint(scratch)
        if trainer.is_global_zero:
            scratch.replace(path)
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        """The best so far, as plain numbers."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the best of a saved run."""
        self.best = state_dict["best"]
