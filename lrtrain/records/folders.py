"""Runs of this program, in their folders."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from lrtrain.errors import RequestError
from lrtrain.parameters.bound import flat
from lrtrain.parameters.signatures import Affects
from lrtrain.records.record import UNREAD, Record, Series, as_series
from lrtrain.run_folder.files import MOST_ROWS, read_text
from lrtrain.run_folder.find import find_runs, state_of
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary, read_summary
from lrtrain.settings import KINDS, Settings


def read_folders(below: Path) -> Iterator[Record]:
    """All trainings that have ended, also those that failed before they had begun, or whose summary is lost."""
    for folder in find_runs(below):
        try:
            summary = read_summary(folder.summary)
        except FileNotFoundError:
            if state_of(folder) == "interrupted":  # else it goes on, or has not begun
                yield _unread(folder, below, "there is no summary.json")
        except RequestError as error:
            yield _unread(folder, below, str(error))
        else:
            if summary.task == "train":
                yield _record(folder, summary, below)


def _unread(folder: RunFolder, below: Path, why: str) -> Record:
    return Record(name=str(folder.path.relative_to(below)), place=folder.path, status=UNREAD, error=why)


def _record(folder: RunFolder, summary: Summary, below: Path) -> Record:
    return Record(
        name=str(folder.path.relative_to(below)),
        place=folder.path,
        config={**_usual(), **flat(summary.config), "scheduler": summary.strategy} if summary.config else {},
        metrics=summary.best if summary.is_good else {},
        monitor=summary.monitor,
        status=summary.status,
        error=summary.error,
        seconds=summary.wall_s,
        steps=summary.steps,
        epochs=summary.epochs,
        ended=str(summary.ended),
        versions=summary.versions,
        series=read_series(folder),
    )


@cache
def _usual() -> Mapping[str, Any]:
    """What all runs have that said nothing else, those too that were there before one could."""
    settings = Settings()
    known = settings.effects()
    return {
        key: value
        for key, value in flat(settings.plain()).items()
        if key.partition(".")[0] not in KINDS and known.get(key) is Affects.RUN
    }


def read_series(folder: RunFolder) -> Mapping[str, Series]:
    """The log points of a run, by column; the rate of the first of several groups is the rate."""
    try:
        text = read_text(folder.metrics, MOST_ROWS)
    except OSError:
        return {}
    with suppress(csv.Error):
        rows = list(csv.reader(io.StringIO(text, newline="")))
        return dict(_columns(rows[0], rows[1:])) if rows else {}
    return {}


def _columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, Series]]:
    rows = [row for row in rows if len(row) == len(names)]  # the last one may not be whole
    rates = [name for name in names if name.startswith("lr/")]
    for place, name in enumerate(names):
        own = [row for row in rows if row[place]]
        if own and name not in ("step", "epoch", *rates[1:]) and not name.startswith("test_"):
            with suppress(ValueError):  # a damaged value
                yield (
                    ("lr" if name in rates else name),
                    as_series([int(row[0]) + 1 for row in own], [row[place] for row in own]),
                )
