"""task=train: train a model under the strategy, and keep what came of it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden

from lrtrain import build, planning, processes, signals
from lrtrain.errors import DivergedError, InterruptedRunError, RequestError, first_line
from lrtrain.report.table import print_result
from lrtrain.resume import begins, check_devices, plans_at, with_present_plan
from lrtrain.runs import RunFolder, Segment
from lrtrain.schedules import Plan
from lrtrain.training.checkpoints import LastAndBest, sound_checkpoint
from lrtrain.training.data import Data
from lrtrain.training.early_stop import EarlyStop
from lrtrain.training.faults import explained
from lrtrain.training.guard import DivergenceGuard, Rescale
from lrtrain.training.interruption import Interruption
from lrtrain.training.loggers import EventFile, drop_events_from
from lrtrain.training.progress_bar import RunBar
from lrtrain.training.ranks import RandomNumbers, SharedFolder
from lrtrain.training.record import TEST, Record
from lrtrain.training.scheduled import Scheduled
from lrtrain.training.scheduling import ValidationFeedback, scheduler_of

Config = Mapping[str, Any]

OF_CONTENT = ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError
"""What building something runs into where a configuration or a checkpoint holds what it should not."""


def run(config: Config, folder: RunFolder) -> float:
    """Train, test the final and the best weights, write the summary, and print a short table.

    A run that is resumed goes on in its own folder; with ``resume_plan=weights_only`` a new one begins from the old
    weights. A run that diverges goes back to its last checkpoint, where ``on_nonfinite=rollback`` allows it.

    Returns:
        The best value of the monitored metric; always finite.

    Raises:
        RequestError: The objects cannot be built from the configuration, the hardware is not there, or there is nothing
            to resume.
        DivergedError: The loss was no longer finite.
        InterruptedRunError: A signal came.
        FaultError: The machine failed.
    """
    quiet()
    if begins(config) and processes.is_first(config["trainer"]):
        folder.check_unused()
    tries, scale = config["rollbacks"] if config["on_nonfinite"] == "rollback" else 0, None
    for attempt in range(tries + 1):
        # After a rollback the run is resumed in its own folder, as the same plan.
        again = {"resume": str(folder.path), "resume_plan": None} if attempt else {}
        parts = _prepare({**config, **again}, folder, scale)
        try:
            return _train(config, folder, parts)
        except DivergedError as error:
            if attempt == tries or not folder.last_checkpoint.exists():
                raise
            scale = error.scale * config["rollback_factor"]
            parts.trainer.print(f"{error}\nrolling back ({attempt + 1} of {tries}): rates times {scale:.4g}")
    raise AssertionError("the last attempt returns or raises")


class _Parts(NamedTuple):
    """All that a run is made of.

    Attributes:
        start: The checkpoint to begin from, and its update.
        resumes: The run goes on from there with all its state, not with the weights only.
    """

    trainer: pl.Trainer
    module: Scheduled
    data: pl.LightningDataModule
    plan: Plan
    segments: list[Segment]
    record: Record
    checkpoints: LastAndBest
    start: tuple[Path, int] | None
    resumes: bool


def _prepare(config: Config, folder: RunFolder, scale: float | None) -> _Parts:
    """Build everything before anything is written."""
    pl.seed_everything(config["seed"], verbose=False)
    try:
        start = sound_checkpoint(RunFolder(config["resume"])) if config["resume"] else None
        resumes = not begins(config)
        cadence = build.cadence(config, planning.horizon(config))
        checkpoints = LastAndBest(folder, config["monitor"], planning.metric_mode(config), cadence)
        record = Record(folder, config["log_every"])
        callbacks = [SharedFolder(folder), *_callbacks(config, record, checkpoints)]
        if scale is not None:
            callbacks.append(Rescale(scale))  # after the feedback, which may begin anew
        trainer = build.trainer(config, folder, callbacks)
        devices = _devices(trainer)
        segments = _segments(config, start[1] if start and resumes else None, devices)
        for early_stop in (callback for callback in callbacks if isinstance(callback, EarlyStop)):
            early_stop.anew = start is not None and segments[-1].step == start[1]
        plan = planning.plan(config, segments)
        data = build.data(config)
        build.check_measuring(config, data, devices)
        module = build.module(config, plan, *build.inputs_and_classes(config, data))
        module.make_scheduler(module.make_optimizer())
        if start:
            checkpoint = _load(start[0], module, callbacks if resumes else [])
            if resumes:
                check_devices(config, len(checkpoint["random"]), devices)
    except (OSError, MemoryError) as error:
        raise RequestError(str(error) or "out of memory") from error
    except (*OF_CONTENT, MisconfigurationException) as error:
        raise RequestError(first_line(error)) from error
    return _Parts(trainer, module, data, plan, segments, record, checkpoints, start, resumes)


def _train(config: Config, folder: RunFolder, parts: _Parts) -> float:
    """Train once, from the beginning or a checkpoint, and keep what came of it."""
    trainer, module, data, plan, segments, record, checkpoints, start, resumes = parts
    trainer.print("\n".join(_announcement(config, parts)))
    if trainer.is_global_zero:
        try:
            folder.write_plan(segments)
            if start and resumes:
                drop_events_from(folder, start[1])
            else:
                folder.clear()
        except OSError as error:
            raise RequestError(f"cannot write to {folder.path} ({error.strerror}); nothing was begun") from error
    summary = _Summary(config, folder, plan, record, checkpoints, trainer)
    try:
        trainer.fit(module, data, ckpt_path=start[0] if start and resumes else None, weights_only=True)
        _check_done(parts)
        final = {**record.last_metrics, **_test(trainer, _restored(config, parts, folder.last_checkpoint), data)}
        best = {**checkpoints.best, **_test(trainer, _restored(config, parts, folder.best_checkpoint), data)}
        signals.defer()  # only the writing down is left
    except RequestError:
        raise
    except BaseException as error:
        reason = explained(error, folder, trainer.world_size)
        if reason is error and not folder.begun:
            _refuse(error, parts)
        try:
            summary.write_end(reason)
        except RuntimeError as late:  # torch says that a worker was lost in whatever is going on when it hears of it
            reason = explained(late, folder, trainer.world_size)
            summary.write_end(reason)
        if reason is error:
            raise
        raise reason from error
    if trainer.is_global_zero:
        record.add_test(trainer, {name: final[name] for name in TEST if name in final})
        if isinstance(trainer.logger, EventFile):
            shown = {config["monitor"]: None, "val_loss": None, "val_acc": None, "test_acc": None}
            metrics = {f"best/{name}": best[name] for name in shown if name in best}
            trainer.logger.log_result(config, metrics, scheduler_of(trainer).last_epoch - 1)
        print_result(summary.write("finished", best, final), folder)
    return float(checkpoints.best[config["monitor"]])


def _refuse(error: BaseException, parts: _Parts) -> None:
    """Raise RequestError for what Lightning finds wrong before it trains: a setting, or what a checkpoint holds."""
    if isinstance(error, MisconfigurationException):
        raise RequestError(first_line(error)) from error
    if parts.start and parts.resumes and isinstance(error, OF_CONTENT):
        said = f"{type(error).__name__}: {first_line(error)}"
        raise RequestError(f"{parts.start[0]} is not as we write it ({said}): begin anew") from error


def _check_done(parts: _Parts) -> None:
    """Refuse to call a run finished that has not measured anything, or ended before its plan did by itself.

    Raises:
        RequestError: Nothing was left to do that would have measured anything.
        RuntimeError: Something is wrong.
    """
    trainer, checkpoints = parts.trainer, parts.checkpoints
    scheduler, done = scheduler_of(trainer), trainer.global_step
    planned = scheduler.total_steps
    if not checkpoints.best:
        if parts.resumes and parts.start and parts.start[1] == scheduler.last_epoch:
            raise RequestError(
                f"no update is left, so that no best weights by {checkpoints.monitor} will be found: give more epochs, "
                "or begin anew without resume"
            )
        raise RuntimeError("the run ended before its first validation: nothing was measured")
    if not trainer.should_stop and planned is not None and done < planned:
        raise RuntimeError(f"the run ended after {done:,} of its {planned:,} updates, and nothing had stopped it")


def _announcement(config: Config, parts: _Parts) -> list[str]:
    """What is said at the start: from where, what the rate will do, and what is odd about it."""
    verb = "going on" if parts.resumes else "beginning"
    origin = [f"{verb} from {parts.start[0]}, update {parts.start[1]:,}"] if parts.start else []
    if isinstance(parts.data, Data):
        origin.append(f"{config['dataset']['name']}: {parts.data.splits.sentence()}")
        origin.extend(parts.data.splits.remarks)
    if config["model"]["name"] == "lightning":
        ours = f"optimizer={config['optimizer']['name']} and scheduler={config['scheduler']}"
        origin.append(f"{ours} take the place of configure_optimizers in {config['model']['function']}")
    return [*origin, parts.plan.sentence(), *(f"warning: {line}" for line in planning.warnings(config, parts.plan))]


def _segments(config: Config, step: int | None, devices: int) -> list[Segment]:
    """The plans that the run has been given with the present one; `step` is the update that it goes on from, if any."""
    steps_per_epoch = planning.horizon(config, devices).steps_per_epoch
    if step is None:
        return [Segment(dict(config), steps_per_epoch)]
    return with_present_plan(plans_at(RunFolder(config["resume"]), step), config, step, steps_per_epoch)


def _callbacks(config: Config, record: Record, checkpoints: LastAndBest) -> list[pl.Callback]:
    watching = (DivergenceGuard(config["monitor"]), ValidationFeedback(config["monitor"]))
    callbacks = [*build.averaging(config), *watching, record]
    if config["early_stop"]:
        callbacks.append(EarlyStop(config["monitor"], planning.metric_mode(config), config["early_stop"]))
    if config["trainer"]["enable_progress_bar"]:
        callbacks.append(RunBar(config["log_every"]))
    return [*callbacks, RandomNumbers(), Interruption(), checkpoints]


def _devices(trainer: pl.Trainer) -> int:
    """How many train together; raises ValueError where that is not what the processes were started for."""
    devices = trainer.num_devices * trainer.num_nodes
    cluster = trainer._accelerator_connector.cluster_environment
    if TorchElasticEnvironment.detect() and cluster.world_size() != devices:
        raise ValueError(
            f"torchrun started {cluster.world_size()} processes, but trainer.devices and num_nodes make {devices}: "
            f"give trainer=ddp trainer.devices=PROCESSES_A_NODE, and +trainer.num_nodes=NODES where there are several"
        )
    if devices > 1:
        cluster.validate_settings(trainer.num_devices, trainer.num_nodes)
    return devices


class _Summary:
    """Collects and writes `summary.json`."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        plan: Plan,
        record: Record,
        checkpoints: LastAndBest,
        trainer: pl.Trainer,
    ) -> None:
        self.config, self.folder, self.plan = config, folder, plan
        self.record, self.checkpoints, self.trainer = record, checkpoints, trainer
        self.began = time.perf_counter()

    def write_end(self, error: BaseException) -> None:
        """Write how the run ended early, where there is room for it, and anything of the run at all."""
        status = {DivergedError: "diverged", InterruptedRunError: "interrupted"}.get(type(error), "failed")
        begun = self.folder.last_checkpoint.exists() or self.folder.metrics.exists()
        if begun or status != "interrupted":
            with suppress(OSError):
                self.write(status, error=str(error))

    def write(
        self,
        status: str,
        best: Mapping[str, float] | None = None,
        final: Mapping[str, float] | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        """Write the summary as of now and return it."""
        configs = self.trainer.lr_scheduler_configs  # none yet where the run failed before it began
        steps = scheduler_of(self.trainer).last_epoch if configs else 0
        used = scheduler_of(self.trainer).used_lrs if configs else []
        files = (self.folder.last_checkpoint, self.folder.best_checkpoint)
        summary = {
            "status": status,
            "error": error,
            "strategy": self.plan.strategy,
            "schedule": self.plan.sentence(),
            "seed": self.config["seed"],
            "steps": steps,
            "epochs": steps // self.plan.horizon.steps_per_epoch,
            "wall_s": round(time.perf_counter() - self.began, 3),
            "lr": {"first": self.record.first_rate, "last": used[0] if used else self.record.last_rate},
            "monitor": self.config["monitor"],
            "best": dict(best or self.checkpoints.best),
            "final": dict(final or self.record.last_metrics),
            "checkpoints": {file.stem: str(file.relative_to(self.folder.path)) for file in files if file.exists()},
            "versions": {name: version(name) for name in ("lrtrain", "torch", "lightning", "hydra-core")},
            "config": self.config,
        }
        if self.trainer.is_global_zero:
            self.folder.write_summary(summary)
        return summary


def _test(trainer: pl.Trainer, module: Scheduled, data: pl.LightningDataModule) -> dict[str, float]:
    """Test the module's present weights; what a user's module or data has no test for is left out."""
    if not is_overridden("test_step", module) or not is_overridden("test_dataloader", data):
        return {}
    trainer.test(module, data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _restored(config: Config, parts: _Parts, checkpoint: Path) -> Scheduled:
    """The module with a checkpoint's weights, to be tested.

    Not by Lightning's ckpt_path, which would set the callbacks back to when the weights were saved.
    """
    trainer, module, data, plan = parts[:4]
    if isinstance(trainer.strategy, FSDPStrategy):  # it leaves a module in shards, which cannot be used again
        module = build.module(config, plan, *build.inputs_and_classes(config, data))
        _load(checkpoint, module, [])
    elif trainer.is_global_zero:  # the others are given the weights of the first rank
        _load(checkpoint, module, [])
    return module


def _load(path: Path, module: Scheduled, callbacks: list[pl.Callback]) -> dict[str, Any]:
    """Load a checkpoint's weights and callbacks; Lightning loads all the rest, once it is known that these fit."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    try:
        for callback in callbacks:
            if callback.state_key in checkpoint["callbacks"]:
                callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
    except KeyError as error:
        raise RequestError(
            f"{path} has no {error}, as another version of lrtrain wrote it: go on with that version, or begin anew by "
            "resume_plan=weights_only"
        ) from error
    return checkpoint  # type: ignore[no-any-return]


def quiet() -> None:
    """Keep Lightning's advice on other settings out of the user's sight; what concerns the run, we say ourselves."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
