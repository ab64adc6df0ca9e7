"""Ends a run whose validation has stopped improving, also when it is resumed."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping

from lrtrain.training.progress_bar import tell
from lrtrain.training.validation import ValidationObserver


class EarlyStop(ValidationObserver, EarlyStopping):
    """Lightning's rule, for the validations that log the metric; a resumed run may have another patience.

    Args:
        monitor: The metric that has to improve.
        mode: ``min`` or ``max``.
        patience: Validations in a row without an improvement, after which the run ends.

    Attributes:
        anew: The run is resumed under another plan: the count of validations without an improvement restarts.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        super().__init__(monitor, mode=mode, patience=patience, check_on_train_epoch_end=False)
        self.anew = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop a resumed run that early stopping had ended."""
        if self.wait_count < self.patience:
            return
        if self.anew:
            self.wait_count = 0
        else:
            tell(trainer, f"early_stop={self.patience} has ended the training: only the final test remains")
            trainer.should_stop = True

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Stop where the metric has not improved for long enough."""
        if self.monitor in metrics and not closing:
            EarlyStopping.on_validation_end(self, trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the saved state with the present patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})
