"""Tables in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lrtrain.evidence.diagnosis import Finding
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary

WIDTH = 80
"""Columns of a terminal."""


def print_result(summary: Summary, folder: Path) -> None:
    """Print what came of a run, and how to look at its curves."""
    console = _console()
    table = Table(box=SIMPLE_HEAD)
    metrics = _shown(summary)
    for column in ("weights", "epoch", *metrics):
        table.add_column(column, justify="left" if column == "weights" else "right")
    table.add_row("best", str(summary.best["epoch"] + 1), *_formatted(summary.best, metrics))
    table.add_row("final", f"{summary.epochs:g}", *_formatted(summary.final, metrics))
    console.print(table)
    rates = f"learning rate {summary.lr['first']:.4g} -> {summary.lr['last']:.4g}"
    line = f"{summary.strategy}: {rates}, {summary.steps:,} updates in {summary.wall_s:.1f} s"
    console.print(line, soft_wrap=True)
    print_findings(summary)
    files = RunFolder(folder)
    lines = [f"{folder}", *([f"tensorboard --logdir {shlex.quote(str(folder))}"] if files.events else [])]
    lines += [f"wandb sync {part}" for part in files.unsynced]
    console.print("\n".join(lines), soft_wrap=True)


def print_findings(summary: Summary) -> None:
    """Print what the curves of a run tell, and what to try; what was odd about its plan was said when it began."""
    for each in summary.findings:
        if each["name"] != "warning":
            _console().print(Finding(**each).sentence(), soft_wrap=True)


def measured(summaries: Iterable[Summary]) -> list[str]:
    """The names of what validations and tests of some runs have measured, and of what was monitored."""
    found: dict[str, None] = {}
    for summary in summaries:
        of_splits = (name for name in (*summary.best, *summary.final) if name.startswith(("val_", "test_")))
        found |= dict.fromkeys((*of_splits, *([summary.monitor] if summary.monitor else ())))
    return list(found)


def _shown(summary: Summary) -> list[str]:
    """What fits into the width of a terminal: the monitored metric, loss and first metric of each split, others."""
    found, first = measured([summary]), []
    for split in ("val_", "test_"):
        first += [name for name in found if name.startswith(split)][:2]
    shown, room = {str(summary.monitor)}, WIDTH - len("   weights   epoch   ")
    for name in dict.fromkeys((str(summary.monitor), *first, *found)):
        room -= max(len(name), 7) + 3
        if name in first or room >= 0:
            shown.add(name)
    return [name for name in found if name in shown]


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table; only the last column, of text, may be folded."""
    table = Table(box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        last = index == len(columns) - 1
        table.add_column(column, justify="left" if last else "right", no_wrap=not last, overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def print_parts(columns: Sequence[str], rows: Sequence[Sequence[str]], mean: Sequence[str]) -> None:
    """Print a row of numbers for each class, label or target, and below a line their mean, if there is one."""
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right")
    for name, *numbers in rows:
        table.add_row(name, *numbers)
    if mean:
        table.add_section()
        table.add_row(*mean)
    _console().print(table)


def _console() -> Console:
    """A terminal's own width; in a file or a pipe, wide enough to fold nothing. A name in brackets is no style."""
    width = None if Console().is_terminal else 160
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _formatted(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{values[name]:.4f}" if values.get(name) is not None else "-" for name in names]
