"""A run in the terminal while it goes on: its bar, its newest values, and where it is on the curve of its rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from lrtrain.report.text_plot import text_plot, wants_log

WIDEST = 100
"""Columns that are used at most."""
BAR = 40
CURVE = 5
"""Lines of the curve, without its axis; on each is a label."""
NARROWEST = 32
"""Columns of a curve that still says something."""
ROOM = 16
"""Lines of a terminal in which there is a curve."""
PER_SECOND = 4.0
LINES = 20
"""On a run without a terminal, at most."""
SILENT = 10.0
"""Seconds between two of them."""


class LiveView(Progress):
    """The bar of a run, and below it values beside a curve; in a small terminal only the values.

    Args:
        console: That it is drawn on.
        total: Updates in the run.
        epochs: The same in epochs.
    """

    def __init__(self, console: Console, total: int, epochs: float) -> None:
        self._epochs = epochs
        self._below: list[Text] = []
        used = len(f"epoch {epochs:.0f}/{epochs:.0f}  {total}/{total} 0:00:00 ")
        bar = BarColumn(max(4, min(BAR, console.width - used)))
        columns = TextColumn("epoch {task.fields[epoch]}"), bar, MofNCompleteColumn(), TimeRemainingColumn()
        super().__init__(*columns, console=console, refresh_per_second=PER_SECOND)
        self.add_task("", total=total, epoch="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn."""
        yield self.make_tasks_table(self.tasks)
        yield from self._below

    def show(self, done: int, values: Mapping[str, str], rates: Sequence[float]) -> None:
        """Draw what is new.

        Args:
            done: Updates.
            values: The newest, by name.
            rates: Over the whole run, at equal distances: as they were, and will be.
        """
        width, height = min(self.console.width, WIDEST), self.console.height
        total = self.tasks[0].total or 1
        names, numbers = (max(map(len, texts), default=0) for texts in (values, values.values()))
        block = [f"{name:<{names}}  {value:>{numbers}}" for name, value in values.items()]
        room = width - names - numbers - 4
        curve: list[Text] = []
        if room >= NARROWEST and height >= ROOM:
            unicode = not self.console.options.ascii_only
            curve = _curve(rates, self._epochs * done / total, self._epochs, room, unicode)
            block = block[: len(curve)]
        self._below = [
            Text.assemble(f"{text:<{names + numbers + 2}}  ", line)
            for text, line in zip_longest(block[: height - 3], curve, fillvalue="")
        ]
        last = math.ceil(self._epochs)
        epoch = min(last, int(self._epochs * done / total) + 1)
        self.update(self.task_ids[0], completed=done, epoch=f"{epoch}/{last}")


class PlainLines:
    """A line on a run from time to time, where there is no terminal: a log is read later, too.

    Args:
        say: Prints a line.
        total: Updates in the run.
        epochs: The same in epochs.
    """

    def __init__(self, say: Callable[[str], Any], total: int, epochs: float) -> None:
        self._say, self._total, self._epochs = say, total, epochs
        self._begun: tuple[float, int] | None = None
        self._said, self._done = 0.0, 0

    def start(self) -> None:
        """Nothing is said yet."""

    def show(self, done: int, values: Mapping[str, str], rates: Sequence[float]) -> None:
        """Say what is new, if a twentieth of the run and ten seconds have passed.

        Args:
            done: Updates.
            values: The newest, by name.
            rates: Not shown.
        """
        now = time.monotonic()
        if self._begun is None:
            self._begun, self._said, self._done = (now, done), now, done
        if now - self._said < SILENT or done - self._done < self._total / LINES:
            return
        began, first = self._begun
        left = timedelta(seconds=round((now - began) / (done - first) * (self._total - done)))
        newest = ", ".join(f"{name} {value}" for name, value in values.items())
        epoch = f"epoch {self._epochs * done / self._total:.1f} of {self._epochs:.4g}"
        self._say(f"update {done:,} of {self._total:,}, {epoch}: {newest}; {left} left")
        self._said, self._done = now, done

    def stop(self) -> None:
        """Nothing is left to do."""


def _curve(rates: Sequence[float], epoch: float, epochs: float, width: int, unicode: bool) -> list[Text]:
    """The curve with a mark at an epoch; what is still to come is dim."""
    here = f"you are here: epoch {epoch:.1f}"
    log = wants_log([[rate for rate in rates if rate == rate]])
    lines = text_plot({"lr": rates}, epochs, width, CURVE, log, unicode, (epoch, ""))
    lines = lines[: CURVE + 2]
    at = max(lines[CURVE].rfind("┴"), lines[CURVE].rfind("+"))
    begin = min(at, width - len(here) - 2)
    drawn = [Text(line) for line in [*lines, f"{'':{begin}}^ {here}" if begin == at else f"{here:>{at - 1}} ^"]]
    for line in drawn[:CURVE]:
        line.stylize("dim", at + 1)
    return drawn
