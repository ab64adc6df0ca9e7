"""`comparison.png`: the rate above the metric, and the differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes

from lrtrain.evidence.verdict import Comparison
from lrtrain.evidence.words import shown
from lrtrain.records.comparisons import Compared
from lrtrain.report.bands import RATE, band
from lrtrain.report.curves import Picture
from lrtrain.report.figures import GREY, VERDICTS, style

PICTURE = "comparison.png"
MOST = 4
"""Comparisons that stand side by side; the page has all."""
IN_LEGEND = 16
"""Names in a column of it."""
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_SHAPES = {"star": "*", "circle": "o", "diamond": "D", "x": "X", "circle-open": "o"}


def draw_comparisons(compared: Sequence[Compared]) -> Picture:
    """A column for each comparison."""
    columns = compared[:MOST]
    curves = [2, 4] if any(record.series for each in columns for own in each.best_runs for record in own) else []
    heights = [*curves, 0.9 + 0.28 * max(len(each.found.strategies) for each in columns)]
    legends = sum(_legend_columns(each) for each in columns)
    width = 7.5 * len(columns) + 2.2 * legends
    figure = Picture(figsize=(width, sum(heights) + 1), dpi=110, layout="constrained")
    grid = figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights)
    for column, each in enumerate(columns):
        grid[0, column].set_title(", ".join(each.found.of.values()), fontsize="medium")
        _draw_ranking(grid[-1, column], each.found)
        if curves:
            rate, metric = grid[:2, column]
            _draw_curves(rate, each, RATE)
            _draw_curves(metric, each, each.found.chooser)
            metric.set_xlabel("epochs")
            outside: dict[str, Any] = {
                "loc": "center left",
                "bbox_to_anchor": (1.01, 0.5),
                "ncols": _legend_columns(each),
            }
            metric.legend(frameon=False, fontsize="small", **outside)
            rate.sharex(metric)
    return figure


def _legend_columns(compared: Compared) -> int:
    return -(-len(compared.found.strategies) // IN_LEGEND)


def _draw_curves(axes: Axes, compared: Compared, name: str) -> None:
    """The median of each strategy's best setting, and the range over the seeds."""
    step: Literal["post"] | None = "post" if name == RATE else None
    least, most = math.inf, -math.inf
    for place, (each, runs) in enumerate(zip(compared.found.strategies, compared.best_runs, strict=True)):
        colour, dash = style(place)
        if own := band(runs, name, "epochs"):
            axes.fill_between(own.at, own.low, own.high, color=colour, alpha=0.15, linewidth=0, step=step)
            drawn = "steps-post" if step else "default"
            line: dict[str, Any] = {
                "linestyle": _DASHES[dash],
                "drawstyle": drawn,
                "marker": "o" if len(own.at) == 1 else "",
            }
            axes.plot(own.at, own.median, color=colour, label=each.label, **line)
            least, most = min(least, *own.low), max(most, *own.high)
    if name == RATE:
        axes.set_ylim(bottom=0)
    elif 0 < 10 * least < most:
        axes.set_yscale("log")  # else the first epochs leave no room to all others
    axes.set_ylabel("learning rate" if name == RATE else name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)


def _draw_ranking(axes: Axes, found: Comparison) -> None:
    for row, each in enumerate(found.strategies):
        colour, shape = VERDICTS[each.verdict]
        at = shown(found, each.difference)
        if each.low is not None and each.high is not None:
            axes.plot([shown(found, each.low), shown(found, each.high)], [row, row], color=GREY)
        axes.plot(at, row, color=colour, marker=_SHAPES[shape], markersize=8)
    axes.axvspan(shown(found, -found.margin), shown(found, found.margin), color=GREY, alpha=0.15, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(found.strategies)), [each.label for each in found.strategies], fontsize="small")
    axes.invert_yaxis()
    unit = ", per cent" if found.scale == "log" else ""
    axes.set_xlabel(f"{found.metric} from the leader's, with 95 % intervals{unit}; grey: the margin of a tie")
    axes.spines[["top", "right"]].set_visible(False)
