"""What each validation of a training has measured, for the callbacks that look at it."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

import lightning.pytorch as pl

from lrtrain.training.private import is_on_schedule


class _Validation:
    """A validation; what it has measured is looked up once for all callbacks, as a GPU is waited for.

    Lightning keeps every value that was ever logged among its metrics; one that this validation has not logged is of
    other weights, and is not shown.

    Args:
        trainer: That begins to validate.
        first: The callback that was told of it first, and is of the next one.
    """

    def __init__(self, trainer: pl.Trainer, first: pl.Callback) -> None:
        self._first = ref(first)  # it may know the trainer, which would then be kept for ever
        self.closes = not trainer.sanity_checking and trainer.state.fn == "fit" and not is_on_schedule(trainer)
        self._logged_before: dict[str, Any] = dict(trainer.callback_metrics)
        self._metrics: dict[str, float] | None = None

    def was_told_first(self, callback: pl.Callback) -> bool:
        """Whether it was that callback, which then has another one before it now."""
        return self._first() is callback

    def metrics(self, trainer: pl.Trainer) -> dict[str, float]:
        """What is new."""
        if self._metrics is None:
            logged = trainer.callback_metrics.items()
            self._metrics = {name: float(value) for name, value in logged if value is not self._logged_before.get(name)}
        return self._metrics


_LAST: WeakKeyDictionary[pl.Trainer, _Validation] = WeakKeyDictionary()
"""The last validation that each trainer has begun."""


class ValidationObserver(pl.Callback):
    """A callback that looks at the validations of a training."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember what was logged before, and why there is a validation."""
        if trainer not in _LAST or _LAST[trainer].was_told_first(self):
            _LAST[trainer] = _Validation(trainer, self)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what is new."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        validation = _LAST[trainer]
        self.observe(trainer, pl_module, validation.metrics(trainer), validation.closes)

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
