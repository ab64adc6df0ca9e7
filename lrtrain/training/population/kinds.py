"""Which runs can be trained as one, as far as their settings tell."""

from __future__ import annotations

import json
from dataclasses import fields

from lrtrain.parameters.bound import plain
from lrtrain.settings import AugmentSettings, Settings

OPTIMIZERS = {"sgd": ("nesterov",), "adam": ("amsgrad", "decoupled_weight_decay"), "adamw": ("amsgrad",)}
"""What is stacked, with the settings that have to agree."""

VARY = (
    *("lr", "seed", "ema", "schedule", "feedback", "curve", "monitor", "monitor_mode", "early_stop", "log_every"),
    *(
        "name",
        "tags",
        "checkpoint_every",
        "hyperparameters",
        "scheduler",
        "logger",
        "guard",
        "threads",
        "workers",
        "shuffle",
    ),
)
"""What may differ from run to run."""


def why_alone(settings: Settings) -> str | None:
    """Why a run cannot be trained with others; None where it can, as far as its settings tell."""
    trainer, optimizer = settings.trainer, settings.optimizer
    reasons = {
        f"model={settings.model.name} trains itself": not settings.is_built_in,
        "dataset=custom gives its batches itself": settings.dataset.name == "custom",
        "augment changes each batch": settings.augment != AugmentSettings(),
        f"optimizer={optimizer.name} is not one of {', '.join(OPTIMIZERS)}": optimizer.name not in OPTIMIZERS,
        "channels_last changes the layout of the weights": settings.channels_last,
        "on_nonfinite=rollback may go back": settings.guard.on_nonfinite == "rollback",
        "a group is frozen at first": any("frozen" in str(spec) for spec in (settings.groups or {}).values()),
        "momentum is on a schedule": "momentum" in (settings.hyperparameters or {}),
        f"trainer.precision={trainer.precision}": trainer.precision not in ("32-true", "64-true"),
        "trainer.devices is more than one": not trainer.is_alone or trainer.strategy != "auto",
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches > 1,
        "trainer.overfit_batches": bool(trainer.overfit_batches),
        "callbacks of their own": bool(settings.callbacks),
        "trainer.profiler": trainer.profiler is not None,
        "further arguments of the Trainer": bool(trainer.others),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def kind_of(settings: Settings) -> str:
    """What runs have to agree in to be trained together, as a text."""
    optimizer, trainer = settings.optimizer, settings.trainer
    own = optimizer.parameters
    agreed = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in VARY}
    agreed["optimizer"] = {
        "name": optimizer.name,
        **{name: own[name] for name in OPTIMIZERS.get(optimizer.name, ())},
        "moves": bool(own.get("momentum")),
    }
    clips = trainer.gradient_clip_val is not None
    agreed["trainer"] = {**plain(trainer), "gradient_clip_val": clips, "enable_progress_bar": False}
    agreed["averages"] = settings.ema > 0
    for name in ("model", "dataset", "objective"):
        agreed[name] = [agreed[name].name, plain(agreed[name].parameters)]
    return json.dumps(agreed, sort_keys=True, default=str)
