"""What ramps of the rate have found: printed and drawn."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes

from lrtrain import notebook
from lrtrain.evidence.range_test import RateFound
from lrtrain.report.curves import COLOURS, Picture, png
from lrtrain.report.ranking import WIDEST
from lrtrain.report.text_plot import text_plot

_GREY = "#999999"


@dataclass(frozen=True, repr=False)
class RateShown(RateFound):
    """A rate that was found, with its picture; a notebook shows both.

    Attributes:
        title: Of the picture: what was trained.
    """

    title: str = ""

    @classmethod
    def of(cls, found: RateFound, trained: str) -> RateShown:
        """What was found for what was trained."""
        what = f"lr={found.suggestion:g}" if found.suggestion else "no rate can be suggested"
        return cls(**vars(found), title=f"{trained}: {what}")

    @cached_property
    def picture(self) -> Picture:
        """The loss of each ramp over the rate, their smoothed median, the bracket and the suggestion."""
        return rate_picture(self, self.title)

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        return notebook.text(*dict.fromkeys((self.sentence(), self.reason))) + notebook.picture(png(self.picture))


def print_rate(found: RateFound) -> None:
    """Print the loss over the rate in characters, and what it says."""
    rates, losses = found.shape.rates, found.shape.losses
    width = min(shutil.get_terminal_size().columns, WIDEST)
    quarters = [f"{rates[0] * (rates[-1] / rates[0]) ** (quarter / 4):.1e}" for quarter in range(5)]
    mark = None
    if found.suggestion is not None:
        mark = float(np.log(found.suggestion / rates[0]) / np.log(rates[-1] / rates[0])), f"lr={found.suggestion:g}"
    print("\n".join(text_plot({"loss": losses.tolist()}, 1.0, width, join=mark, axis=("learning rate", quarters))))
    if found.suggestion is not None:
        print(f"lr={found.suggestion:g}")
        print(f"between     {found.low:.2g} and {found.high:.2g}")
        print(f"error       a factor of {found.error:.2f}, one standard deviation over {len(found.ramps)} ramps")
        print(f"cost        {found.updates} updates")
    print(textwrap.fill(f"reason      {found.reason}", width, subsequent_indent=" " * 12))


def print_groups(groups: Mapping[str, RateFound]) -> None:
    """Print the rates of groups of parameters, by their patterns."""
    if groups:
        print("by group, while all other weights stay as they are; the lowest says what limits the rate:")
    for pattern, found in groups.items():
        print(f"  {pattern:10s}{found.sentence()}")


def rate_picture(found: RateFound, title: str) -> Picture:
    """The loss of each ramp over the rate, their smoothed median, the bracket and the suggestion."""
    figure = Picture(figsize=(9, 4.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize="medium")
    axes = figure.add_subplot()
    shape = found.shape
    for number, ramp in enumerate(found.ramps):
        used = shape.rates[: len(ramp.losses)]
        axes.plot(used, ramp.losses, color=_GREY, linewidth=0.8, label="each ramp" if not number else None)
    axes.plot(shape.rates, shape.losses, color=COLOURS[0], linewidth=2.2, label="median, smoothed")
    if found.suggestion is not None:
        _mark(axes, found, found.suggestion)
    axes.set_xscale("log")
    axes.set_xlim(shape.rates[0], shape.rates[-1])
    low, high = float(shape.losses.min()), shape.start
    room = abs(high - low) or 1.0
    axes.set_ylim(low - 0.25 * room, high + 0.6 * room)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")
    return figure


def _mark(axes: Axes, found: RateFound, suggestion: float) -> None:
    """The suggestion with its bracket and its error."""
    low, high, error = found.low or suggestion, found.high or suggestion, found.error or 1.0
    axes.axvspan(low, high, color=COLOURS[2], alpha=0.12, linewidth=0, label=f"{low:.2g} to {high:.2g}")
    axes.axvspan(suggestion / error, suggestion * error, color=COLOURS[1], alpha=0.25, linewidth=0, label="error")
    axes.axvline(suggestion, color=COLOURS[1], linewidth=1.8, label=f"lr={suggestion:g}")
    axes.axvline(found.shape.steepest, color=_GREY, linestyle=":", linewidth=1.2, label="steepest fall")
    if found.shape.edge < found.shape.rates[-1]:
        axes.axvline(found.shape.edge, color=_GREY, linestyle="--", linewidth=1.2, label="edge of divergence")
