"""Callbacks that a run has besides its own: some of Lightning's by a short name, and a user's by their place."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from lrtrain.errors import RequestError
from lrtrain.parameters.places import PlaceText, call
from lrtrain.parameters.rules import OptionalFlag, OptionalTable, OrNull, Text
from lrtrain.parameters.signatures import SettingError, bind, check_choice

if TYPE_CHECKING:
    from lightning.pytorch import Callback

INSTEAD = {
    "LearningRateFinder": ("sets the learning rate", "lr=auto"),
    "StochasticWeightAveraging": ("sets the learning rate", "ema=0.999, with final_cooldown=20%"),
    "BaseFinetuning": ("sets the learning rate", "groups={PATTERN:{frozen:2ep}}"),
    "GradientAccumulationScheduler": ("changes what an update is", "trainer.accumulate_grad_batches=N"),
    "BatchSizeFinder": ("changes the length of the run", "batch_size=N"),
    "WeightAveraging": ("changes which weights are measured", "ema=0.999"),
    "Checkpoint": ("writes checkpoints beside ours", "checkpoint_every=1ep and monitor=METRIC"),
}
"""What a class of Lightning's would do behind the back of a run, and what to write instead."""


def device_stats(*, cpu_stats: OptionalFlag = None) -> Callback:
    """Lightning's DeviceStatsMonitor: memory and load of the device, in the loggers.

    Args:
        cpu_stats: those of the CPU too; null: where it is the device

    Raises:
        ValueError: A package is missing.
    """
    from lightning.pytorch.callbacks import DeviceStatsMonitor

    if cpu_stats is not False and not importlib.util.find_spec("psutil"):
        raise ValueError("callbacks=[device_stats] needs psutil: pip install psutil")
    return DeviceStatsMonitor(cpu_stats)


def timer(*, duration: Annotated[str | None, OrNull(Text("a time such as 00:12:00:00"))] = None) -> Callback:
    """Lightning's Timer: how long training, validation and test take.

    Args:
        duration: end the run after this many days:hours:minutes:seconds
    """
    from lightning.pytorch.callbacks import Timer

    return Timer(duration, verbose=False)


def custom(*, function: Annotated[str, PlaceText()], parameters: OptionalTable = None) -> Callback:
    """A lightning.pytorch.Callback of your own.

    Args:
        function: module:class of it, or a function that makes one.
        parameters: its arguments: {every:5}.

    Raises:
        ValueError: It cannot be imported, fails, or makes no callback.
    """
    from lightning.pytorch import Callback

    made = call("callbacks", function, parameters)
    if not isinstance(made, Callback):
        raise ValueError(f"callbacks names {function!r}, which makes a {type(made).__name__}, not a Lightning callback")
    return made


KINDS: Mapping[str, Callable[..., Callback]] = {made.__name__: made for made in (device_stats, timer)}
"""By their short names."""


@dataclass(frozen=True)
class CallbackTable:
    """A short name, a place, or a table that has one of them as `name` or `function`."""

    def parse(self, value: object) -> Mapping[str, Any]:
        """Return the table with all its keys if it is one, else raise ValueError."""
        if isinstance(value, str):
            value = {"function" if ":" in value else "name": value}
        if not isinstance(value, Mapping) or ("name" in value) == ("function" in value):
            raise ValueError(f"must be {self}, got {value!r}")
        own = {str(key): item for key, item in value.items() if key != "name"}
        name = value.get("name")
        if name is not None:
            check_choice("callback", name, tuple(KINDS))
        try:
            keys = bind(custom if name is None else KINDS[name], (), own, "")
        except SettingError as error:
            raise ValueError(f"has {name or own['function']}: {error}") from None
        return keys if name is None else {"name": name, **keys}

    def __str__(self) -> str:
        names = ", ".join(KINDS)
        return f"{names}, a place such as my_module:MyCallback, or {{function:my_module:MyCallback,parameters:{{...}}}}"


def make_callbacks(tables: Sequence[Mapping[str, Any]]) -> list[Callback]:
    """The callbacks of a run.

    Raises:
        ValueError: One cannot be made.
        RequestError: One would do what only the run itself does.
    """
    made = []
    for table in tables:
        own = {key: value for key, value in table.items() if key != "name"}
        made.append((KINDS[table["name"]] if "name" in table else custom)(**own))
    check_callbacks(made)
    return made


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Refuse callbacks that would do what only the run itself does.

    Raises:
        RequestError: Says what, and what to write instead.
    """
    for callback in callbacks:
        for kind in type(callback).__mro__:
            if kind.__module__.startswith(("lightning.", "pytorch_lightning.")) and kind.__name__ in INSTEAD:
                does, instead = INSTEAD[kind.__name__]
                raise RequestError(f"callback {type(callback).__name__} {does}: leave it out, and write {instead}")
