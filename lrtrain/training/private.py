"""All private names of Lightning and torch that lrtrain uses.

tests/test_private.py says for which versions they hold.
"""

from __future__ import annotations

import importlib
import math
import os
import subprocess
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from itertools import chain
from typing import Any, TypeAlias

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.optimization.automatic import ClosureResult, _AutomaticOptimization
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies.launchers import subprocess_script
from lightning.pytorch.trainer.connectors import callback_connector
from lightning.pytorch.trainer.states import RunningStage, TrainerFn
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_flatten as tree_flatten
from torch.utils._pytree import tree_unflatten as tree_unflatten

from lrtrain.process import ranks

Fetcher: TypeAlias = _DataFetcher
"""What hands the batches of an epoch to Lightning's loop."""


class TrainingLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch; `trainer.fit_loop.epoch_loop` may be replaced by a subclass."""

    def count_update(self) -> None:
        """Count the batch just taken for the step of what is logged, if it completed an update."""
        self._batches_that_stepped += not self._should_accumulate()

    def count_batches(self, count: int, fetcher: Fetcher) -> None:
        """Count batches that were taken without the fetcher, each with an update, but for the end of the last one."""
        fetcher.fetched += count
        fetcher.done = fetcher.fetched >= (fetcher.length or math.inf)
        steps = self.automatic_optimization.optim_progress.optimizer
        for progress in (steps.zero_grad, steps.step, self.scheduler_progress, self.batch_progress):
            progress.increment_by(count)
        for counts in (self.batch_progress.total, self.batch_progress.current):
            counts.completed -= 1
        self.batch_progress.is_last_batch = fetcher.done
        self._batches_that_stepped += count - 1

    def _should_check_val_fx(self, data_fetcher: Fetcher) -> bool:
        """Validate where Lightning does, and the weights that a training ends with."""
        trainer = self.trainer
        last = trainer.current_epoch + 1 == trainer.max_epochs and self._num_ready_batches_reached()
        ends = last or (trainer.should_stop and trainer.fit_loop._can_stop_early)
        return super()._should_check_val_fx(data_fetcher) or (ends and trainer.enable_validation)


class WeighedOptimization(_AutomaticOptimization):
    """Lightning's steps, in which not every batch of an update counts the same.

    Args:
        trainer: That they are of.
        weight_of: What a batch's loss is multiplied by, beside Lightning's division by the number of batches.
    """

    def __init__(self, trainer: pl.Trainer, weight_of: Callable[[pl.Trainer, int], float]) -> None:
        super().__init__(trainer)
        self.weight_of = weight_of

    def _training_step(self, kwargs: OrderedDict[str, Any]) -> ClosureResult:
        found = super()._training_step(kwargs)
        weight = self.weight_of(self.trainer, self.trainer.fit_loop.epoch_loop.batch_idx)
        if found.closure_loss is None or weight == 1:
            return found
        return ClosureResult(found.closure_loss * weight, found.extra)


def is_on_schedule(trainer: pl.Trainer) -> bool:
    """Whether the settings have a validation after the present batch, be it the last or not."""
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None, "it is training"
    stops, trainer.should_stop = trainer.should_stop, False
    try:
        return _TrainingEpochLoop._should_check_val_fx(loop, fetcher)
    finally:
        trainer.should_stop = stops


class MeasuringLoop(_EvaluationLoop):
    """Lightning's loop over the batches of a validation; the `val_loop` of a `TrainingLoop` may be replaced by it."""

    def __init__(self, trainer: pl.Trainer) -> None:
        super().__init__(trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False)

    def batches(self) -> tuple[Iterable[Any], int | None]:
        """The loader, and how many of its batches are used; None for all of a loader without a length."""
        self.setup_data()
        assert self._combined_loader is not None
        [loader], [count] = self._combined_loader.flattened, self.max_batches
        return loader, None if math.isinf(count) else int(count)


class AveragingCallback(WeightAveraging):
    """Lightning's callback that averages the weights, whose average something else may update."""

    @property
    def state_key(self) -> str:
        """As in a checkpoint of Lightning's own."""
        return WeightAveraging.__qualname__

    @property
    def average(self) -> AveragedModel:
        """Of the module in training."""
        assert self._average_model is not None, "it is training"
        return self._average_model

    def skip_updates(self, done: int) -> None:
        """Leave the average as it is until the run has done more updates than so many."""
        self._latest_update_step = done


def fetches_plainly(fetcher: Fetcher) -> bool:
    """Whether batches come one by one from loaders of known length."""
    return type(fetcher) is _PrefetchDataFetcher and fetcher.length is not None


def count_batches(trainer: pl.Trainer) -> int:
    """The training batches that were begun in this epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def end_workers(gathered: Iterator[Any]) -> None:
    """End the processes that gather the batches of a `DataLoader` that is iterated over."""
    loaded: Any = gathered
    loaded._shutdown_workers()


@contextmanager
def mark_unfinished(trainer: pl.Trainer) -> Iterator[None]:
    """Let a checkpoint that is saved in here continue the epoch, if the run stopped in the middle of it.

    At an epoch's end Lightning counts it as done, however many of its batches are left.
    """
    progress: Any = trainer.fit_loop.epoch_progress
    counted = progress.current.processed == progress.current.ready
    stopped = counted and trainer.should_stop and count_batches(trainer) < trainer.num_training_batches
    for counts in (progress.total, progress.current):
        counts.processed -= stopped
    try:
        yield
    finally:
        for counts in (progress.total, progress.current):
            counts.processed += stopped


@cache
def _packages_have_callbacks() -> bool:
    """Whether an installed package adds callbacks to every trainer."""
    return bool(entry_points(group="lightning.pytorch.callbacks_factory"))


@contextmanager
def callbacks_looked_for_once() -> Iterator[None]:
    """Build a trainer without looking through all packages for callbacks, if none has had any in this process."""
    if _packages_have_callbacks():
        yield
        return
    connector: Any = callback_connector
    before = connector._load_external_callbacks
    connector._load_external_callbacks = lambda _: []
    try:
        yield
    finally:
        connector._load_external_callbacks = before


def cluster_of(trainer: pl.Trainer) -> ClusterEnvironment:
    """What started the processes of a trainer; on one device, its strategy does not know."""
    known: ClusterEnvironment | None = getattr(trainer.strategy, "cluster_environment", None)
    return known or (TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment())


def leave_signals_alone(trainer: pl.Trainer) -> None:
    """Keep a trainer from handling signals; call it in a callback's `setup`."""
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = lambda: None


def names_in_sanity_check(trainer: pl.Trainer) -> list[str]:
    """The metrics that the sanity check has logged.

    Lightning drops values of one of several loaders there, such as ``val_loss/dataloader_idx_0``, but not their names.
    """
    results = trainer._results
    assert results is not None, "its loop has run"
    of_loaders = (results._forked_name(metric, False) for metric in results.values() if metric.meta.on_epoch)
    return list(dict.fromkeys([*trainer.callback_metrics, *chain.from_iterable(of_loaders)]))


def import_compiler() -> None:
    """Import what makes kernels of a traced function: that takes longer than tracing a small one."""
    importlib.import_module("torch._inductor")


def flag_non_finite(tensors: list[Tensor], found: Tensor, one: Tensor) -> None:
    """Set `found` to 1 if a number in the tensors is not finite.

    This is how a `GradScaler` finds overflows, scaling by 1: one call for all tensors of a device and type.

    Args:
        tensors: Not changed, as they are multiplied by `one`.
        found: Of shape (1,) on their device.
        one: The number 1, likewise.
    """
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, one)


class ChildObserver(_ChildProcessObserver):
    """Looks after the processes that were started for a run; Lightning's kills this one where one has failed."""

    def _terminate_all(self) -> None:
        for process in self._child_processes:
            process.kill()
        ranks.lose()


@contextmanager
def children_observed() -> Iterator[None]:
    """Have the processes that Lightning starts in here looked after by `ChildObserver`."""

    def observe(child_processes: list[subprocess.Popen[bytes]]) -> None:
        ChildObserver(os.getpid(), child_processes, sleep_period=1).start()

    launcher: Any = subprocess_script
    before, launcher._launch_process_observer = launcher._launch_process_observer, observe
    try:
        yield
    finally:
        launcher._launch_process_observer = before
