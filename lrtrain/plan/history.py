"""The plans that a run has followed, one after the other, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from lrtrain.datasets.identity import Identity
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import plain
from lrtrain.parameters.signatures import defaults
from lrtrain.plan.start import POLICIES
from lrtrain.run_folder.files import read_text, write_text
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary
from lrtrain.schedules import Horizon
from lrtrain.settings import Settings, read_settings

FORMAT = 3
"""Of the file; 1 was a list of segments whose settings were called config, 2 had one logger, by its name."""


class Segment(NamedTuple):
    """A stretch of a run under one plan.

    Attributes:
        settings: The plan's.
        steps_per_epoch: Updates in an epoch.
        policy: How it follows the one before; None for the first.
        step: The update where it begins.
    """

    settings: Settings
    steps_per_epoch: int
    policy: str | None = None
    step: int = 0

    @property
    def horizon(self) -> Horizon:
        """How long the run would be, had the plan not been changed."""
        return Horizon.of(self.steps_per_epoch, self.settings.epochs)

    @property
    def total_steps(self) -> int:
        """Updates in that run."""
        return self.horizon.total_steps


def write_history(path: Path, segments: Iterable[Segment], data: Identity | None = None) -> None:
    """Replace the plans that a run has followed, and what its data was."""
    stored = [{**segment._asdict(), "settings": segment.settings.plain()} for segment in segments]
    # A number that is not finite is kept, as json reads it back: some optimizer has one among its settings.
    whole = {"format": FORMAT, "segments": stored, "data": plain(data) if data else {}}
    write_text(path, json.dumps(whole, indent=2, default=str) + "\n")


def read_stored(path: Path) -> list[dict[str, Any]]:
    """The plans as they are stored, with their settings as plain values.

    Raises:
        RequestError: The file cannot be read, or holds no plan.
    """
    found = _read(path)
    stored: Any = found.get("segments") if isinstance(found, dict) else _from_1(found)
    sound = isinstance(stored, list) and stored and all(map(_is_sound, stored))
    if not sound or any(a["step"] > b["step"] for a, b in pairwise(stored)):
        raise RequestError(f"{path} is not a plan; start over without resume")
    return [{**each, "settings": _with_loggers(each["settings"])} for each in stored]


def read_data(folder: RunFolder) -> Identity | None:
    """What the data of a run was, as far as it has recorded that; None where there is no run.

    Raises:
        RequestError: The record cannot be read.
    """
    if not folder.history.exists():
        return None
    found = _read(folder.history)
    recorded = found.get("data") if isinstance(found, dict) else None
    if not recorded:  # of a version that had it in the summary, or nowhere
        try:
            recorded = read_summary(folder.summary).data
        except (FileNotFoundError, RequestError):
            recorded = {}
    if not isinstance(recorded, Mapping):
        raise RequestError(f"{folder.history}: data must be a table")
    return Identity(**{name: recorded[name] for name in defaults(Identity) if name in recorded})


def _read(path: Path) -> Any:
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} cannot be read: {error}; start over without resume") from None
    if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
        raise RequestError(f"{path} was written by a newer lrtrain (format {found['format']}): update this one")
    return found


def read_history(path: Path) -> list[Segment]:
    """The plans that a run has followed, the first first.

    Raises:
        RequestError: The file cannot be read, or holds no plan.
    """
    return [
        Segment(read_settings(each["settings"], stored=True), each["steps_per_epoch"], each.get("policy"), each["step"])
        for each in read_stored(path)
    ]


def as_of(segments: Sequence[Segment], step: int) -> list[Segment]:
    """The plans as they are where the run goes on from an update: one that began later begins there."""
    return [segment._replace(step=min(segment.step, step)) for segment in segments]


def _from_1(found: Any) -> Any:
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        return None
    return [{**each, "settings": each.get("config")} for each in found]


def _with_loggers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose logger has a place of its own, as that of format 2 had not."""
    logger = settings.get("logger")
    name = logger.get("name") if isinstance(logger, Mapping) else None
    return {**settings, **({"logger": {} if name == "none" else {name: {}}} if name else {})}


def _is_sound(each: Any) -> bool:
    """Whether the parts of what was read are of the kinds that were written."""
    return (
        isinstance(each, Mapping)
        and isinstance(each.get("settings"), Mapping)
        and type(each.get("steps_per_epoch")) is int
        and 0 < each["steps_per_epoch"] < 10**9
        and type(each.get("step")) is int
        and each["step"] >= 0
        and each.get("policy") in (None, *POLICIES)
    )
