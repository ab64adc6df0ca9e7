"""The model of a run, and the module that trains it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from lrtrain.datasets import Inputs
from lrtrain.errors import of_values
from lrtrain.objectives import Objective, Targets
from lrtrain.optimizers import optimizer, split_groups
from lrtrain.plan.plan import Plan
from lrtrain.scheduler import Scheduler
from lrtrain.settings import Settings
from lrtrain.training.configure_optimizers import Scheduled
from lrtrain.training.custom import lightning_module
from lrtrain.training.groups import find_frozen, parameter_groups
from lrtrain.training.module import Supervised
from lrtrain.training.population.kinds import why_alone
from lrtrain.training.threads import use_threads

TRUE_TYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
"""The precisions whose weights are not of torch's own type, with theirs."""

FUSES = ("32-true", "64-true", "bf16-mixed")
"""The precisions in which updating all weights by one kernel is only faster.

With 16-mixed it scales gradients back too late to clip or to measure them, and Lightning clips none with bf16-mixed
either; on weights of 16 bits, torch 2.13's kernels for the CPU are wrong.
"""


def build_module(settings: Settings, plan: Plan, inputs: Inputs | None, targets: Targets | None) -> Scheduled:
    """The LightningModule with its model, optimizer and scheduler.

    Raises:
        ValueError: It cannot take such inputs, the objective such targets, or the optimizer such groups.
    """
    model, chosen = build_network(settings, inputs, targets and targets.outputs), settings.optimizer
    clips = settings.trainer.gradient_clip_val is not None and settings.trainer.precision.endswith("-mixed")
    if (clips or settings.trainer.precision not in FUSES) and chosen.parameters.get("fused", False) is None:
        chosen = optimizer(chosen.name, **{**chosen.parameters, "fused": False})
    groups = parameter_groups(
        model,
        plan.lr,
        {pattern: group.lr_mult for pattern, group in plan.groups.items()},
        no_decay=settings.no_decay,
        layer_decay=settings.layer_decay,
    )
    groups = split_groups(chosen, model, groups, plan.lr)
    curves = {
        group["name"]: plan.groups[group["pattern"]].schedule if group["pattern"] else plan.schedule for group in groups
    }
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("no parameter of the model requires gradients: there is nothing to train")
    kind: Callable[..., Scheduled] = lightning_module
    if settings.is_built_in:
        assert targets is not None, "a built-in model has to know"
        if inputs and inputs.tokens and not targets.each_token and settings.model.name != "custom":
            raise ValueError(
                f"model={settings.model.name} tells something of each token, and there is one target for all: give a "
                "target for each, or use model=custom"
            )
        kind = partial(Supervised, objective=build_objective(settings, targets), mixup=settings.augment.mixup)

    def make_optimizer() -> Optimizer:
        with of_values():
            return chosen.make(groups, plan.lr)  # type: ignore[no-any-return]

    module = kind(
        model,
        make_optimizer=make_optimizer,
        make_scheduler=lambda optimizer: Scheduler(
            optimizer,
            curves if plan.groups else plan.schedule,
            total_steps=plan.horizon.total_steps,
            steps_per_epoch=plan.horizon.steps_per_epoch,
            feedback=plan.feedback,
            min_factor=settings.least_share,
            hyperparameters=plan.hyperparameters,
        ),
        monitor=settings.monitor,
    )
    module.frozen = find_frozen(model, {pattern: group.frozen for pattern, group in plan.groups.items()})
    return module


def build_objective(settings: Settings, targets: Targets) -> Objective:
    """What the outputs are to be.

    Raises:
        ValueError: The objective has no such loss or metric, or does not measure what is monitored.
    """
    with of_values():
        objective: Objective = settings.objective.make(targets)
    known = [f"val_{name}" for name in objective.measures]
    if settings.monitor not in known:
        raise ValueError(
            f"monitor={settings.monitor}: objective={targets.objective} measures {', '.join(known)}; add others by "
            "objective.metrics=[NAME]"
        )
    return objective


def build_network(settings: Settings, inputs: Inputs | None, outputs: int | None) -> nn.Module:
    """The model, with weights drawn at random, and as many CPU threads as suit it.

    Raises:
        ValueError: It cannot take such inputs, or there is no compiler.
    """
    with of_values():
        made: nn.Module = settings.model.make(inputs, outputs)
    use_threads(settings.threads, made, inputs if settings.is_built_in else None, settings.batch_size)
    if settings.trainer.precision in TRUE_TYPES:
        # Lightning does so only when training begins: by then, a checkpoint's weights would have lost digits.
        made.to(TRUE_TYPES[settings.trainer.precision])
    if settings.channels_last:
        if inputs is None or len(inputs.shape) != 3:
            raise ValueError(f"channels_last=true is for pictures; {settings.dataset.name} has none")
        made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.compile:
        _check_compiler()
    if settings.compile and why_alone(settings):
        # So the names in a checkpoint stay as they are; made.compile() does nothing for an nn.Sequential.
        made.forward = torch.compile(made.forward)
    return made


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch compiles for a CPU by."""
    return any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++", "cl"))))


def _check_compiler() -> None:
    if not has_compiler():
        raise ValueError("compile=true needs a C++ compiler such as g++ on the PATH; install one, or leave it out")
