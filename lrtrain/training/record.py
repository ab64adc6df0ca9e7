"""Records a run at its log points; costs almost nothing between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer

from lrtrain.run_folder.files import Table
from lrtrain.run_folder.folder import RunFolder
from lrtrain.scheduler import Scheduler, setting
from lrtrain.training.accumulation import weight_of
from lrtrain.training.configure_optimizers import Scheduled, scheduler_of
from lrtrain.training.private import names_in_sanity_check
from lrtrain.training.stretch import Passed, Stretched, Taken
from lrtrain.training.validation import ValidationObserver

SIZES = ("grad_norm", "grad_norm_l1", "update_norm", "update_ratio")
"""What is measured of an update: of all weights, and where there are several groups of each, as ``grad_norm/NAME``."""
TRAIN = ("train_loss", *SIZES)


class Record(Stretched, ValidationObserver):
    """Writes every log point as a row of `metrics.csv` and as scalars of the logger.

    A log point's step is the index of its optimizer update, from 0, and `lr` the rate of that update. There is one
    every `every` updates, and one at the last update of each epoch and of the run, which includes the validation.
    `grad_norm` and `grad_norm_l1` are the Euclidean norm and the sum of absolute values of the whole gradient before
    clipping; `update_norm` is the norm of the change in the weights, `update_ratio` the same over the norm of the
    weights. With several parameter groups, each has its rate and its sizes as ``lr/<name>`` and so on; other
    hyperparameters on a schedule are recorded by their names. The names of the validation's metrics, and so of the
    test's, come from the module, or from Lightning's sanity check.

    Args:
        folder: Of the table.
        every: Updates between log points.
    """

    def __init__(self, folder: RunFolder, every: int) -> None:
        self.folder = folder
        self.every = every
        self.first_rate = self.last_rate = 0.0
        self.last_metrics: dict[str, float] = {}
        self._validation: tuple[str, ...] = ()
        self._row: dict[str, Any] = {}
        self._groups: dict[str, list[torch.Tensor]] = {}
        self._before: dict[str, torch.Tensor] = {}
        self._gradients: dict[str, list[torch.Tensor]] = {}
        self._step = 0
        self._settings: dict[str, float] = {}
        self._scheduler: Scheduler | None = None
        self._used: list[float] = []
        self._table: Table | None = None
        self._loggers: list[Logger] = []

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Get the names of the validation's metrics."""
        names = names_in_sanity_check(trainer)
        self._validation = tuple(name for name in names if name not in (*TRAIN, "lr", "step", "epoch"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the table."""
        if isinstance(pl_module, Scheduled) and pl_module.measured:
            self._validation = tuple(f"val_{name}" for name in pl_module.measured)
        self._scheduler = scheduler_of(trainer)
        groups = self._scheduler.optimizer.param_groups
        names = [name.partition("/")[2] for name in _columns(self._scheduler)]
        self._groups = {name: group["params"] for name, group in zip(names, groups, strict=True)}
        if len(groups) == 1:
            self._groups = {"": list(pl_module.parameters())}
        self._scheduler.used_lrs = self._scheduler.used_lrs or self._used
        self._open(trainer)

    def _open(self, trainer: pl.Trainer) -> None:
        """Open the table, and drop what a resumed run had recorded after its checkpoint."""
        if not trainer.is_global_zero:
            return
        scheduler = scheduler_of(trainer)
        sizes = [f"{size}/{group}" for group in self._groups if group for size in SIZES]
        columns = ["step", "epoch", *_columns(scheduler), *scheduler.hyperparameters, *TRAIN, *sizes]
        columns += [*self._validation, *self._test]
        done, open_point = scheduler.last_epoch, self._row.get("step", 0)

        def keep(row: dict[str, str]) -> bool:
            step = row.get("step") or ""  # unreadable rows are dropped
            return step.isdecimal() and int(step) < open_point

        self._table = Table(self.folder.metrics, columns, keep if done else None)
        self._loggers = trainer.loggers

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Copy the weights at a log point to measure its update."""
        scheduler = scheduler_of(trainer)
        self._step, names = scheduler.last_epoch, scheduler.hyperparameters
        if not self._is_point(scheduler, self._step):
            return
        self._settings = {name: setting(optimizer.param_groups[0], name) for name in names}
        for name, weights in self._groups.items():
            gradient = _flat([weight.grad for weight in weights if weight.grad is not None])
            self._gradients[name] = [gradient.norm(), gradient.norm(1)]
            self._before[name] = _flat(weights)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the log point after its update."""
        rows = self._measure()
        scheduler = scheduler_of(trainer)
        if not rows or scheduler.last_epoch == self._step:  # a GradScaler skipped the update
            return
        loss = batch_loss(trainer, outputs, batch_idx)
        self._add_point(scheduler, self._step, rates_of(scheduler), {**self._settings, **_loss(loss), **_sizes(rows)})

    def _measure(self) -> dict[str, Sequence[float]]:
        """The norms of gradient (two), change and weights of each group, where they were prepared for."""
        before, self._before = self._before, {}
        found: dict[str, Sequence[float]] = {}
        for name, weights in before.items():
            moved = _flat(self._groups[name]).sub_(weights)
            found[name] = [float(value) for value in (*self._gradients[name], moved.norm(), weights.norm())]
        return found

    def measured(self, trainer: pl.Trainer, first: int, count: int) -> Sequence[int]:
        """Those of log points."""
        scheduler = scheduler_of(trainer)
        return [step for step in range(first, first + count) if self._is_point(scheduler, step)]

    def on_stretch(self, trainer: pl.Trainer, passed: Passed, taken: Taken) -> None:
        """Add its log points."""
        scheduler = scheduler_of(trainer)
        for number, sizes in taken.sizes.items():
            step, rows = passed.first + number, dict(zip(self._groups, sizes, strict=True))
            values = {**passed.settings[number], **_loss(taken.losses[number]), **_sizes(rows)}
            self._add_point(scheduler, step, _named_rates(scheduler, passed.rates[number + 1]), values)

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Add the validation to the log point of the update before it."""
        measured = {name: metrics[name] for name in self._validation if name in metrics}
        scheduler = scheduler_of(trainer)
        step = scheduler.last_epoch - 1
        if step < 0:  # inside the first window, before any update
            return
        if self._row.get("step") != step:
            measured = {"epoch": step // (scheduler.steps_per_epoch or 1), **rates_of(scheduler), **measured}
        self._add(step, measured)

    def add_test(self, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Add the test of the final weights to the last log point."""
        if self._table is None:  # no update was left
            self._open(trainer)
        self._add(self._row["step"], {name: metrics[name] for name in self._test if name in metrics})
        self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the open log point, if the disk is not full."""
        with suppress(OSError):
            self.close()

    def state_dict(self) -> dict[str, Any]:
        """The open log point, and what the summary needs of earlier ones."""
        rates = {"first_rate": self.first_rate, "last_rate": self.last_rate}
        used = list(map(float, self._scheduler.used_lrs)) if self._scheduler else self._used
        known = {"row": self._row, "last_metrics": self.last_metrics, "validation": list(self._validation)}
        return {**known, "used": used, **rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the record of a saved run."""
        self._row, self.last_metrics = dict(state_dict["row"]), dict(state_dict["last_metrics"])
        self._validation, self._used = tuple(state_dict["validation"]), state_dict.get("used", [])
        self.first_rate, self.last_rate = state_dict["first_rate"], state_dict["last_rate"]

    def is_new(self, name: str, step: int) -> bool:
        """Whether a value of ours was logged only after the checkpoint that the run goes on from."""
        open_point, measured = self._row.get("step", -1), name in self._validation
        if step == open_point:
            return measured and name not in self._row
        return step > open_point and (measured or name.partition("/")[0] == "lr")

    def close(self) -> None:
        """Write the open log point and close the table."""
        self._flush()
        if self._table:
            self._table.close()
            self._table = None

    @property
    def _test(self) -> list[str]:
        """The names of the test's metrics."""
        return [name.replace("val_", "test_", 1) for name in self._validation if name.startswith("val_")]

    def _is_point(self, scheduler: Scheduler, step: int) -> bool:
        done, length = step + 1, scheduler.steps_per_epoch
        return step % self.every == 0 or (length is not None and done % length == 0) or done == scheduler.total_steps

    def _add_point(
        self, scheduler: Scheduler, step: int, rates: Mapping[str, float], values: Mapping[str, float]
    ) -> None:
        """Add the log point of an update, of the rates that it had and what was measured of it."""
        self.last_rate = next(iter(rates.values()))
        if step == 0:
            self.first_rate = self.last_rate
        self._add(step, {"epoch": step // (scheduler.steps_per_epoch or 1), **rates, **values})

    def _add(self, step: int, values: dict[str, Any]) -> None:
        if self._row.get("step") != step:
            self._flush()
            self.last_metrics = {}  # of other weights
        self._row |= {"step": step, **values}
        kept = (*TRAIN[:1], *self._validation, *self._test)
        self.last_metrics |= {name: value for name, value in values.items() if name in kept}
        for logger in self._loggers:
            logger.log_metrics(values, step)

    def _flush(self) -> None:
        if self._table and self._row:
            self._table.add(self._row)
        self._row = {}


def batch_loss(trainer: pl.Trainer, outputs: Any, batch_idx: int) -> float | None:
    """The loss of a batch, undoing the division for accumulated gradients; None if the batch was skipped."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return None if loss is None else float(loss) * trainer.accumulate_grad_batches / weight_of(trainer, batch_idx)


def _loss(value: float | None) -> dict[str, float]:
    """The loss by its name in the record, if there is one."""
    return {} if value is None else {"train_loss": value}


def _sizes(rows: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The sizes of an update by their names in the record, of all groups together first."""
    gradients, absolute, changes, weights = zip(*rows.values(), strict=True)
    found = _named([math.hypot(*gradients), sum(absolute), math.hypot(*changes), math.hypot(*weights)], "")
    for name, row in rows.items():
        found |= _named(row, f"/{name}") if name else {}
    return found


def _named(norms: Sequence[float], ending: str) -> dict[str, float]:
    """Sizes by their names in the record, of the norms of gradient (two), change and weights."""
    gradient, absolute, change, weights = norms
    ratio = change / weights if weights else math.nan
    return {f"{size}{ending}": value for size, value in zip(SIZES, (gradient, absolute, change, ratio), strict=True)}


def rates_of(scheduler: Scheduler) -> dict[str, float]:
    """The rates of the last update by their names in the record; none of a group that no gradient moves."""
    return _named_rates(scheduler, scheduler.used_lrs)


def _named_rates(scheduler: Scheduler, rates: Sequence[float]) -> dict[str, float]:
    """Rates of the groups by their names in the record; none of a group that no gradient moves."""
    groups, named = scheduler.optimizer.param_groups, zip(_columns(scheduler), rates, strict=False)
    moved = [any(parameter.requires_grad for parameter in group["params"]) for group in groups]
    return {name: rate for (name, rate), moves in zip(named, moved, strict=False) if moves}


def _columns(scheduler: Scheduler) -> list[str]:
    """The names of the rates in the record."""
    groups = scheduler.optimizer.param_groups
    return [f"lr/{group.get('name', index)}" for index, group in enumerate(groups)] if len(groups) > 1 else ["lr"]


@torch.no_grad()
def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    """A copy of all weights or gradients as one vector, whatever their memory format; its norm takes one call."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors]) if tensors else torch.zeros(0)
