"""Short trainings under a rising rate, from which a good one is read; they leave nothing behind."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import Optimizer

from lrtrain.datasets import LastRead, Read
from lrtrain.errors import FaultError, InterruptedRunError, RequestError, first_line
from lrtrain.evidence.range_test import UPDATES, Ramp, RateFound, Take, budget, find_rate
from lrtrain.parameters.spans import Span
from lrtrain.plan.length import steps_per_epoch
from lrtrain.plan.start import FRESH, Start
from lrtrain.process import signals
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.files import read_table
from lrtrain.run_folder.folder import RunFolder
from lrtrain.scheduler import Scheduler
from lrtrain.schedules import Horizon, constant, updates, warmup
from lrtrain.settings import CurveSettings, GuardSettings, Settings
from lrtrain.training.guard import EXPLODED
from lrtrain.training.private import callbacks_looked_for_once
from lrtrain.training.record import batch_loss
from lrtrain.training.session import Session

APART = 7919
"""Between the seeds of the ramps, so that they are not those of a sweep's next runs."""


REST = ".*"
"""The pattern of the parameters that no other matches."""

OWN_RATE = ("prodigy", "rprop")
"""Optimizers that adapt their rates themselves."""


def find_rate_for(settings: Settings, start: Start = FRESH) -> RateFound:
    """Find a rate for a run; its weights, its data and the random numbers of this process stay as they are.

    Args:
        settings: Of the run; its rate counts for nothing.
        start: Where the run starts from: fresh weights, or those of another run.

    Raises:
        RequestError: Its rate cannot be looked for.
        FaultError: A ramp failed by something else than its rate.
    """
    if not settings.trainer.is_alone:
        raise RequestError("a rate is looked for on one device: give trainer.devices=1, or lr=NUMBER")
    if settings.lr_scale:
        raise RequestError("the rate that is found is for this batch: leave out lr_scale")
    if settings.optimizer.name in OWN_RATE:
        raise RequestError(f"optimizer={settings.optimizer.name} adapts its rates itself: give lr=NUMBER")
    length = steps_per_epoch(settings)
    assert isinstance(settings.epochs, Span)
    total = updates(settings.epochs, Horizon(length, 1).at(0))
    with signals.interrupt_taken_over(), kept_as_it_is(), signals.undisguised():
        return find_rate(partial(_ramp, settings, start, LastRead()), budget(total))


def find_rates_by_group(settings: Settings, start: Start = FRESH) -> dict[str, RateFound]:
    """Find a rate for each group of parameters, while all others stay as they are.

    Each costs what one rate for all does.

    Args:
        settings: Of the run; its rates count for nothing.
        start: Where the run starts from.

    Returns:
        What was found, by the pattern of the group; ``.*`` are the parameters that no pattern matches.

    Raises:
        RequestError: The run has no groups, or its rate cannot be looked for.
        FaultError: A ramp failed by something else than its rate.
    """
    if not settings.groups:
        raise RequestError("by_group=true: name the groups, such as 'groups={0.*:1,2.*:1}'")
    with tempfile.TemporaryDirectory() as place, kept_as_it_is():
        session = Session.open(settings, RunFolder(Path(place) / "groups"), start, say=lambda _: None)
        chosen = {group["pattern"] for group in session.module.make_optimizer().param_groups}
    patterns = [*settings.groups, *([REST] if "" in chosen else [])]
    return {
        own: find_rate_for(replace(settings, groups={pattern: float(pattern == own) for pattern in patterns}), start)
        for own in patterns
    }


def find_rate_of(
    module: pl.LightningModule, data: Any, updates: int = UPDATES, trainer: Mapping[str, Any] | None = None
) -> RateFound:
    """Find a rate for a LightningModule, which stays as it is, and so do its data and all random numbers.

    Args:
        module: Has one optimizer, whose groups keep the ratios of their rates; its schedule is left out.
        data: A LightningDataModule, or the loaders of the training.
        updates: That all ramps together may cost.
        trainer: Arguments of Lightning's Trainer.

    Raises:
        RequestError: It has several optimizers, takes its steps itself, or cannot be copied.
        FaultError: A ramp failed by something else than its rate.
    """
    with signals.interrupt_taken_over(), kept_as_it_is(), signals.undisguised():
        return find_rate(_taking(module, data, trainer or {}), updates)


def _ramp(settings: Settings, start: Start, read: Read, low: float, high: float, updates: int, number: int) -> Ramp:
    """Train for some updates while the rate rises by the same factor each time; ends where it diverges."""
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "ramp")
        rising = _rising(settings, low, high, updates, number)
        session = Session.open(rising, folder, start, say=lambda _: None, read=read)
        ended = session.fit()
        session.record.close()
        if isinstance(ended.error, InterruptedRunError):
            raise InterruptedRunError(ended.error.signum) from ended.error
        if ended.status == "failed":
            raise FaultError(f"no rate can be found: {first_line(ended.error)}") from ended.error  # type: ignore[arg-type]
        losses = [float(row["train_loss"]) for row in read_table(folder.metrics) if row["train_loss"]]
    return Ramp(_rates(low, high, updates), losses)


def _rates(low: float, high: float, updates: int) -> list[float]:
    return [low * (high / low) ** ((step + 1) / updates) for step in range(updates)]


def _rising(settings: Settings, low: float, high: float, updates: int, number: int) -> Settings:
    """The settings of a ramp: those of the run in all that decides an update, but for its rate and its length."""
    trainer = replace(
        settings.trainer,
        limit_val_batches=1,
        check_val_every_n_epoch=math.ceil(updates / steps_per_epoch(settings)),  # the last
        val_check_interval=1.0,
        profiler=None,
        enable_progress_bar=False,
        others={name: value for name, value in settings.trainer.others.items() if name != "max_time"},
    )
    return replace(
        settings,
        lr=high,
        epochs=Span(updates, "st"),
        seed=(settings.seed + APART * (number + 1)) % 2**32,
        scheduler="constant",
        schedule=constant(),
        feedback=None,
        curve=CurveSettings(warmup="100%", warmup_shape="exponential", warmup_start=low / high),
        hyperparameters=None,
        guard=GuardSettings(),
        early_stop=None,
        checkpoint_every=Span(60, "min"),
        log_every=1,
        logger=(),
        trainer=trainer,
    )


def _taking(module: pl.LightningModule, data: Any, arguments: Mapping[str, Any]) -> Take:
    def take(low: float, high: float, updates: int, number: int) -> Ramp:
        rises = Rises(low, high, updates)
        try:
            own, given = copy.deepcopy(module), copy.copy(data)
        except Exception as error:  # whatever a user's objects raise
            raise RequestError(f"the module cannot be copied, so that it would be changed: {error}") from error
        asked = {"accelerator": "auto", "devices": 1, **arguments}
        pl.seed_everything(APART * (number + 1), verbose=False)
        with _generators_kept(given, APART * (number + 1)):
            try:
                with callbacks_looked_for_once():
                    trainer = pl.Trainer(**asked, **ONLY_RAMP, max_steps=updates, callbacks=[rises])
                trainer.fit(
                    own, **{"datamodule" if isinstance(given, pl.LightningDataModule) else "train_dataloaders": given}
                )
            except MisconfigurationException as error:
                raise RequestError(first_line(error)) from error
        return Ramp(_rates(low, high, updates), rises.losses)

    return take


ONLY_RAMP: Mapping[str, Any] = {
    "max_epochs": -1,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""The arguments of a Trainer that does nothing but take a ramp."""


class Rises(pl.Callback):
    """Takes a module's own optimizer through rising rates, and keeps the losses.

    Args:
        low: The rate before the first update.
        high: The rate of the last.
        updates: How many.
    """

    def __init__(self, low: float, high: float, updates: int) -> None:
        self.losses: list[float] = []
        self._curve = warmup(constant(), f"{updates}st", "exponential", low / high)
        self._high = high
        self._scheduler: Scheduler | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the rates."""
        if not pl_module.automatic_optimization or len(trainer.optimizers) != 1:
            raise RequestError("a rate is found for a module with one optimizer whose steps Lightning takes")
        if trainer.world_size > 1:
            raise RequestError("a rate is looked for on one device: give devices=1")
        trainer.strategy.lr_scheduler_configs = []
        self._scheduler = Scheduler(_scaled(trainer.optimizers[0], self._high), self._curve)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of each update, and stop where it is no longer one."""
        assert self._scheduler is not None, "training has begun"
        if self._scheduler.last_epoch == len(self.losses):  # gradients are accumulated, or the update was skipped
            return
        loss = batch_loss(trainer, outputs, batch_idx)
        self.losses.append(math.nan if loss is None else loss)
        if not abs(self.losses[-1]) <= EXPLODED * max(abs(self.losses[0]), 1.0):
            trainer.should_stop = True


def _scaled(optimizer: Optimizer, high: float) -> Optimizer:
    """An optimizer whose first group has a rate, and the others theirs in the ratios that they had."""
    groups = optimizer.param_groups
    bases = [float(group.pop("initial_lr", group["lr"])) for group in groups]
    for group, base in zip(groups, bases, strict=True):
        group["lr"] = high * base / (bases[0] or 1.0)
    return optimizer


@contextmanager
def _generators_kept(data: Any, seed: int) -> Iterator[None]:
    """Seed the generators that loaders have of their own, and leave them as they are now."""
    loaders = data if isinstance(data, list | tuple) else [data]
    parts = [part for loader in loaders for part in (loader, getattr(loader, "sampler", None))]
    generators = [getattr(part, "generator", None) for part in parts]
    found = [generator for generator in generators if isinstance(generator, torch.Generator)]
    states = [generator.get_state() for generator in found]
    try:
        for generator in found:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(found, states, strict=True):
            generator.set_state(state)
