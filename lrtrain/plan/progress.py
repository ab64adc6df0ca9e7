"""How far a run has come, as its folder tells while somebody else runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from lrtrain.errors import RequestError
from lrtrain.plan.history import read_history
from lrtrain.run_folder.folder import RunFolder

END = 4096
"""Bytes at the end of a table that are looked at."""


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
        step: Updates done, as of its last log point.
        total: That it is to do; 0 where that is not known yet.
        metrics: The last values of its losses, by name.
    """

    step: int = 0
    total: int = 0
    metrics: Mapping[str, float] = {}


def total_steps(folder: RunFolder) -> int:
    """The updates that a run is to do; 0 where that is not known yet."""
    with suppress(RequestError):
        return read_history(folder.history)[-1].total_steps
    return 0


def progress(folder: RunFolder, total: int) -> Progress:
    """How far a run of so many updates has come."""
    try:
        with folder.metrics.open("rb") as file:
            names = file.readline().decode().rstrip().split(",")
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - END))
            rows = [line.split(",") for line in file.read().decode(errors="replace").split("\n")[:-1]]
    except OSError:
        return Progress(total=total)
    step = 0
    found: dict[str, float] = {}
    for row in (dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)):
        with suppress(ValueError):
            step = int(row["step"]) + 1
            found |= {name: float(value) for name, value in row.items() if name.endswith("_loss") and value}
    return Progress(step, total, found)
