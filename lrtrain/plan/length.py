"""How many updates an epoch has, as Lightning will count them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lrtrain.datasets import train_size
from lrtrain.errors import RequestError
from lrtrain.settings import Settings, TrainerSettings

if TYPE_CHECKING:
    from lrtrain.datasets.look import Look


def steps_per_epoch(settings: Settings, devices: int | None = None) -> int:
    """The optimizer updates in an epoch.

    Args:
        settings: Of the run.
        devices: How many train together; None takes `trainer.devices`, and 1 where that is left to Lightning.

    Raises:
        RequestError: The data cannot be read, or there would be no batch.
    """
    devices = max(devices or settings.trainer.device_count or 1, 1)
    try:
        return _count(settings, devices)
    except ValueError as error:
        raise RequestError(" ".join(str(error).split())) from error


def _count(settings: Settings, devices: int) -> int:
    if settings.dataset.name == "custom":
        batches = look_at_data(settings).batches
        return _updates(settings.trainer, None if batches is None else math.ceil(batches / devices))
    size = train_size(settings.dataset, settings.objective.name)
    share = math.ceil(size / devices) / settings.batch_size
    count = math.floor(share) if settings.drop_last else math.ceil(share)
    if not count:
        raise ValueError(f"batch_size={settings.batch_size} with drop_last leaves no batch of {size:,} samples")
    return _updates(settings.trainer, count)


def _updates(trainer: TrainerSettings, batches: int | None) -> int:
    """The updates in an epoch of so many batches; None where the data does not say how many there are."""
    limit, asked = trainer.batch_limit("limit_train_batches")
    if batches is not None:
        used = limited(batches, limit, f"{asked} of {{}} training batches")
    elif isinstance(limit, int):
        used = limit
    else:
        raise ValueError("dataset.function: its training loader has no length; give trainer.limit_train_batches=N")
    every = trainer.val_check_interval
    if isinstance(every, int) and every > used:
        raise ValueError(
            f"trainer.val_check_interval={every} is more than the {used:,} batches of an epoch: write fewer, "
            "or trainer.check_val_every_n_epoch=N"
        )
    return math.ceil(used / trainer.accumulate_grad_batches)


def limited(batches: int, limit: float, said: str) -> int:
    """Of so many batches those that Lightning uses: a number of them, or a share.

    Args:
        batches: There are.
        limit: The number (int) or share (float).
        said: What asked for it, with ``{}`` where the number of the batches belongs.

    Raises:
        ValueError: There would be none.
    """
    used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if not used:
        raise ValueError(f"{said.format(f'{batches:,}')} is less than one: give their number")
    return used


def look_at_data(settings: Settings) -> Look:
    """What is seen of a user's own training data, which is made for that."""
    from lrtrain.datasets.look import look_at

    return look_at(settings.dataset, given_to_data(settings))


def given_to_data(settings: Settings) -> dict[str, Any]:
    """The settings of the run that a user's data module may take."""
    return {key: getattr(settings, key) for key in ("batch_size", "seed", "shuffle", "workers", "drop_last")}
