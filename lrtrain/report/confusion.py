"""What a classifier takes for what: a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lrtrain.objectives.reports import shortened
from lrtrain.report.curves import png

Counts = NDArray[np.int64]

SMALLEST = 5.0
"""Points of the smallest type that is legible."""
CHARACTER = 0.62
"""Of the size of the type, how wide a character is."""
MOST_LABELS = 70
MOST_CHARACTERS = 24
"""Of a class's name in the picture."""
TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1)


def confusion_picture(counts: Counts, labels: Sequence[str], title: str) -> bytes:
    """Draw a confusion matrix: a row for each true class, coloured by its shares; counts where they are legible.

    Args:
        counts: Of shape (classes, classes), the true class first.
        labels: Of the classes.
        title: Above the picture.
    """
    classes = len(counts)
    labels = [shortened(label, MOST_CHARACTERS) for label in labels]
    side = float(np.clip(3.2 + 0.22 * classes, 4.6, 12))  # of the matrix, in inches
    cell = 72 * 0.85 * side / classes
    ticks = _ticks(labels, cell)
    figure = Figure(
        figsize=(side + 1.7 + ticks.length / 72, side + 0.6 + ticks.height / 72), dpi=110, layout="constrained"
    )
    axes = figure.add_subplot()
    axes.set_title(title, fontsize="medium", pad=8)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A few per cent of errors are what one looks for: the square root makes them visible beside the diagonal.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=28, pad=0.02, ticks=list(TICKS))
    bar.ax.set_yticklabels([f"{100 * tick:g} %" for tick in TICKS])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    _label(axes, labels, ticks)
    if cell > SMALLEST:
        _grid(axes, classes)
    _write_counts(axes, counts, shares, cell)
    return png(figure)


class _Ticks(NamedTuple):
    """How the classes are named at both axes.

    Attributes:
        every: Which of them are named.
        size: Of the type, in points.
        angle: Of the names below the picture, in degrees.
        length: Of the longest name, in points.
        height: What the names below the picture take, in points.
    """

    every: int
    size: float
    angle: int
    length: float
    height: float


def _ticks(labels: Sequence[str], cell: float) -> _Ticks:
    """Names that stand apart from each other; those that are wider than a cell are turned."""
    classes = len(labels)
    every = 1 if classes <= MOST_LABELS else 10 if classes <= 500 else 100
    size = float(np.clip(0.8 * cell * every, SMALLEST, 10))
    length = CHARACTER * size * max(len(label) for label in labels[::every])
    turned = 45 if 2 * size < cell * every and length > 4 * size else 90
    angle = 0 if length <= 0.75 * cell * every else turned
    return _Ticks(every, size, angle, length, length * math.sin(math.radians(angle)))


def _label(axes: Axes, labels: Sequence[str], ticks: _Ticks) -> None:
    shown = range(0, len(labels), ticks.every)
    names = [labels[index] for index in shown]
    axes.set_xticks(shown, names, fontsize=ticks.size, rotation=ticks.angle, parse_math=False)
    if ticks.angle == 45:
        for name in axes.get_xticklabels():
            name.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(shown, names, fontsize=ticks.size, parse_math=False)
    axes.tick_params(length=0 if ticks.every == 1 else 3, pad=3)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _grid(axes: Axes, classes: int) -> None:
    """Fine lines between the cells."""
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#EEEEEE", linewidth=1.0 if classes <= 30 else 0.4)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color("#BBBBBB")


def _write_counts(axes: Axes, counts: Counts, shares: NDArray[np.float64], cell: float) -> None:
    """Write what is not 0 into the cells, if the largest number fits into its own."""
    digits = len(f"{counts.max():,}")
    size = min(11.0, 0.45 * cell, 0.85 * cell / (0.62 * digits))
    if size < SMALLEST:
        return
    for true, predicted in np.argwhere(counts):
        axes.text(
            predicted,
            true,
            f"{counts[true, predicted]:,}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if shares[true, predicted] > 0.4 else "#222222",
        )
