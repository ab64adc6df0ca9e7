"""What each validation of a training has measured, for the callbacks that look at it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lrtrain.training.private import is_on_schedule


class ValidationObserver(pl.Callback):
    """A callback that looks at the validations of a training.

    Lightning keeps every value that was ever logged among its metrics; one that this validation has not logged is of
    other weights, and is not shown.
    """

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember what was logged before, and why there is a validation."""
        self._logged_before: dict[str, Any] = dict(trainer.callback_metrics)
        self._closing = not trainer.sanity_checking and trainer.state.fn == "fit" and not is_on_schedule(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what is new."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = trainer.callback_metrics.items()
        new = {name: float(value) for name, value in metrics if value is not self._logged_before.get(name)}
        self.observe(trainer, pl_module, new, self._closing)

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Look at a validation.

        Args:
            trainer: That has validated.
            pl_module: That was validated.
            metrics: What this validation has logged.
            closing: There was none to be here, but the training ends.
        """
