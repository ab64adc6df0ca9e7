"""Pictures of what an evaluation has found."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lrtrain.objectives.reports import Bars, Confusion, Picture, Scatter, shortened
from lrtrain.report.confusion import confusion_picture
from lrtrain.report.curves import png

MOST_POINTS = 5000
"""Of a panel, so that a picture of many samples is drawn in a moment."""
MOST_PANELS = 12
MOST_BARS = 60
COLUMNS = 3
MOST_CHARACTERS = 24
"""Of a name."""
BLUE, GREY, RED = "#2166AC", "#999999", "#B2182B"


def draw(picture: Picture, title: str) -> bytes:
    """A picture as a PNG file's content.

    Args:
        picture: What it shows.
        title: Above it.
    """
    if isinstance(picture, Confusion):
        return confusion_picture(picture.counts, picture.labels, title)
    return png(_scatter(picture, title) if isinstance(picture, Scatter) else _bars(picture, title))


def _scatter(picture: Scatter, title: str) -> Figure:
    """A panel for each column, and a line where perfect predictions lie."""
    shown = range(min(len(picture.names), MOST_PANELS))
    across = min(len(shown), COLUMNS)
    down = -(-len(shown) // across)
    figure = Figure(figsize=(1 + 3.6 * across, 1 + 3.4 * down), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize="medium")
    every = np.linspace(0, len(picture.x) - 1, min(MOST_POINTS, len(picture.x))).round().astype(int)
    for place in shown:
        x, y, axes = picture.x[every, place], picture.y[every, place], figure.add_subplot(down, across, place + 1)
        axes.scatter(x, y, s=12, alpha=0.5, color=BLUE, linewidths=0)
        if picture.line == "diagonal":
            axes.axline((float(x.mean()), float(x.mean())), slope=1, color=GREY, linewidth=1)
        else:
            axes.axhline(0, color=GREY, linewidth=1)
        name = shortened(picture.names[place], MOST_CHARACTERS)
        axes.set_title(name, fontsize="medium", parse_math=False)
        axes.set_xlabel(picture.words[0])
        axes.set_ylabel(picture.words[1])
        axes.grid(color="#EEEEEE")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(picture: Bars, title: str) -> Figure:
    """A bar for each label, the best above, and a tick where chance lies."""
    order = np.argsort(picture.values, kind="stable")[:MOST_BARS]
    names = [shortened(picture.labels[place], MOST_CHARACTERS) for place in order]
    figure = Figure(figsize=(7, 1.4 + 0.26 * len(order)), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize="medium")
    axes = figure.add_subplot()
    places = np.arange(len(order))
    axes.barh(places, picture.values[order], color="#92C5DE", height=0.7, label=picture.words[0])
    axes.scatter(picture.chance[order], places, marker="|", s=90, color=RED, label=picture.words[1], zorder=3)
    axes.set_yticks(places, names, parse_math=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
