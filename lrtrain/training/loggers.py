"""The TensorBoard log of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger

from lrtrain.runs import RunFolder


class EventFile(TensorBoardLogger):
    """One event file in the run's own folder, for training and testing alike.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder.path, name="", version="", default_hp_metric=False)

    def finalize(self, status: str) -> None:
        """Flush only: Lightning calls this after fit and after test, and to close would begin another file."""
        if self._experiment is not None:
            self.experiment.flush()

    def save(self) -> None:
        """Flush only: the configuration is kept by Hydra, in one place."""
        self.finalize("")

    @rank_zero_only
    def log_result(self, config: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
        """Fill the HParams tab with what the run's configuration says and what was measured, and close the file."""
        self.log_hyperparams({key: value for key, value in config.items() if value is not None}, dict(metrics), step)
        self.experiment.close()
