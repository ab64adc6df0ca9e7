"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lrtrain.run_folder.summary import Summary

METRICS = ("val_loss", "val_acc", "test_loss", "test_acc")


def print_result(summary: Summary, folder: Path) -> None:
    """Print what came of a run, and how to look at its curves."""
    console = _console()
    table = Table(box=SIMPLE_HEAD)
    metrics = list(dict.fromkeys((*METRICS, str(summary.monitor))))
    for column in ("weights", "epoch", *metrics):
        table.add_column(column, justify="left" if column == "weights" else "right")
    table.add_row("best", str(summary.best["epoch"] + 1), *_formatted(summary.best, metrics))
    table.add_row("final", f"{summary.epochs:g}", *_formatted(summary.final, metrics))
    console.print(table)
    rates = f"learning rate {summary.lr['first']:.4g} -> {summary.lr['last']:.4g}"
    line = f"{summary.strategy}: {rates}, {summary.steps:,} updates in {summary.wall_s:.1f} s"
    for text in (line, *(f"note: {finding}" for finding in summary.findings if "unfinished" in finding)):
        console.print(text, soft_wrap=True)
    console.print(f"{folder}\ntensorboard --logdir {folder}", soft_wrap=True)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table; only the last column, of text, may be folded."""
    table = Table(box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        last = index == len(columns) - 1
        table.add_column(column, justify="left" if last else "right", no_wrap=not last, overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def print_classes(columns: Sequence[str], rows: Sequence[Sequence[str]], mean: Sequence[str]) -> None:
    """Print a row of numbers for each class, and below a line their mean."""
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right")
    for name, *numbers in rows:
        table.add_row(name, *numbers)
    table.add_section()
    table.add_row(*mean)
    _console().print(table)


def _console() -> Console:
    """A terminal's own width; in a file or a pipe, wide enough to fold nothing. A name in brackets is no style."""
    width = None if Console().is_terminal else 160
    return Console(highlight=False, markup=False, emoji=False, width=width)


def _formatted(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{values[name]:.4f}" if values.get(name) is not None else "-" for name in names]
