"""Figures of a comparison, as plotly reads them: `data` and `layout`, without the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lrtrain.evidence.selection import Setting, Trial, is_value, written
from lrtrain.evidence.verdict import Comparison
from lrtrain.evidence.words import shown

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B58900", "#56B4E9", "#8C6D31", "#7F7F7F")
"""Okabe and Ito's, but for what cannot be seen on black or on white."""
GREY = COLOURS[-1]
DASHES = ("solid", "dash", "dot", "dashdot")
VERDICTS = {
    "leader": ("#009E73", "star"),
    "tied": ("#0072B2", "circle"),
    "undecided": ("#B58900", "diamond"),
    "worse": ("#D55E00", "x"),
    None: (GREY, "circle-open"),
}
"""The colour and the shape of each."""

Figure = dict[str, Any]


class Style(NamedTuple):
    """How a strategy is drawn everywhere."""

    colour: str
    dash: str


def style(place: int) -> Style:
    """Of the strategy at a place."""
    return Style(COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)])


def draw_ranking(found: Comparison) -> Figure:
    """The difference of each strategy to the leader with its interval, and the margin of a tie."""
    rows = list(reversed(found.strategies))
    sign = 1 if found.mode == "min" else -1
    behind = [shown(found, sign * each.difference) for each in rows]
    ends = [sorted(shown(found, sign * end) for end in (each.low, each.high) if end is not None) for each in rows]
    names = [each.label for each in rows]
    margin = [shown(found, sign * found.margin) for sign in (-1, 1)]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": behind,
        "y": names,
        "marker": {
            "color": [VERDICTS[each.verdict][0] for each in rows],
            "symbol": [VERDICTS[each.verdict][1] for each in rows],
            "size": 11,
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "color": GREY,
            "array": [own[1] - at if own else None for own, at in zip(ends, behind, strict=True)],
            "arrayminus": [at - own[0] if own else None for own, at in zip(ends, behind, strict=True)],
        },
        "text": [each.verdict or "no verdict" for each in rows],
        "hovertemplate": "%{y}<br>%{x:.3g} behind, %{text}<extra></extra>",
    }
    unit = f"{found.metric} behind the leader" + (", per cent" if found.scale == "log" else "")
    layout = {
        "height": 110 + 34 * len(rows),
        "xaxis": {"title": {"text": unit}, "zeroline": True},
        "yaxis": {"automargin": True, "type": "category", "range": [-0.6, len(rows) - 0.4]},
        "shapes": [
            {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": margin[0], "x1": margin[1], "line": {"width": 0}}
            | {"fillcolor": "rgba(127,127,127,0.15)", "layer": "below"}
        ],
    }
    return {"data": [trace], "layout": layout}


def draw_rates(found: Comparison, trials: Sequence[Trial]) -> Figure | None:
    """The metric against the base rate, the best of other settings at each; None where one rate was tried only."""
    traces: list[Figure] = []
    for place, each in enumerate(found.strategies):
        own = [trial for trial in trials if trial.strategy == each.name and is_value(trial.judged_by)]
        best = _best_by_rate(own, found.mode)
        if len(best) > 1:
            colour, dash = style(place)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": each.name,
                    "x": list(best),
                    "y": [mean for mean, _ in best.values()],
                    "error_y": {"type": "data", "array": [sd for _, sd in best.values()], "thickness": 1},
                    "line": {"color": colour, "dash": dash},
                    "hovertemplate": "lr %{x:.3g}: %{y:.4g}",
                }
            )
    if not traces:
        return None
    values = [value for trace in traces for value in trace["y"]]
    rates = sorted({rate for trace in traces for rate in trace["x"]})
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": "base learning rate"}, "type": "log", "tickvals": rates}
        | {"ticktext": [f"{rate:g}" for rate in rates]},
        "yaxis": {"title": {"text": found.metric}, "type": _axis(values)},
        "legend": {"orientation": "h", "y": -0.25},
    }
    return {"data": traces, "layout": layout}


class Grid(NamedTuple):
    """The mean of every setting that was tried.

    Attributes:
        rows: Strategies with the settings that do not stand in the columns.
        key: What is varied over the columns.
        columns: Its values.
        means: By row and column; None where that was not tried, or every seed failed.
        notes: Likewise, what is said of it.
    """

    rows: list[str]
    key: str
    columns: list[str]
    means: list[list[float | None]]
    notes: list[list[str]]


def grid_of(found: Comparison, trials: Sequence[Trial]) -> Grid | None:
    """All settings; None where each strategy has but one."""
    names = {each.name: place for place, each in enumerate(found.strategies)}
    cells: dict[tuple[str, Setting], list[Trial]] = {}
    for trial in trials:
        cells.setdefault((trial.strategy, trial.setting), []).append(trial)
    if len(cells) <= len({name for name, _ in cells}):
        return None
    counts: dict[str, set[Any]] = {}
    for _, setting in cells:
        for each, value in setting:
            counts.setdefault(each, set()).add(_of_column(value))
    key = "lr" if "lr" in counts else max(counts, key=lambda name: len(counts[name]))
    columns = [*sorted(counts[key], key=lambda value: (isinstance(value, str), value)), ""]
    rows: dict[str, int] = {}
    for name, setting in sorted(cells, key=lambda cell: (names.get(cell[0], len(names)), str(cell[1]))):
        rows.setdefault(_without(name, setting, key), len(rows))
    means: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    notes = [[""] * len(columns) for _ in rows]
    for (name, setting), own in cells.items():
        row, column = rows[_without(name, setting, key)], columns.index(_of_column(dict(setting).get(key, "")))
        values = [trial.judged_by for trial in own if is_value(trial.judged_by)]
        failed = len(own) - len(values)
        means[row][column] = sum(values) / len(values) if values else None
        said = (f"{len(values)} seeds" if values else "", f"{failed} failed" if failed else "")
        notes[row][column] = ", ".join(filter(None, said))
    used = [column for column in range(len(columns)) if any(note[column] for note in notes)]
    return Grid(
        list(rows),
        key,
        [_text(columns[column]) for column in used],
        [[row[column] for column in used] for row in means],
        [[row[column] for column in used] for row in notes],
    )


def draw_grid(grid: Grid, metric: str) -> Figure:
    """All settings as a heat map."""
    known = [value for row in grid.means for value in row if value is not None]
    log = _axis(known) == "log"
    shade = [[None if value is None else math.log10(value) if log else value for value in row] for row in grid.means]
    text = [["" if value is None else f"{value:.4g}" for value in row] for row in grid.means]
    shades = sorted(value for row in shade for value in row if value is not None)
    trace = {
        "type": "heatmap",
        "zmin": shades[0] if shades else None,
        "zmax": _brightest(shades) if shades else None,
        "x": grid.columns,
        "y": grid.rows,
        "z": shade,
        "text": text,
        "texttemplate": "%{text}",
        "customdata": grid.notes,
        "hovertemplate": f"%{{y}}, {grid.key} %{{x}}<br>{metric} %{{text}} (%{{customdata}})<extra></extra>",
        "colorscale": "Viridis",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    layout = {
        "height": 110 + 30 * len(grid.rows),
        "xaxis": {"title": {"text": grid.key}, "type": "category", "showgrid": False},
        "yaxis": {"automargin": True, "type": "category", "autorange": "reversed", "showgrid": False},
        "annotations": [
            {"x": column, "y": row, "text": "failed", "showarrow": False}
            for row in range(len(grid.rows))
            for column, note in enumerate(grid.notes[row])
            if note and grid.means[row][column] is None
        ],
    }
    return {"data": [trace], "layout": layout}


def _brightest(shades: Sequence[float]) -> float:
    """Where the colours of sorted values end: what is far off would else leave one colour to all the others."""
    least, middle = shades[0], shades[len(shades) // 2]
    return min(shades[-1], least + 3 * (middle - least)) if middle > least else shades[-1]


def _axis(values: Sequence[float]) -> str:
    """Whether values need a logarithmic axis."""
    return "log" if values and min(values) > 0 and max(values) > 10 * min(values) else "linear"


def _of_column(value: Any) -> float | str:
    """What stands over a column: a number as one, to be sorted, and all else as text."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else written(value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else written(value)


def _without(name: str, setting: Setting, key: str) -> str:
    return " ".join([name, *(f"{each}={_text(value)}" for each, value in setting if each != key)])


def _best_by_rate(trials: Sequence[Trial], mode: str) -> Mapping[float, tuple[float, float]]:
    """The mean and the sd over the seeds of the best setting at each rate."""
    cells: dict[tuple[float, Setting], list[float]] = {}
    for trial in trials:
        rate = dict(trial.setting).get("lr")
        if isinstance(rate, int | float) and rate > 0:
            cells.setdefault((float(rate), trial.setting), []).append(trial.judged_by or 0.0)
    found: dict[float, tuple[float, float]] = {}
    sign = 1 if mode == "min" else -1
    for (rate, _), values in cells.items():
        mean = sum(values) / len(values)
        sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0
        if rate not in found or sign * mean < sign * found[rate][0]:
            found[rate] = mean, sd
    return dict(sorted(found.items()))
