"""Keeps the last and the best weights, with all that a run needs to go on exactly."""

from __future__ import annotations

import copy
import io
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from lrtrain.errors import InterruptedRunError
from lrtrain.parameters.spans import Span
from lrtrain.process import signals
from lrtrain.run_folder.folder import RunFolder
from lrtrain.schedules import Horizon, updates
from lrtrain.settings import Metric
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.guard import diverged, not_finite
from lrtrain.training.private import mark_unfinished
from lrtrain.training.saved import Saved, whole_run
from lrtrain.training.stretch import Stretched
from lrtrain.training.validation import ValidationObserver


class Cadence(NamedTuple):
    """How often the last checkpoint is written; it always is when training ends.

    Attributes:
        updates: Every so many optimizer updates.
        seconds: Every so many seconds. Where neither is given, as often as takes `SHARE` of the time.
    """

    updates: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, every: Span, horizon: Horizon, needed: bool) -> Cadence:
        """That of the setting `checkpoint_every`; what is `needed` to go back to is written every epoch."""
        if every.unit == "auto":
            return cls(updates=horizon.steps_per_epoch) if needed else cls()
        if every.unit == "min":
            return cls(seconds=every.value * 60)
        return cls(updates=max(1, updates(every, horizon.at(0))))


SHARE = 0.01
"""Of a run's time, what its last checkpoints may take where nothing else is asked for."""


class Sharers:
    """Runs that share the time of a process: they save at the same updates, so that they can go on together.

    Args:
        count: How many.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._saved_at = time.monotonic()
        self._step, self._is_due = -1, False

    def are_due(self, step: int, seconds: float) -> bool:
        """Whether they save after so many updates: if the first to get there has not seen it done for some seconds."""
        if step != self._step:
            self._step, self._is_due = step, time.monotonic() - self._saved_at >= seconds
        return self._is_due

    def note_save(self) -> None:
        """One of them has saved."""
        self._saved_at = time.monotonic()


class PausedRunError(BaseException):
    """A run pauses at a checkpoint, because its session asked for that; nothing that handles errors is to handle it."""


Judge = Callable[[float, float], bool]
"""Says after a validation whether a run pauses, of the share of its updates that are done and the monitored metric."""


def _check_loadable(callback: pl.Callback) -> None:
    kept = io.BytesIO()
    try:
        torch.save(callback.state_dict(), kept)
        torch.load(io.BytesIO(kept.getvalue()), weights_only=True)
    except Exception as error:  # whatever pickling somebody's objects runs into
        kind = type(callback).__name__
        raise TypeError(f"callback {kind}: its state_dict may hold plain values and tensors only") from error


class LastAndBest(Stretched, ValidationObserver, Checkpoint):
    """Writes the best weights after a validation, and the last ones at a cadence and before it ends a run on a signal.

    Each replaces its predecessor in one step, and the last keeps the one before as ``previous``. A last checkpoint is
    written only where a run can go on from exactly: after an update, and after the validation that may follow it.
    Runs that share a process hold their best weights in memory until the next last checkpoint, or until writing them
    takes a small part of the time.
    Lightning calls a `Checkpoint` after all other callbacks, so what is saved includes the feedback's decision.

    Args:
        folder: Where the checkpoints belong.
        metric: That says which is best.
        cadence: Of the last checkpoint.
        sharers: Runs that share the time of this process, and what checkpoints may take of it; None if it is alone.

    Attributes:
        until: The update from which on the run pauses, as soon as it can go on exactly; None for never.
        judge: Asked after each validation whether it pauses.
        source: What the run goes on from, which is not read again.
        of_user: The callbacks of the user's, whose state is saved too.
        has_saved: Whether there has been a last checkpoint in this training.
    """

    def __init__(self, folder: RunFolder, metric: Metric, cadence: Cadence, sharers: Sharers | None = None) -> None:
        self.folder = folder
        self.metric = metric
        self.cadence = cadence
        self.sharers = sharers or Sharers()
        self.until: int | None = None
        self.judge: Judge | None = None
        self.source: Saved | None = None
        self.of_user: list[pl.Callback] = []
        self.has_saved = False
        self.best: dict[str, float] = {}
        self._written: dict[str, float] = {}
        self._held: dict[str, Any] | None = None
        self._best_is_new = self._is_judged = False
        self._infinite: set[str] = set()
        self._saved_step = self._seen_step = 0
        self._best_at = time.monotonic()
        self._save_took = 0.02  # until the first has been measured

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have the files written where they belong."""
        self._files = trainer.strategy.checkpoint_io = FileInPlace(self.source)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin counting, and keep what comes; a buffer that is infinite now, as a mask may be, is meant to be."""
        self.folder.begun = True
        self._infinite = set(not_finite(dict(pl_module.named_buffers())))
        self._saved_step = self._seen_step = scheduler_of(trainer).last_epoch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in mid-epoch where the cadence or a signal says so."""
        due, number = self._asked(trainer)
        if (due or number or self._pauses(trainer)) and self._may_save(trainer, batch_idx):
            self._save_and_stop(trainer, number)
        self._seen_step = scheduler_of(trainer).last_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch where the cadence or a signal says so, and of the last one always."""
        due, number = self._asked(trainer)
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if due or number or ends or self._pauses(trainer):
            self._save_and_stop(trainer, number)

    def patience(self, trainer: pl.Trainer) -> float:
        """Until a checkpoint that is due after so many updates, or a pause."""
        step, every = scheduler_of(trainer).last_epoch, self.cadence.updates
        saves = math.inf if every is None else self._saved_step + every - step
        return max(1, min(saves, math.inf if self.until is None else self.until - step))

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Save the weights that are the best so far, and ask whether to pause."""
        name = self.metric.name
        if name not in metrics:
            return
        if not self.best or self.metric.improves(metrics[name], self.best[name]):
            self._save_best(trainer, metrics)
        if self.judge and not closing:
            self._is_judged = self.judge(scheduler_of(trainer).last_epoch / self._total(trainer), metrics[name])

    def _save_best(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        before = self.best
        self.best = {"epoch": trainer.current_epoch, "step": scheduler_of(trainer).last_epoch, **metrics}
        try:
            if self.sharers.count == 1:
                self._write_best(trainer)
                return
            self._held = self._files.hold(trainer)
        except BaseException:
            self.best = before
            raise
        if time.monotonic() - self._best_at >= self._save_took / SHARE * self.sharers.count:
            self._write_best(trainer)

    def _write_best(self, trainer: pl.Trainer) -> None:
        """Write the best weights, those that are held or the present ones."""
        # What the last checkpoint calls the best is kept until the next one: a run may go on from there otherwise.
        kept = None if self._best_is_new or not self._written else self.folder.best_as_of_last_checkpoint
        held, self._held = self._held, None
        try:
            self._save(trainer, self.folder.best_checkpoint, kept, held=held)
        except BaseException:
            self.best = self._written  # which is what the file still holds
            raise
        self._written, self._best_is_new, self._best_at = self.best, True, time.monotonic()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the best weights, if the disk is not full."""
        if self._held:
            with suppress(OSError):
                self._write_best(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse weights that are not finite, also in an average that is saved, and what could not be loaded again.

        Raises:
            DivergedError: A weight is not finite.
            TypeError: A callback of the user's keeps more than plain values and tensors.
        """
        for callback in self.of_user:
            _check_loadable(callback)
        found = [
            name
            for weights in (checkpoint["state_dict"], checkpoint.get("current_model_state", {}))
            for name in not_finite(weights)
            if name not in self._infinite
        ]
        if not trainer.strategy.reduce_boolean_decision(not found):
            raise diverged(trainer, f"{found[0] if found else 'a weight of another rank'} is not finite")

    def _asked(self, trainer: pl.Trainer) -> tuple[bool, int]:
        """Whether a checkpoint is due, by the first rank's clock, and the signal that any rank has received."""
        due, number = self._is_due(trainer), signals.received or 0
        if trainer.world_size == 1:
            return due, number
        said = torch.tensor([due and trainer.is_global_zero, number], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        due, number = said.tolist()
        return bool(due), number

    def _is_due(self, trainer: pl.Trainer) -> bool:
        (updates, seconds), step = self.cadence, scheduler_of(trainer).last_epoch
        if updates is None:
            seconds = self._save_took / SHARE * self.sharers.count if seconds is None else seconds
            return self._saved_step < step and self.sharers.are_due(step, seconds)
        return step - self._saved_step >= updates

    def _may_save(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Whether a run can go on exactly from the end of this batch: no gradients pending, no validation to follow."""
        updated = scheduler_of(trainer).last_epoch > self._seen_step
        count, validates = batch_idx + 1, trainer.val_check_batch
        goes_on = count < trainer.num_training_batches and not trainer.should_stop
        return updated and goes_on and not (validates and count % validates == 0)

    def _save_and_stop(self, trainer: pl.Trainer, number: int) -> None:
        with mark_unfinished(trainer):
            self.save_last(trainer)
        if number:
            raise InterruptedRunError(number)
        if self._pauses(trainer) and not trainer.should_stop:
            raise PausedRunError

    def _pauses(self, trainer: pl.Trainer) -> bool:
        done = scheduler_of(trainer).last_epoch
        return (self._is_judged or (self.until is not None and self.until <= done)) and done < self._total(trainer)

    @staticmethod
    def _total(trainer: pl.Trainer) -> float:
        return scheduler_of(trainer).total_steps or math.inf

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write the last checkpoint now.

        Raises:
            DivergedError: A weight is not finite.
        """
        began = time.monotonic()
        if self._held:
            self._write_best(trainer)
        for logger in trainer.loggers:
            logger.save()  # what a checkpoint goes on from is on the disk by then, and so are the best weights
        if self._best_is_new and trainer.is_global_zero:
            _reach_disk(self.folder.best_checkpoint)
        self._best_is_new = False
        self._save(trainer, self.folder.last_checkpoint, self.folder.previous_checkpoint, lasting=True)
        if trainer.is_global_zero:
            self.folder.best_as_of_last_checkpoint.unlink(missing_ok=True)
        self._saved_step, self.has_saved = scheduler_of(trainer).last_epoch, True
        self._save_took = time.monotonic() - began
        self.sharers.note_save()

    def _save(
        self,
        trainer: pl.Trainer,
        path: Path,
        previous: Path | None,
        *,
        held: dict[str, Any] | None = None,
        lasting: bool = False,
    ) -> None:
        """Write a checkpoint in one step; what it replaces stays as `previous`, where that is given."""
        scratch = path.with_name(f".{path.name}")
        try:
            if held:
                self._files.save_checkpoint(held, scratch)
            else:
                trainer.save_checkpoint(scratch, weights_only=False)
            if lasting and trainer.is_global_zero:
                _reach_disk(scratch)
        except BaseException:
            if trainer.is_global_zero:
                scratch.unlink(missing_ok=True)  # what did not fit on the disk is not left to fill it
            raise
        if trainer.is_global_zero:
            if previous is not None and path.exists():
                path.replace(previous)
            scratch.replace(path)
        trainer.strategy.barrier()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Bring the file of the best weights and what is said of it to agree, where the run had gone on since then."""
        checkpoint["callbacks"].pop("Timer", None)  # max_time is that of each command
        state = checkpoint["callbacks"][self.state_key]
        found = self._settled(self._comparable(state)) if trainer.is_global_zero else None
        state["best"] = trainer.strategy.broadcast(found)

    def state_dict(self) -> dict[str, Any]:
        """The best so far and by which metric, as plain values."""
        return {"best": self.best, "monitor": self.metric.name, "mode": self.metric.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with that of a saved run; where it was the best by another metric, tracking restarts."""
        self.best = self._written = self._comparable(state_dict)

    def _comparable(self, state: Mapping[str, Any]) -> dict[str, float]:
        return dict(state["best"]) if (state["monitor"], state["mode"]) == self.metric else {}

    def _settled(self, best: dict[str, float]) -> dict[str, float]:
        """What is the best from here on; its weights are in their file, whatever the run had saved since.

        Those of a checkpoint before the last may be gone; then the file counts as what it says of itself. Where there
        is none that is whole, tracking restarts.
        """
        if not best:
            return {}
        path, kept = self.folder.best_checkpoint, self.folder.best_as_of_last_checkpoint
        of_file, of_kept = self._best_in(path), self._best_in(kept)
        name = self.metric.name
        if of_kept and (of_kept["step"], of_kept[name]) == (best["step"], best[name]):
            kept.replace(path)
            return best
        kept.unlink(missing_ok=True)
        if not of_file:
            print(f"{path} is missing or damaged: best-checkpoint tracking restarts")
        return of_file

    def _best_in(self, path: Path) -> dict[str, float]:
        """What a checkpoint says is the best; nothing where it is damaged, or of another metric."""
        checkpoint = whole_run(path)
        return self._comparable(checkpoint["callbacks"][self.state_key]) if checkpoint else {}


class FileInPlace(TorchCheckpointIO):
    """Writes a checkpoint to the file that is named, and hands out what was read already.

    Lightning writes to the system's folder for temporary files first, which may be another and smaller disk.

    Args:
        source: A checkpoint that was read.
    """

    def __init__(self, source: Saved | None = None) -> None:
        super().__init__()
        self._source = source
        self._holds = False
        self._held: dict[str, Any] = {}

    def hold(self, trainer: pl.Trainer) -> dict[str, Any]:
        """What a checkpoint would hold now, of which nothing changes as the training goes on."""
        self._holds = True
        try:
            trainer.save_checkpoint("", weights_only=False)
        finally:
            self._holds = False
        return self._held

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the file holds, on the CPU."""
        source, self._source = self._source, None
        if source and Path(path) == source.path:
            return source.content
        loaded: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        return loaded

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file, in a folder that is made where it is not there."""
        if self._holds:
            changing = [part for part in (*WEIGHTS, "callbacks") if part in checkpoint]
            self._held = {**checkpoint, **{part: _copied(checkpoint[part], {}) for part in changing}}
            return
        data = io.BytesIO()  # torch writing to the file itself would end in an error that does not say why
        weights = {part: _copied(checkpoint[part], {}, parts=True) for part in WEIGHTS if part in checkpoint}
        torch.save({**checkpoint, **weights}, data)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).unlink(missing_ok=True)  # it may be a link to something else
        with Path(path).open("xb") as file:
            file.write(data.getbuffer())


WEIGHTS = ("state_dict", "optimizer_states", "current_model_state", "averaging_state")
"""The parts of a checkpoint that hold tensors that updates change."""


def _copied(content: Any, known: dict[Any, Tensor], *, parts: bool = False) -> Any:
    """The same content with copies of its tensors.

    Args:
        content: Tensors in dicts, lists and tuples, which are copied, too.
        known: The copies, by what tells their tensors.
        parts: Only of tensors that are part of a larger one, all of which torch would write.
    """
    if isinstance(content, Tensor):
        if parts and content.untyped_storage().nbytes() == content.nbytes:
            return content
        key = content.data_ptr(), content.shape, content.stride()
        if key not in known:
            known[key] = content.clone()
        return known[key]
    if isinstance(content, dict):
        copied = copy.copy(content)
        copied.update((key, _copied(value, known, parts=parts)) for key, value in content.items())
        return copied
    if type(content) in (list, tuple):
        return type(content)(_copied(value, known, parts=parts) for value in content)
    return content


def _reach_disk(path: Path) -> None:
    """Wait until a file would survive a loss of power, not only the end of this process."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
