"""Runs that other programs have logged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lrtrain.records import csv_log, tensorboard, trainer_state
from lrtrain.records.record import RUN, Log, Record, Series, as_value

KINDS = (trainer_state, csv_log, tensorboard)
"""In which logs are kept; of runs that are kept in several, the first counts."""
SAYS_NOTHING = r"metrics|training|log|trainer_state|checkpoint-\d+"
"""Names of files and folders that say nothing of a run, unlike those they are in."""


@dataclass(frozen=True)
class Conventions:
    """How logs are read.

    Attributes:
        tags: Their names for what we call val_loss, lr and so on, by our names.
        pattern: Finds settings in a run's path: a regular expression, each named group a key; None takes what is
            written as key=value.
        metric: That chooses a run's best moment.
        mode: A smaller (min) or a larger (max) one is better.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None
    metric: str = "val_loss"
    mode: str = "min"


def read_logs(below: Path, how: Conventions) -> Iterator[Record]:
    """The runs whose logs are below a folder, or of a file that is one; raises RequestError for a damaged log."""
    for kind in KINDS:
        if places := list(kind.find(below)):
            names = {**kind.NAMES, **{theirs: ours for ours, theirs in how.tags.items()}}
            yield from (_record(place, below, kind.read(place), names, how) for place in places)
            return


def _record(place: Path, below: Path, log: Log, names: Mapping[str, str], how: Conventions) -> Record:
    named = place.with_suffix("") if place.is_file() else place
    while named != below and re.fullmatch(SAYS_NOTHING, named.name):
        named = named.parent
    name = str(named.relative_to(below)) if named != below and named.is_relative_to(below) else named.name
    series = {names.get(tag, tag): found for tag, found in log.series.items()}
    metrics = _at_best(series, how)
    return Record(
        name=name,
        place=place if place.is_dir() else place.parent,
        config={RUN: name, **log.config, **_settings(name, how.pattern)},
        metrics=metrics,
        monitor=how.metric if how.metric in metrics else None,
        seconds=log.seconds,
        steps=int(max((found.steps[-1] for found in series.values()), default=0)),
        epochs=log.epochs,
        series=series,
    )


def _at_best(series: Mapping[str, Series], how: Conventions) -> dict[str, float]:
    """The metrics at the best moment by the one that chooses; nothing where that never was a number."""
    chooser = series.get(how.metric)
    if chooser is None:
        return {name: float(found.values[-1]) for name, found in series.items()}
    known = np.isfinite(chooser.values)
    if not known[-1]:  # it came to nothing, whatever it was before
        return {}
    pick = np.nanargmin if how.mode == "min" else np.nanargmax
    best = chooser.steps[pick(np.where(known, chooser.values, np.nan))]
    until = {name: int(np.searchsorted(found.steps, best, side="right")) for name, found in series.items()}
    return {name: float(found.values[until[name] - 1 if until[name] else -1]) for name, found in series.items()}


def _settings(name: str, pattern: re.Pattern[str] | None) -> dict[str, Any]:
    """What the path of a run says of it; numbers as numbers."""
    if pattern is None:
        found = dict(re.findall(r"([A-Za-z_][\w.]*)=([^,/\\ ]+)", name))
    else:
        match = pattern.search(name)
        found = match.groupdict() if match else {}
    return {key: as_value(text) for key, text in found.items() if text is not None}
