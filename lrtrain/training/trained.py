"""A model with the weights of a checkpoint, and the data that it is asked about."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from lrtrain.datasets import Identity
from lrtrain.datasets import unlabelled as read_unlabelled
from lrtrain.errors import RequestError, first_line, of_values
from lrtrain.evidence.diagnosis import Finding
from lrtrain.objectives import Objective
from lrtrain.parameters.bound import plain
from lrtrain.plan.history import read_data
from lrtrain.plan.length import limited
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.find import find_checkpoint
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.settings import Settings
from lrtrain.training.data import Data, build_data, check_samples, unrecorded
from lrtrain.training.network import build_network, build_objective
from lrtrain.training.progress_bar import RunBar
from lrtrain.training.saved import load_weights
from lrtrain.training.session import VERSIONS
from lrtrain.training.trainer import build_trainer

MOST_WARNINGS = 5
"""Of inputs that lie far from those of the run."""


class Trained(NamedTuple):
    """What is needed to measure a checkpoint.

    Attributes:
        objective: What its outputs are.
        data: Its test split is the one that was asked for.
        step: The updates that the weights have had.
        about: The split, or the file, that is asked about.
        identity: Of the data.
        said: What there is to say of the data, one line each.
        other: It has other samples than the run.
    """

    settings: Settings
    network: nn.Module
    objective: Objective
    data: Data
    trainer: pl.Trainer
    checkpoint: Path
    step: int
    about: str
    identity: Identity
    said: tuple[str, ...]
    other: bool

    @property
    def what(self) -> str:
        """Model, dataset and split in words."""
        return f"{self.settings.model.name} on {self.settings.dataset.name}, {self.about}"

    def introduce(self) -> None:
        """Print what is asked of what."""
        print(self.what, f"weights of {self.checkpoint}, update {self.step:,}", *self.said, sep="\n")

    def summarise(
        self, began: float, count: int, final: Mapping[str, float], task: str = "evaluate", **more: float
    ) -> Summary:
        """What the summaries of all tasks that load a checkpoint say, and what this one has `more`."""
        return Summary(
            status="finished",
            ended_by="end",
            task=task,
            steps=self.step,
            wall_s=round(time.perf_counter() - began, 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            final=final,
            versions=VERSIONS,
            data=plain(self.identity),
            findings=tuple(Finding("note", line)._asdict() for line in self.said),
            config=self.settings.plain(),
            extra={
                "checkpoint": str(self.checkpoint),
                "step": self.step,
                "split": self.about.removesuffix(" split"),
                "count": count,
                "other_samples": self.other,
                **more,
            },
        )


@contextmanager
def measuring(
    settings: Settings, folder: Path, checkpoint: str, split: str, names_data: bool, unlabelled: str | None = None
) -> Iterator[Trained]:
    """Build everything before anything is written, and leave the process as it was.

    Args:
        settings: Of the run that wrote the checkpoint, on this command's hardware.
        folder: Where the results go.
        checkpoint: As `find_checkpoint` takes it.
        split: That is asked about.
        names_data: The command says which data, and means it if that has other samples than the run's.
        unlabelled: A file without targets that is asked about instead.

    Raises:
        RequestError: Something cannot be built or is a module of the user's, the checkpoint does not fit it, or the
            data is not that of the run.
    """
    path = find_checkpoint(checkpoint)
    run = RunFolder(path.parent.parent)
    bar = settings.trainer.enable_progress_bar and sys.stdout.isatty()
    quiet = replace(settings, trainer=replace(settings.trainer, enable_progress_bar=bar))
    with kept_as_it_is():
        try:
            recorded = read_data(run)
            known, data = recorded or Identity(), _build_data(settings, recorded, unlabelled)
            if not settings.is_built_in or not isinstance(data, Data):
                own = "LightningDataModule" if settings.is_built_in else "LightningModule"
                raise ValueError(f"built-in models and datasets only, not a {own} of yours: call its own test")
            identity = data.splits.identity()
            if not names_data and not unlabelled:
                check_samples(known, identity, "name the data that is meant by dataset.KEY=VALUE")
            network = build_network(settings, data.splits.inputs, data.splits.targets.outputs)
            objective = build_objective(settings, data.splits.targets)
            with of_values():
                step = load_weights(path, network, f"model={settings.model.name}")
            trainer = build_trainer(quiet, RunFolder(folder), [RunBar(settings.log_every, bar, print)])
            _ask_about(data, settings, "test" if unlabelled else split)
        except (ValueError, MisconfigurationException) as error:
            raise RequestError(first_line(error)) from error
        other = known.has_others(identity)
        said = [*data.splits.remarks, *_of_others(known, identity, unlabelled)] if other else unrecorded(known)
        asked_about = unlabelled or f"{split} split"
        yield Trained(
            settings, network, objective, data, trainer, path, step, asked_about, identity, tuple(said), bool(other)
        )


def _build_data(settings: Settings, known: Identity | None, unlabelled: str | None) -> pl.LightningDataModule:
    """The data of the run, or a file without targets that is read as that was."""
    if unlabelled is None:
        return build_data(settings, known)
    return build_data(settings, known, lambda dataset, _: read_unlabelled(dataset, known or Identity(), unlabelled))


def _of_others(known: Identity, identity: Identity, unlabelled: str | None) -> Iterator[str]:
    """What there is to say of other samples than the run's."""
    if unlabelled is None:
        own = "what it was trained on may be among them"
        yield f"these are other samples than the run's, in a split of their own: {own}"
    yield from (f"warning: {line}" for line in islice(known.drift(identity), MOST_WARNINGS))


def _ask_about(data: Data, settings: Settings, split: str) -> None:
    """Make the split that is asked about the test split, whose loop takes its samples in order, in large batches."""
    limit = settings.trainer.limit_test_batches
    data.splits = data.splits._replace(test=getattr(data.splits, split))
    if not (batches := len(data.test_dataloader())):
        raise ValueError(f"dataset={settings.dataset.name} has no sample in its {split} split; give another split=")
    limited(batches, limit, f"trainer.limit_test_batches={limit} of {{}} {split} batches")
