"""What results look like in a notebook: HTML for `_repr_html_`, which all of them show."""

from __future__ import annotations

import base64
import html
import math
import sys
from collections.abc import Mapping, Sequence


class NotebookView:
    """A run in the output of a cell while it goes on: one line, which IPython replaces without widgets.

    Args:
        total: Updates in the run.
        epochs: The same in epochs.
    """

    def __init__(self, total: int, epochs: float) -> None:
        self._total, self._epochs = total, epochs

    def start(self) -> None:
        """Draw it."""
        from IPython.display import display

        self._place = display({"text/html": self._drawn(0, {})}, raw=True, display_id=True)

    def show(self, done: int, values: Mapping[str, str], rates: Sequence[float]) -> None:
        """Draw what is new.

        Args:
            done: Updates.
            values: The newest, by name.
            rates: Not drawn.
        """
        self._place.update({"text/html": self._drawn(done, values)}, raw=True)

    def stop(self) -> None:
        """Leave it as it is."""

    def _drawn(self, done: int, values: Mapping[str, str]) -> str:
        last = math.ceil(self._epochs)
        epoch = min(last, int(self._epochs * done / self._total) + 1)
        bar = f"<progress value={done} max={self._total} style='vertical-align: middle'></progress>"
        newest = html.escape("  ".join(f"{name} {value}" for name, value in values.items()))
        return f"<code>epoch {epoch}/{last} {bar} {done}/{self._total}  {newest}</code>"


def is_here() -> bool:
    """Whether the output of this process is that of a notebook's cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def text(*lines: str) -> str:
    """A line or a paragraph each; those that are empty are left out."""
    return "".join(f"<p style='max-width: 60em'>{html.escape(line)}</p>" for line in lines if line)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of numbers, whose last column is text."""
    return f"<table>{_row('th', columns)}{''.join(_row('td', row) for row in rows)}</table>"


def picture(png: bytes) -> str:
    """A picture that the page itself holds."""
    return f"<img style='max-width: 100%' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def _row(tag: str, cells: Sequence[str]) -> str:
    align = ["right"] * (len(cells) - 1) + ["left"]
    found = (
        f"<{tag} style='text-align: {side}'>{html.escape(cell)}</{tag}>"
        for side, cell in zip(align, cells, strict=True)
    )
    return f"<tr>{''.join(found)}</tr>"
