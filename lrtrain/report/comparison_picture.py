"""`comparison.png`: the rate above the metric, and the differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from lrtrain.evidence.verdict import Comparison
from lrtrain.evidence.words import shown
from lrtrain.records.comparisons import Compared
from lrtrain.report.bands import RATE, band
from lrtrain.report.curves import Picture
from lrtrain.report.figures import COLOURS, GREY, VERDICTS, style

PICTURE = "comparison.png"
MOST = 4
"""Comparisons that are drawn; the page has all."""
ACROSS = 2
"""Of them beside each other."""
NAMED = len(COLOURS) - 1
"""Strategies whose curves have colours, the best; those of the others are grey lines, as the last colour is."""
OTHERS = "#CCCCCC"
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_SHAPES = {"star": "*", "circle": "o", "diamond": "D", "x": "X", "circle-open": "o"}


def draw_comparisons(compared: Sequence[Compared]) -> Picture:
    """A part for each comparison."""
    drawn = compared[:MOST]
    rows = [drawn[first : first + ACROSS] for first in range(0, len(drawn), ACROSS)]
    heights = [max(sum(_heights(each)) for each in row) + 1 for row in rows]
    across = min(ACROSS, len(drawn))
    figure = Picture(figsize=(9.7 * across, sum(heights)), dpi=110, layout="constrained")
    parts = figure.subfigures(len(rows), across, squeeze=False, height_ratios=heights)
    for row, own in zip(rows, parts, strict=True):
        for each, part in zip(row, own, strict=False):
            _draw(part, each)
    return figure


def _heights(compared: Compared) -> list[float]:
    """Of the curves, where there are any, and of the ranking."""
    curves = [2.0, 4.0] if any(record.series for own in compared.best_runs for record in own) else []
    return [*curves, 0.9 + 0.28 * len(compared.found.strategies)]


def _draw(figure: SubFigure, compared: Compared) -> None:
    """The curves above the ranking."""
    heights = _heights(compared)
    *curves, ranking = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    figure.suptitle(", ".join(compared.found.of.values()), fontsize="medium")
    _draw_ranking(ranking, compared.found)
    if curves:
        rate, metric = curves
        _draw_curves(rate, compared, RATE)
        _draw_curves(metric, compared, compared.found.chooser)
        metric.set_xlabel("epochs")
        metric.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
        rate.sharex(metric)


def _draw_curves(axes: Axes, compared: Compared, name: str) -> None:
    """The median of each strategy's best setting, and of the best the range over the seeds."""
    step: Literal["post"] | None = "post" if name == RATE else None
    strategies = compared.found.strategies
    others = len(strategies) - NAMED
    least, most = math.inf, -math.inf
    for place, (each, runs) in enumerate(zip(strategies, compared.best_runs, strict=True)):
        if own := band(runs, name, "epochs"):
            line: dict[str, Any] = {
                "drawstyle": "steps-post" if step else "default",
                "marker": "o" if len(own.at) == 1 else "",
            }
            if place < NAMED:
                colour, dash = style(place)
                line |= {"color": colour, "linestyle": _DASHES[dash], "label": each.label, "zorder": 3}
                axes.fill_between(own.at, own.low, own.high, color=colour, alpha=0.15, linewidth=0, step=step)
            else:
                line |= {"color": OTHERS, "linewidth": 0.8, "zorder": 1}
                line |= {"label": f"{others} other{'s' * (others > 1)}"} if place == NAMED else {}
            axes.plot(own.at, own.median, **line)
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
