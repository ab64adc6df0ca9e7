"""Lightning's Trainer, as the settings ask for it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import profilers
from lightning.pytorch.loggers import Logger

from lrtrain.errors import of_values
from lrtrain.parameters.bound import plain
from lrtrain.run_folder.folder import RunFolder
from lrtrain.schedules import Span
from lrtrain.settings import Settings
from lrtrain.training.epoch_loop import EpochLoop
from lrtrain.training.private import callbacks_looked_for_once, cluster_of
from lrtrain.training.stretch import Stepper

PROFILERS = {"simple": "SimpleProfiler", "advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}


def build_trainer(
    settings: Settings,
    folder: RunFolder,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger] = (),
    stepper: Stepper | None = None,
) -> pl.Trainer:
    """The Trainer of a run.

    Args:
        settings: Every key under `trainer` is an argument of Lightning's own.
        folder: Where it writes.
        callbacks: One of them is a progress bar.
        loggers: Of the run; what only measures has none.
        stepper: Takes the plain steps of a training.

    Raises:
        ValueError: The hardware is not there, or an argument is one that we set.
    """
    asked: dict[str, Any] = plain(settings.trainer)
    del asked["others"]
    if asked["accelerator"] == "gpu" and not torch.accelerator.is_available():
        raise ValueError("trainer.accelerator=gpu: torch finds no GPU here; write trainer=auto")
    if asked["profiler"]:
        asked["profiler"] = getattr(profilers, PROFILERS[asked["profiler"]])(folder.path, folder.PROFILE)
    length = settings.epochs
    assert isinstance(length, Span)
    ours: dict[str, Any] = {
        "max_epochs": length.value if length.unit == "ep" else -1,
        "logger": list(loggers),
        "callbacks": list(callbacks),
        "default_root_dir": folder.path,
        "enable_checkpointing": True,
        "enable_progress_bar": True,  # the bar is one of the callbacks, and knows whether it is shown
        "enable_model_summary": False,
        "num_sanity_val_steps": 0 if settings.is_built_in else 1,  # to see which metrics it logs
    }
    for name in settings.trainer.others:
        if name in ours:
            raise ValueError(f"trainer.{name} is set by lrtrain itself: leave it out")
    with of_values(), callbacks_looked_for_once():
        made = pl.Trainer(**{**asked, **settings.trainer.others, **ours})
    if made.precision != asked["precision"]:
        raise ValueError(f"trainer.precision={asked['precision']} needs a GPU: write {made.precision}")
    made.fit_loop.epoch_loop = EpochLoop(made, stepper)
    return made


def count_devices(trainer: pl.Trainer) -> int:
    """How many train together; raises ValueError where that is not what the processes were started for."""
    devices, cluster = trainer.num_devices * trainer.num_nodes, cluster_of(trainer)
    if TorchElasticEnvironment.detect() and cluster.world_size() != devices:
        raise ValueError(
            f"torchrun started {cluster.world_size()} processes, but trainer.devices and num_nodes make {devices}: "
            f"give trainer=ddp trainer.devices=PROCESSES_A_NODE, and +trainer.num_nodes=NODES where there are several"
        )
    if devices > 1:
        cluster.validate_settings(trainer.num_devices, trainer.num_nodes)
    return devices


def set_length(trainer: pl.Trainer, epochs: float) -> None:
    """Let the Trainer end with the last epoch that has an update of the run."""
    trainer.fit_loop.max_epochs = math.ceil(epochs)


def starts_processes(trainer: pl.Trainer) -> bool:
    """Whether this process is to start the others of its run by its own command line."""
    outside = cluster_of(trainer).creates_processes_externally
    return trainer.num_devices > 1 and not outside and "LOCAL_RANK" not in os.environ


def check_processes(trainer: pl.Trainer) -> None:
    """Refuse a second run with several devices in one process, whose others have ended; raises ValueError."""
    if starts_processes(trainer) and torch.distributed.is_available() and torch.distributed.is_initialized():
        raise ValueError(f"trainer.devices={trainer.num_devices}: one such run per process; start another process")


def check_fused(settings: Settings, trainer: pl.Trainer) -> None:
    """Refuse to train by kernels that are wrong."""
    precision = settings.trainer.precision
    if trainer.strategy.root_device.type != "cpu":
        return
    if settings.optimizer.parameters.get("fused") and precision in ("bf16-true", "16-true"):
        raise ValueError(
            f"optimizer.fused=true: torch's kernels for the CPU are wrong for weights of 16 bits "
            f"(trainer.precision={precision}); leave it out"
        )
