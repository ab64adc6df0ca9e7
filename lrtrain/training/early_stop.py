"""Ends a run whose validation has stopped improving, and keeps it ended when it is resumed."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping


class EarlyStop(EarlyStopping):
    """Lightning's rule, of which a resumed run may be given another patience.

    Args:
        monitor: The metric that has to improve.
        mode: ``min`` or ``max``.
        patience: The run ends after so many validations in a row without an improvement.

    Attributes:
        anew: The run goes on under another plan than it had: what its patience was used up by counts no longer.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        super().__init__(monitor, mode=mode, patience=patience)
        self.anew = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a resumed run at once that had no patience left."""
        if self.wait_count < self.patience:
            return
        if self.anew:
            self.wait_count = 0
        else:
            trainer.print(f"early_stop={self.patience} has ended the training: the test is left")
            trainer.should_stop = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what was measured, with the present patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})
