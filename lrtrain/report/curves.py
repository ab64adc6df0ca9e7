"""Pictures of learning-rate curves."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from lrtrain.report.text_plot import wants_log

POINTS = 2000
MOST_MARKS = 12
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's, which colour-blind people can tell apart."""
STYLES = ("-", "--", "-.", ":")
_GREY = "#666666"


class Curve(NamedTuple):
    """A learning rate over a run.

    Attributes:
        rates: One an update, and the one that holds after the last.
        steps_per_epoch: Updates in an epoch.
        warmup: Updates that ramp up.
    """

    rates: Sequence[float]
    steps_per_epoch: int
    warmup: int = 0

    @property
    def used(self) -> Sequence[float]:
        """The rates that an update has."""
        return self.rates[:-1]

    def part(self, start: int, stop: int) -> Curve:
        """A part of it, on a clock of its own."""
        return Curve(self.rates[start : stop + 1], self.steps_per_epoch)

    @property
    def sample(self) -> list[float]:
        """Some thousand rates at equal distances, and the one after the last update."""
        used = self.used
        return [*used[:: max(1, len(used) // 5000)], self.rates[-1]]

    @property
    def peak(self) -> int:
        """The first update that has the largest rate."""
        return int(np.argmax(self.used))

    def sample_over(self, epochs: float) -> list[float]:
        """Some thousand rates at equal distances over so many epochs; NaN after the end of the curve."""
        sample = self.sample[:-1]
        return [*sample, *[math.nan] * round(len(sample) * (epochs / self.epochs - 1))]

    @property
    def epochs(self) -> float:
        """How long it is."""
        return (len(self.rates) - 1) / self.steps_per_epoch


def jumps(curve: Curve) -> list[int]:
    """The updates after the warm-up from which the rate is another by 10 % or more, all at once."""
    rates = np.asarray(curve.used, dtype=np.float64)
    change = np.abs(np.diff(rates))
    beside = np.maximum(np.append(change[1:], 0), np.insert(change[:-1], 0, 0)) if change.size else change
    apart = (change >= 0.1 * np.maximum(rates[1:], rates[:-1])) & (change > 5 * beside)
    steps = np.flatnonzero(apart) + 1
    return [int(step) for step in steps if step > curve.warmup]


def thin(values: Sequence[float], most: int = POINTS) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """At most so many points that look like all of them: the extremes of every part, and both sides of every jump."""
    everything = np.asarray(values, dtype=np.float64)
    count = everything.size
    if count <= most:
        return np.arange(count), everything
    parts = most // 5
    whole = np.pad(everything, (0, -count % parts), mode="edge").reshape(parts, -1)
    begin = np.arange(parts) * whole.shape[1]
    steepest = np.argpartition(np.abs(np.diff(everything)), -parts)[-parts:]
    kept = [begin, begin + whole.argmin(axis=1), begin + whole.argmax(axis=1), steepest, steepest + 1, [count - 1]]
    steps = np.unique(np.minimum(np.concatenate(kept), count - 1))[:most]
    steps[-1] = count - 1
    return steps, everything[steps]


class Picture(Figure):
    """A figure that a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        return png(self)


def picture(curve: Curve, title: str, used: Mapping[int, float] | None = None) -> Picture:
    """One curve with its warm-up, jumps and end; `used` are the rates, by update, that a run really had."""
    figure, axes = _figure(title)
    draw(axes, curve)
    if used:
        _mark_used(axes, used, curve.steps_per_epoch)
        axes.legend(frameon=False)
    scale(axes, [curve])
    _updates_axis(axes, curve.steps_per_epoch)
    return figure


def replanned(
    old: Curve | None, new: Curve, step: int, label: str, title: str, used: Mapping[int, float] | None = None
) -> Picture:
    """A run that is to go on from an update.

    Args:
        old: The plan until now, to its own end; None where it stays.
        new: The plan of the whole run.
        step: The first update to come.
        label: Of the join.
        title: Above the picture.
        used: The rates, by update, that the run really had.
    """
    figure, axes = _figure(title)
    parts = [
        ("until now", new, 0, min(step, len(new.used)), {"color": _GREY, "linewidth": 2.6}),
        ("from now on", new, step, len(new.used), {"color": COLOURS[0], "linewidth": 2.4}),
    ]
    if old:
        parts.append(("old plan", old, step, len(old.used), {"color": COLOURS[1], "linestyle": "--"}))
        _mark_end(axes, old, COLOURS[1])
    for name, curve, start, stop, style in parts:
        if start < stop:
            line(axes, curve.part(start, stop), start / curve.steps_per_epoch, label=name, **style)
    _mark_end(axes, new, COLOURS[0])
    if used:
        _mark_used(axes, used, new.steps_per_epoch)
    scale(axes, [old or new, new])
    axes.set_ylim(top=axes.get_ylim()[1] * (1.5 if axes.get_yscale() == "log" else 1.08))  # room for the label
    _mark_join(axes, step / new.steps_per_epoch, label)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")
    _updates_axis(axes, new.steps_per_epoch)
    return figure


def overlay(curves: Mapping[str, Curve], title: str, used: Mapping[int, float] | None = None) -> Picture:
    """Several curves over the same epochs; `used` belongs to the first."""
    figure, axes = _figure(title)
    for index, (name, curve) in enumerate(curves.items()):
        line(
            axes,
            curve,
            color=COLOURS[index % len(COLOURS)],
            linestyle=STYLES[index // len(COLOURS) % len(STYLES)],
            label=name,
        )
    if used:
        _mark_used(axes, used, next(iter(curves.values())).steps_per_epoch)
    scale(axes, list(curves.values()))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")
    lengths = {curve.steps_per_epoch for curve in curves.values()}
    if len(lengths) == 1:
        _updates_axis(axes, lengths.pop())
    return figure


def draw(axes: Axes, curve: Curve) -> None:
    """The curve, its warm-up shaded, its jumps as dotted lines, and the rate after its end as a ring."""
    length = curve.steps_per_epoch
    if curve.warmup:
        axes.axvspan(0, curve.warmup / length, color="#E69F00", alpha=0.15, linewidth=0)
        axes.annotate(
            f"warm-up, {curve.warmup:,} updates",
            (curve.warmup / length, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize="small",
            color="#9A6A00",
        )
    marks = jumps(curve)
    for step in marks if len(marks) <= MOST_MARKS else ():
        axes.axvline(step / length, color=_GREY, linestyle=":", linewidth=0.8)
    line(axes, curve, color=COLOURS[0])
    _mark_end(axes, curve, COLOURS[0])


def line(axes: Axes, curve: Curve, start: float = 0.0, **style: Any) -> None:
    """The rates that are used, from an epoch on: each holds from its update to the next."""
    steps, rates = thin(curve.used)
    epochs = start + np.append(steps, len(curve.used)) / curve.steps_per_epoch
    axes.plot(epochs, np.append(rates, rates[-1]), drawstyle="steps-post", **{"linewidth": 1.8, **style})


def scale(axes: Axes, curves: Sequence[Curve]) -> None:
    """Axes over the epochs of the curves, from 0 up, or logarithmic where the rates ask for it."""
    epochs = max(curve.epochs for curve in curves)
    axes.set_xlim(0, epochs)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=epochs >= 5))
    if wants_log([curve.sample for curve in curves]):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(float(np.max(curve.rates)) for curve in curves) * 1.08 or 1.0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def png(figure: Figure, **settings: Any) -> bytes:
    """The picture as a file's content; nothing in it tells when it was made."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", **{"metadata": {"Software": None}, **settings})
    return buffer.getvalue()


def _figure(title: str) -> tuple[Picture, Axes]:
    figure = Picture(figsize=(9, 4.5), dpi=110, layout="constrained")
    rows = math.ceil(len(title) / 110)
    figure.suptitle(textwrap.fill(title, len(title) // rows + 10), fontsize="medium")
    axes = figure.add_subplot()
    axes.set_xlabel("epochs")
    axes.set_ylabel("learning rate")
    return figure, axes


def _mark_end(axes: Axes, curve: Curve, colour: str) -> None:
    """The rate after the last update as a ring."""
    end = [curve.epochs], [curve.rates[-1]]
    axes.plot(*end, marker="o", color=colour, markerfacecolor="white", clip_on=False, zorder=5)


def _mark_used(axes: Axes, used: Mapping[int, float], steps_per_epoch: int) -> None:
    steps = sorted(used)
    axes.plot(
        [step / steps_per_epoch for step in steps],
        [used[step] for step in steps],
        linestyle="none",
        marker="o",
        markersize=3.5,
        markerfacecolor="none",
        markeredgecolor=COLOURS[1],
        label="used by the run",
    )


def _mark_join(axes: Axes, epoch: float, label: str) -> None:
    """A vertical line with its label on the side that has more room."""
    axes.axvline(epoch, color="#222222", linewidth=1.2, zorder=4)
    left = epoch > sum(axes.get_xlim()) / 2
    axes.annotate(
        label,
        (epoch, 0.98),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if left else 6, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        fontsize="small",
        zorder=6,
    )


def _updates_axis(axes: Axes, steps_per_epoch: int) -> None:
    def updates(epochs: Any) -> Any:
        return epochs * steps_per_epoch

    def epochs(updates: Any) -> Any:
        return updates / steps_per_epoch

    top = axes.secondary_xaxis("top", functions=(updates, epochs))
    top.set_xlabel("updates", fontsize="small", color=_GREY)
    top.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    top.xaxis.set_major_formatter(EngFormatter(sep=""))
    top.tick_params(labelsize="small", colors=_GREY)
    top.spines["top"].set_color("#BBBBBB")
