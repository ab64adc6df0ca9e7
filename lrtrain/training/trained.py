"""A model with the weights of a checkpoint, and the data that it is asked about."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from lrtrain.errors import RequestError, first_line, of_values
from lrtrain.plan.length import limited
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.find import find_checkpoint
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.settings import Settings
from lrtrain.training.checkpoints import load_weights
from lrtrain.training.data import Data, build_data
from lrtrain.training.network import build_network
from lrtrain.training.progress_bar import RunBar
from lrtrain.training.session import VERSIONS
from lrtrain.training.trainer import build_trainer


class Trained(NamedTuple):
    """What is needed to measure a checkpoint.

    Attributes:
        data: Its test split is the one that was asked for.
        step: The updates that the weights have had.
        split: Of the data.
    """

    settings: Settings
    network: nn.Module
    data: Data
    trainer: pl.Trainer
    checkpoint: Path
    step: int
    split: str

    @property
    def what(self) -> str:
        """Model, dataset and split in words."""
        return f"{self.settings.model.name} on {self.settings.dataset.name}, {self.split} split"

    def summarise(self, began: float, count: int, final: Mapping[str, float], task: str = "evaluate") -> Summary:
        """What the summaries of all tasks that load a checkpoint say."""
        return Summary(
            status="finished",
            ended_by="end",
            task=task,
            steps=self.step,
            wall_s=round(time.perf_counter() - began, 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            final=final,
            versions={name: version(name) for name in VERSIONS},
            data=self.data.splits.describe(),
            config=self.settings.plain(),
            extra={"checkpoint": str(self.checkpoint), "step": self.step, "split": self.split, "count": count},
        )


@contextmanager
def measuring(settings: Settings, folder: Path, checkpoint: str, split: str) -> Iterator[Trained]:
    """Build everything before anything is written, and leave the process as it was.

    Args:
        settings: Of the run that wrote the checkpoint, on this command's hardware.
        folder: Where the results go.
        checkpoint: As `find_checkpoint` takes it.
        split: That is asked about.

    Raises:
        RequestError: Something cannot be built or is a module of the user's, or the checkpoint does not fit it.
    """
    path = find_checkpoint(checkpoint)
    bar = settings.trainer.enable_progress_bar and sys.stdout.isatty()
    quiet = replace(settings, trainer=replace(settings.trainer, enable_progress_bar=bar))
    with kept_as_it_is():
        try:
            data = build_data(settings)
            if not settings.is_built_in or not isinstance(data, Data):
                own = "LightningDataModule" if settings.is_built_in else "LightningModule"
                raise ValueError(f"built-in models and datasets only, not a {own} of yours: call its own test")
            network = build_network(settings, data.splits.inputs, data.splits.classes)
            with of_values():
                step = load_weights(path, network, f"model={settings.model.name}")
            trainer = build_trainer(quiet, RunFolder(folder), [RunBar(settings.log_every, bar, print)])
            _ask_about(data, settings, split)
        except (ValueError, MisconfigurationException) as error:
            raise RequestError(first_line(error)) from error
        yield Trained(settings, network, data, trainer, path, step, split)


def _ask_about(data: Data, settings: Settings, split: str) -> None:
    """Make the split that is asked about the test split, whose loop takes its samples in order, in large batches."""
    limit = settings.trainer.limit_test_batches
    data.splits = data.splits._replace(test=getattr(data.splits, split))
    if not (batches := len(data.test_dataloader())):
        raise ValueError(f"dataset={settings.dataset.name} has no sample in its {split} split; give another split=")
    limited(batches, limit, f"trainer.limit_test_batches={limit} of {{}} {split} batches")
