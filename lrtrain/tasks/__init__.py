"""What `task=` chooses: one file per task, named as in the configuration, each with a flat recipe `run`.

A `run` takes a `Job`, and keys of its own, which its signature declares; it returns the `Summary` that it has written.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import bind
from lrtrain.plan.start import Start
from lrtrain.run_folder.summary import Summary
from lrtrain.settings import Settings

__all__ = ["Job", "function", "task"]


class Job(NamedTuple):
    """One run of a task.

    Attributes:
        settings: What decides it.
        folder: Where it keeps what it leaves behind.
        start: Where a training starts from.
        asked: The words of the command that asked for it, by name of the file that keeps them.
        locks: The folder; False is the user's word that nobody else writes there.
        names_data: The words say which data; other samples than those of a run that they come back to will do.
        finds_rate: The base rate is to be found before the run begins; the settings have some number in its place.
        remarks: What there is to say of how its words were read.
    """

    settings: Settings
    folder: Path
    start: Start = Start()
    asked: Mapping[str, str] = {}
    locks: bool = True
    names_data: bool = False
    finds_rate: bool = False
    remarks: Sequence[str] = ()


def function(name: str) -> Callable[..., Summary]:
    """The recipe of a task; its signature declares the task's own keys."""
    return importlib.import_module(f"lrtrain.tasks.{name}").run  # type: ignore[no-any-return]


def task(name: str, **keys: object) -> Bound:
    """A task with its own keys, checked; raises SettingError."""
    recipe = function(name)
    return Bound(name, recipe, bind(recipe, (), keys, ""))
