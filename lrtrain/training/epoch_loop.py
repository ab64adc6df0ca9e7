"""Lightning's loops over the batches of an epoch, without their overhead on small ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import DoublePrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import Optimizer

from lrtrain.scheduler import setting
from lrtrain.training.accumulation import weight_of
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.data import Data
from lrtrain.training.module import Supervised
from lrtrain.training.private import Fetcher, MeasuringLoop, TrainingLoop, WeighedOptimization, fetches_plainly
from lrtrain.training.stretch import Passed, Stepper, Stretch, Stretched

STEP = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    "on_before_optimizer_step",
)
"""The hooks of a step that callbacks may have."""

CALLED = (
    *STEP,
    *("on_validation_start", "on_validation_epoch_start", "on_validation_epoch_end"),
    "on_validation_end",
)
"""Those, and the hooks of a validation."""

NOT_CALLED = ("on_validation_batch_start", "on_validation_batch_end")
"""Those that leave all to Lightning, if a callback has them."""

TEST = (
    *("setup", "teardown", "on_test_start", "on_test_epoch_start", "on_test_batch_start", "on_test_batch_end"),
    *("on_test_epoch_end", "on_test_end"),
)
"""Those that leave a test to Lightning, if a callback of others has them."""

LEFT_OUT = (
    *(name for name in CALLED if name != "on_validation_epoch_end"),
    *NOT_CALLED,
    *("optimizer_step", "optimizer_zero_grad", "backward", "lr_scheduler_step"),
    *("on_validation_model_eval", "on_validation_model_train"),
)
"""The hooks of a module that do."""

TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""The same, of a module or its data."""

Hooks = dict[str, list[Callable[..., Any]]]

NO_CLOSURE = ("torch", "lrtrain", "schedulefree", "prodigyopt")
"""The packages whose optimizers can step without a closure; others may call Lightning's, and more than once."""


class EpochLoop(TrainingLoop):
    """Takes the plain steps of an epoch itself, in the same order and to the same bits as Lightning.

    Lightning's contexts, closures, profiling and logging take several times as long as a step of a small network. A
    step is plain if the run is on one device in full precision and the module logs nothing. Lightning takes all others,
    and the first after a resume; what follows a step, such as whether a validation is due, is always Lightning's.

    Plain steps may be left to a `Stepper`, which takes those together that nothing happens between.

    Args:
        trainer: Its loop is replaced.
        stepper: Takes the plain steps, if it can.
    """

    val_loop: ValidationLoop

    def __init__(self, trainer: pl.Trainer, stepper: Stepper | None = None) -> None:
        super().__init__(trainer, max_steps=trainer.max_steps)
        self.val_loop = ValidationLoop(trainer)
        self.automatic_optimization = WeighedOptimization(trainer, weight_of)
        self._is_plain: bool | None = None
        self._hooks: Hooks | None = None
        self._stepper = stepper
        self._observers: list[Stretched] | None = None

    def on_run_start(self, data_fetcher: Fetcher) -> None:
        """Collect the hooks to call, in the first epoch."""
        super().on_run_start(data_fetcher)
        if self._is_plain is None:
            self._is_plain = _is_plain(self.trainer, data_fetcher, double=self._stepper is not None)
            self._hooks = _overridden(self.trainer) if self._is_plain else None
        if self._stepper and self._hooks is None and self._observers is None:
            self._observers = []
            self._stepper.begin(self.trainer, False)
        self.val_loop.hooks = self._hooks

    def advance(self, data_fetcher: Fetcher) -> None:
        """Take the plain steps up to one that something may follow, or one of Lightning's."""
        if self._hooks is None or self.restarting:
            super().advance(data_fetcher)
            return
        trainer, current = self.trainer, self.batch_progress.current
        last, validated = trainer.num_training_batches, trainer.val_check_batch or math.inf
        if self._stepper and self._observers is None:
            observers = _stretched(trainer)
            self._observers = observers if self._stepper.begin(trainer, bool(observers)) else []
            self.val_loop.stepper = self._stepper if self._observers else None
        while True:
            if self._stepper and self._observers:
                self._take_stretch(data_fetcher, self._hooks, self._stepper, self._observers)
            else:
                self._plain_step(data_fetcher, self._hooks)
            if trainer.should_stop or current.ready >= last or current.ready % validated == 0:
                return
            self.count_update()

    def _take_stretch(
        self, data_fetcher: Fetcher, hooks: Hooks, stepper: Stepper, observers: Sequence[Stretched]
    ) -> None:
        """Take the updates up to one that something may follow, whose hooks are called."""
        trainer, module, done = self.trainer, self.trainer.lightning_module, self.batch_progress.current.ready
        scheduler, validated = scheduler_of(trainer), trainer.val_check_batch or math.inf
        room = min(trainer.num_training_batches - done, validated - done % validated, stepper.most)
        count = int(min(room, *(observer.patience(trainer) for observer in observers)))
        for hook in hooks["on_train_batch_start"]:
            hook(trainer, module, None, done)
        first, values, names = scheduler.last_epoch, [], scheduler.hyperparameters
        rates: list[list[Any]] = [scheduler.used_lrs]
        settings: list[dict[str, float]] = []
        for ahead in range(count):
            values.append(stepper.read(ahead))
            settings.append({name: setting(scheduler.optimizer.param_groups[0], name) for name in names})
            scheduler.count_update()
            rates.append(scheduler.used_lrs)
        measured = sorted({step - first for each in observers for step in each.measured(trainer, first, count)})
        places, sizes = trainer.train_dataloader.take(count, begins=done == 0)
        taken, passed = stepper.take(Stretch(places, sizes, values, measured)), Passed(first, rates, settings)
        fault = next(filter(None, (each.fault(trainer, passed, taken) for each in observers)), None)
        if fault:
            taken = taken.until(fault.update)
            scheduler.go_back(first + fault.update, rates[fault.update])
        for observer in observers:
            observer.on_stretch(trainer, passed, taken)
        if fault:
            raise fault.error
        self.count_batches(count, data_fetcher)
        outputs = {"loss": torch.tensor(taken.losses[-1], dtype=torch.float64)}
        for hook in hooks["on_train_batch_end"]:
            hook(trainer, module, outputs, None, done + count - 1)
        self.batch_progress.increment_completed()

    def _plain_step(self, data_fetcher: Fetcher, hooks: Hooks) -> None:
        trainer, module, optimizer = self.trainer, self.trainer.lightning_module, self.trainer.optimizers[0]
        progress, steps = self.batch_progress, self.automatic_optimization.optim_progress.optimizer
        batch_idx = self.batch_idx + 1
        batch = trainer.precision_plugin.convert_input(next(data_fetcher)[0])
        if trainer.strategy.root_device.type != "cpu":
            batch = trainer.strategy.batch_to_device(batch)
        progress.is_last_batch = data_fetcher.done
        progress.increment_ready()
        for hook in hooks["on_train_batch_start"]:
            hook(trainer, module, batch, batch_idx)
        progress.increment_started()

        loss = module.training_step(batch, batch_idx)
        accumulated = trainer.accumulate_grad_batches
        if accumulated > 1:
            loss = loss / accumulated
            if (counts := weight_of(trainer, batch_idx)) != 1:
                loss = loss * counts
        outputs = {"loss": loss.detach()}
        if batch_idx % accumulated == 0:
            steps.zero_grad.increment_ready()
            for hook in hooks["on_before_zero_grad"]:
                hook(trainer, module, optimizer)
            steps.zero_grad.increment_started()
            for group in optimizer.param_groups:  # as zero_grad(), which takes as long as a layer to tell a profiler
                for weight in group["params"]:
                    weight.grad = None
            steps.zero_grad.increment_completed()
        for hook in hooks["on_before_backward"]:
            hook(trainer, module, loss)
        loss.backward()
        for hook in hooks["on_after_backward"]:
            hook(trainer, module)
        if progress.current.ready % accumulated == 0 or progress.is_last_batch:
            steps.step.increment_ready()
            for hook in hooks["on_before_optimizer_step"]:
                hook(trainer, module, optimizer)
            if trainer.gradient_clip_val:
                module.configure_gradient_clipping(
                    optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
                )
            optimizer.step()
            steps.step.increment_completed()
            self.scheduler_progress.increment_ready()  # the scheduler counts the updates itself
            self.scheduler_progress.increment_completed()

        progress.increment_processed()
        for hook in hooks["on_train_batch_end"]:
            hook(trainer, module, outputs, batch, batch_idx)
        progress.increment_completed()


class ValidationLoop(MeasuringLoop):
    """Takes a validation within the training itself, where its steps are plain.

    Attributes:
        hooks: What each hook of the callbacks calls; None leaves all to Lightning.
        stepper: Measures the network; None leaves that to the module.
    """

    hooks: Hooks | None = None
    stepper: Stepper | None = None

    def run(self) -> list[Any]:
        """Measure the model in eval mode, and leave each layer in the mode in which it was."""
        if self.hooks is None or self.restarting or self.trainer.sanity_checking:
            return list(super().run())
        trainer, module, progress, hooks = self.trainer, self.trainer.lightning_module, self.batch_progress, self.hooks
        loader, count = self.batches()
        in_training = [] if self.stepper else [layer for layer in module.modules() if layer.training]
        progress.reset_on_run()
        with torch.no_grad():
            if not self.stepper:  # which leaves the module as it is
                module.eval()
            for name in ("on_validation_start", "on_validation_epoch_start"):
                for hook in hooks[name]:
                    hook(trainer, module)
            if self.stepper:
                assert isinstance(module, Supervised), "its steps are plain"
                assert count is not None, "our loaders have a length"
                self.stepper.measure(map(self._given, islice(loader, count)), module.val)
                progress.increment_by(count, is_last_batch=True)
            else:
                for index, batch in enumerate(islice(loader, count)):
                    progress.increment_by(1, is_last_batch=index + 1 == count)
                    module.validation_step(self._given(batch), index)
            for hook in hooks["on_validation_epoch_end"]:
                hook(trainer, module)
            module.on_validation_epoch_end()
            for hook in hooks["on_validation_end"]:
                hook(trainer, module)
        for layer in in_training:
            layer.training = True
        return []

    def _given(self, batch: Any) -> Any:
        """A batch as the network is given it."""
        strategy = self.trainer.strategy
        if strategy.root_device.type != "cpu":
            batch = strategy.batch_to_device(batch)
        return self.trainer.precision_plugin.convert_input(batch)


def take_plain_test(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule) -> bool:
    """Measure the module on the test data, without what Lightning takes for that, if nothing needs Lightning.

    Returns:
        Whether it was done; `module.test` holds what was measured.
    """
    others = [each for each in trainer.callbacks if type(each).__module__.partition(".")[0] != "lrtrain"]  # type: ignore[attr-defined]
    limit = trainer.limit_test_batches
    if not (
        type(module) is Supervised
        and type(data) is Data
        and type(trainer.strategy) is SingleDeviceStrategy
        and trainer.strategy.root_device.type == "cpu"
        and type(trainer.precision_plugin) in (Precision, DoublePrecision)
        and (type(limit), limit) == (float, 1.0)
        and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
        and not any(_own(each, pl.Callback, TEST) for each in others)
    ):
        return False
    in_training = [layer for layer in module.modules() if layer.training]
    module.eval()
    with torch.no_grad():
        for index, batch in enumerate(data.test_dataloader()):
            module.test_step(trainer.precision_plugin.convert_input(batch), index)
    for layer in in_training:
        layer.training = True
    return True


def _stretched(trainer: pl.Trainer) -> list[Stretched]:
    """The callbacks, where all that have hooks of a step can do without those of some steps; else none."""
    found = [each for each in trainer.callbacks if isinstance(each, Stretched)]  # type: ignore[attr-defined]
    others = [each for each in trainer.callbacks if not isinstance(each, Stretched)]  # type: ignore[attr-defined]
    return [] if any(_own(each, pl.Callback, STEP) for each in others) else found


def _is_plain(trainer: pl.Trainer, data_fetcher: Fetcher, double: bool) -> bool:
    """Whether a step needs nothing that only Lightning can do; weights of 64 bits are plain only where that is said."""
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    return (
        isinstance(module, Supervised)  # which logs nothing
        and not _own(module, pl.LightningModule, (*LEFT_OUT, *TRANSFER))
        and not (data and _own(data, pl.LightningDataModule, TRANSFER))
        and not any(_own(callback, pl.Callback, NOT_CALLED) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        and type(trainer.optimizers[0]).__module__.partition(".")[0] in NO_CLOSURE
        and not _own(trainer.optimizers[0], Optimizer, ["zero_grad"])
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(trainer.precision_plugin) in ((Precision, DoublePrecision) if double else (Precision,))
        and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
        and fetches_plainly(data_fetcher)
        and trainer.check_val_every_n_epoch is not None
    )


def _own(thing: object, base: type, hooks: Iterable[str]) -> list[str]:
    """The hooks that a class overrides, or an instance, as Lightning's LambdaCallback does."""
    found = ((name, getattr(thing, name)) for name in hooks)
    return [name for name, hook in found if getattr(hook, "__func__", hook) is not getattr(base, name)]


def _overridden(trainer: pl.Trainer) -> Hooks:
    """The methods that each hook calls."""
    return {
        name: [
            getattr(callback, name)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if _own(callback, pl.Callback, [name])
        ]
        for name in CALLED
    }
