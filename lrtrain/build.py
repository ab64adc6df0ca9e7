"""The only place where configuration becomes objects; what decides the learning rate is planned beside it.

Each function imports what it needs when it is called.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lrtrain.datasets import Inputs, dataset
from lrtrain.planning import batch_limit, custom_data, least_share, limited, look, named
from lrtrain.runs import RunFolder
from lrtrain.schedules import Horizon, Plan, updates
from lrtrain.schedules.parameters import Every

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from torch import Tensor, nn

    from lrtrain.training.checkpoints import Cadence
    from lrtrain.training.scheduled import Scheduled

Config = Mapping[str, Any]

TRUE_TYPES = {"64-true": "float64", "bf16-true": "bfloat16", "16-true": "float16"}
"""The precisions whose weights are not of torch's own type, with theirs."""

FUSES = ("32-true", "64-true", "bf16-mixed")
"""The precisions in which updating all weights by one kernel is only faster.

With 16-mixed it scales gradients back too late to clip or to measure them; on weights of 16 bits, torch 2.13's kernels
for the CPU are wrong.
"""


def cadence(config: Config, horizon: Horizon) -> Cadence:
    """How often the last checkpoint is written."""
    from lrtrain.training.checkpoints import Cadence

    span = Every().parse(config["checkpoint_every"])
    if span.unit == "auto" and config["on_nonfinite"] == "rollback":
        return Cadence(updates=horizon.steps_per_epoch)  # there must be something to roll back to
    if span.unit == "auto":
        return Cadence()
    if span.unit == "min":
        return Cadence(seconds=span.value * 60)
    return Cadence(updates=max(1, updates(span, horizon.at(0))))


def check_measuring(config: Config, data: pl.LightningDataModule, devices: int) -> None:
    """Refuse what would be found out only after the training: batches that cannot be measured, or less than one.

    Args:
        config: The composed configuration, as plain values.
        data: That it makes.
        devices: How many train together.

    Raises:
        ValueError: There is such a part.
    """
    from lrtrain.training.custom import measuring_batches
    from lrtrain.training.data import Data

    ours = config["model"]["name"] != "lightning"
    limits = {"validation": batch_limit(config, "limit_val_batches"), "test": batch_limit(config, "limit_test_batches")}
    counts: dict[str, list[int | None]]
    if isinstance(data, Data):
        counts = {part: [data.measuring_batches(part, devices)] for part in limits}
    elif ours or any(limit < 1 for limit, _ in limits.values()):
        counts = measuring_batches(**custom_data(config))
    else:
        return
    for part, loaders in counts.items():
        if ours and len(loaders) > 1:
            raise ValueError(
                f"dataset.function: there are {len(loaders)} {part} loaders, and a model of ours is measured on one; "
                "use model=lightning"
            )
        limit, asked = limits[part]
        for batches in loaders:
            if batches is not None:
                own = batches if isinstance(data, Data) else math.ceil(batches / devices)
                limited(own, limit, f"{asked} of {{}} {part} batches")


def network(config: Config, inputs: Inputs | None, classes: int | None) -> nn.Module:
    """The model, with weights drawn at random, and as many CPU threads as suit it."""
    import torch

    from lrtrain.models import model
    from lrtrain.training.threads import use_threads

    name, parameters = named(config["model"])
    made = model(name, inputs, classes, **parameters)
    use_threads(config["threads"], made, None if name == "lightning" else inputs, config["batch_size"])
    if config["trainer"]["precision"] in TRUE_TYPES:
        # Lightning does so only when training begins: by then, a checkpoint's weights would have lost digits.
        made.to(getattr(torch, TRUE_TYPES[config["trainer"]["precision"]]))
    if config["channels_last"]:
        if inputs is None or len(inputs.shape) != 3:
            raise ValueError(f"channels_last=true is for pictures; {config['dataset']['name']} has none")
        made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config["compile"]:
        _check_compiler()
        # So the names in a checkpoint stay as they are; made.compile() does nothing for an nn.Sequential.
        made.forward = torch.compile(made.forward)
    return made


def inputs_and_classes(config: Config, data: pl.LightningDataModule) -> tuple[Inputs | None, int | None]:
    """What the model is given; None for what a user's own data does not tell.

    Raises:
        ValueError: A model of ours would have to know.
    """
    from lrtrain.training.data import Data

    if isinstance(data, Data):
        return data.splits.inputs, data.splits.classes
    found, tokens = look(config), config["dataset"]["tokens"]
    inputs = None if found.shape is None else Inputs(found.shape, tokens)
    if config["model"]["name"] != "lightning":
        if inputs is None:
            raise ValueError(
                "dataset.function: its training batches are no pairs (inputs, labels); use model=lightning"
            )
        if found.integers and tokens is None:
            raise ValueError(
                "dataset.function: its inputs are whole numbers; give dataset.tokens, or make them float32"
            )
        _check_labels(found.labels, config["dataset"]["classes"])
    return inputs, config["dataset"]["classes"]


def _check_labels(labels: Tensor | None, classes: int) -> None:
    """Refuse labels of a first batch that are none of the classes."""
    import torch

    assert labels is not None, "the batch is a pair"
    if labels.dtype != torch.int64:
        raise ValueError(f"dataset.function: its labels must be whole numbers of torch.int64, they are {labels.dtype}")
    if labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        ends = f"from {labels.min()} to {labels.max()}"
        raise ValueError(
            f"dataset.classes={classes}: labels are then from 0 to {classes - 1}, but those of its first training "
            f"batch are {ends}"
        )


def module(config: Config, plan: Plan, inputs: Inputs | None, classes: int | None) -> Scheduled:
    """The LightningModule with its model, optimizer and scheduler."""
    from lrtrain.scheduler import Scheduler
    from lrtrain.training.custom import lightning_module
    from lrtrain.training.groups import parameter_groups
    from lrtrain.training.module import Classifier
    from lrtrain.training.optimizers import optimizer, own_groups

    model = network(config, inputs, classes)
    optimizer_name, settings = named(config["optimizer"])
    if config["trainer"]["precision"] not in FUSES and settings.get("fused", False) is None:
        settings["fused"] = False
    parameters = parameter_groups(
        model,
        plan.lr,
        {pattern: group.lr_mult for pattern, group in plan.groups.items()},
        no_decay=config["no_decay"],
        layer_decay=config["layer_decay"],
    )
    parameters = own_groups(optimizer_name, model, parameters, plan.lr, **settings)
    curves = {
        group["name"]: plan.groups[group["pattern"]].schedule if group["pattern"] else plan.schedule
        for group in parameters
    }
    kind: Callable[..., Scheduled] = lightning_module
    if config["model"]["name"] != "lightning":
        assert classes is not None, "the request was checked for it"
        kind = partial(Classifier, classes=classes)
    return kind(
        model,
        make_optimizer=lambda: optimizer(optimizer_name, parameters, plan.lr, **settings),
        make_scheduler=lambda optimizer: Scheduler(
            optimizer,
            curves if plan.groups else plan.schedule,
            total_steps=plan.horizon.total_steps,
            steps_per_epoch=plan.horizon.steps_per_epoch,
            feedback=plan.feedback,
            min_factor=least_share(config),
            hyperparameters=plan.hyperparameters,
        ),
        monitor=config["monitor"],
    )


def _check_compiler() -> None:
    names = filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++", "cl"))
    if not any(map(shutil.which, names)):
        raise ValueError("compile=true needs a C++ compiler such as g++ on the PATH; install one, or leave it out")


def averaging(config: Config) -> list[pl.Callback]:
    """What keeps an average of the weights, where one is kept.

    Raises:
        ValueError: There would be two of them.
    """
    from lrtrain.training.averaging import ScheduleFree, moving_average
    from lrtrain.training.optimizers import averages_itself, optimizer_class

    name, settings = named(config["optimizer"])
    if not averages_itself(optimizer_class(name, settings.get("function"))):
        return [moving_average(config["ema"])] if config["ema"] else []
    if config["ema"]:
        raise ValueError(f"optimizer={name} averages the weights itself: leave out ema")
    return [ScheduleFree()]


def data(config: Config) -> pl.LightningDataModule:
    """The data module."""
    from lrtrain.training.augment import Augment
    from lrtrain.training.custom import data_module
    from lrtrain.training.data import Data

    if config["dataset"]["name"] == "custom":
        return data_module(**custom_data(config))
    name, parameters = named(config["dataset"])
    order = {key: config[key] for key in ("batch_size", "seed", "shuffle", "drop_last", "workers")}
    splits = dataset(name).load(**parameters)
    augment = Augment(splits.inputs.shape, **config["augment"]) if any(config["augment"].values()) else None
    return Data(splits, augment=augment, **order)


def trainer(config: Config, folder: RunFolder, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning's Trainer; every key under `trainer` is an argument of its own."""
    import lightning.pytorch as pl
    import torch
    from lightning.pytorch import profilers

    from lrtrain.training.epoch_loop import EpochLoop
    from lrtrain.training.loggers import EventFile

    settings = dict(config["trainer"])
    if settings["accelerator"] == "gpu" and not torch.accelerator.is_available():
        raise ValueError("trainer.accelerator=gpu: torch finds no GPU here; write trainer=auto")
    if settings["profiler"]:
        kind = {"simple": "SimpleProfiler", "advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}
        settings["profiler"] = getattr(profilers, kind[settings["profiler"]])(folder.path, folder.profile)
    ours = {
        "max_epochs": config["epochs"],
        "logger": EventFile(folder) if config["logger"]["name"] == "tensorboard" else False,
        "callbacks": callbacks,
        "default_root_dir": folder.path,
        "enable_checkpointing": True,
        "enable_model_summary": False,
        "num_sanity_val_steps": 1 if config["model"]["name"] == "lightning" else 0,  # to see which metrics it logs
    }
    for key in settings.keys() & ours.keys():
        raise ValueError(f"trainer.{key} is set by lrtrain itself: leave it out")
    made = pl.Trainer(**settings, **ours)
    if made.precision != settings["precision"]:
        raise ValueError(f"trainer.precision={settings['precision']} needs a GPU: write {made.precision}")
    _check_fused(config, made)
    made.fit_loop.epoch_loop = EpochLoop(made)
    return made


def _check_fused(config: Config, trainer: pl.Trainer) -> None:
    """Refuse to train by kernels that are wrong."""
    precision = config["trainer"]["precision"]
    if trainer.strategy.root_device.type != "cpu" or config["task"] != "train":
        return
    if config["optimizer"].get("fused") and precision in ("bf16-true", "16-true"):
        raise ValueError(
            f"optimizer.fused=true: torch's kernels for the CPU are wrong for weights of 16 bits "
            f"(trainer.precision={precision}); leave it out"
        )
