"""The guide to the rate: a page with pictures of runs whose rate is too high, too low, right, and falls.

Run: python scripts/guide.py
Trains six runs (about two minutes), and writes conf/scheduler/GUIDE.md and conf/scheduler/guide/*.png.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter

import lrtrain
from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.configs import config_dir
from lrtrain.evidence.diagnosis import Finding
from lrtrain.evidence.range_test import RateFound
from lrtrain.records.folders import read_series
from lrtrain.records.record import Series
from lrtrain.report.curves import COLOURS, Picture
from lrtrain.report.rate import rate_picture
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.training.ramps import find_rate_for

TASK = ("dataset=mnist1d", "model=mlp", "epochs=30")
RATES = {
    "too high": ("scheduler=constant", "lr=0.2"),
    "right": ("scheduler=constant", "lr=0.03"),
    "too low": ("scheduler=constant", "lr=0.0001"),
}
DECAYS = {
    "0.1 throughout": ("scheduler=constant", "lr=0.1"),
    "0.03 throughout": ("scheduler=constant", "lr=0.03"),
    "inverse time from 0.1": ("scheduler=inverse_time", "decay=1", "lr=0.1"),
    "cosine from 0.1": ("scheduler=cosine", "lr=0.1"),
}
FOLDER = config_dir() / "scheduler"


class Trained(NamedTuple):
    """A run.

    Attributes:
        summary: What came of it.
        series: What it recorded, by name.
    """

    summary: Summary
    series: Mapping[str, Series]

    @property
    def row(self) -> str:
        """Of a table of runs: losses and accuracy at the end, the usual ratio of update and weights, and findings."""
        final, ratios = self.summary.final, self.series["update_ratio"].values
        named = ", ".join(f"`{found['name']}`" for found in self.summary.findings) or "none"
        training = np.median(self.series["train_loss"].values[-20:])
        return f"{training:.2f} | {final['val_loss']:.2f} | {final['val_acc']:.1%} | {np.median(ratios):.0e} | {named}"


def train(words: Sequence[str], place: Path) -> Trained:
    """A run of the task."""
    folder = place / "_".join(words)
    summary = lrtrain.train([*TASK, *words, "seed=0", "logger=none", "threads=1"], folder=folder, quiet=True)
    return Trained(summary, read_series(RunFolder(folder)))


def find() -> RateFound:
    """What the finder says of the task."""
    with Composer() as composer:
        return find_rate_for(read_request(composer, [*TASK, "task=find_lr"]).job.settings)


def draw(runs: Mapping[str, Trained], shown: Mapping[str, str], limits: Mapping[str, tuple[float, float]]) -> Picture:
    """Curves of some runs beside each other.

    Args:
        runs: By what they are called.
        shown: The names of the curves, and their titles.
        limits: Of some of them; those within a factor of ten are drawn on a linear scale.
    """
    figure = Picture(figsize=(4.4 * len(shown), 3.4), dpi=100, layout="constrained")
    for place, (name, title) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(1, len(shown), place)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("epoch")
        low, high = limits.get(name, (None, None))
        if not (low and high and high < 10 * low):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
        for colour, (label, run) in zip(COLOURS, runs.items(), strict=False):
            _line(axes, run, name, colour, label)
        axes.set_ylim(low, high)
        if name == "update_ratio":
            axes.axhspan(3e-4, 1e-2, color="#999999", alpha=0.2, linewidth=0)
            axes.annotate("usual", (0.02, 3.6e-4), xycoords=("axes fraction", "data"), color="#666666")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize="small")
    return figure


def _line(axes: Axes, run: Trained, name: str, colour: str, label: str) -> None:
    steps, values = run.series[name]
    width = 7 if name == "train_loss" else 1
    smooth = np.convolve(np.pad(values, width // 2, mode="reflect"), np.full(width, 1 / width), mode="valid")
    axes.plot(steps * run.summary.epochs / run.summary.steps, smooth, color=colour, linewidth=1.6, label=label)


def page(rates: Mapping[str, Trained], decays: Mapping[str, Trained], found: RateFound) -> str:
    """The guide."""
    told = [Finding(**finding).sentence() for run in rates.values() for finding in run.summary.findings]
    return PAGE.format(
        task=" ".join(TASK),
        rates="\n".join(f"| {name} | `{RATES[name][1]}` | {run.row} |" for name, run in rates.items()),
        decays="\n".join(f"| {name} | {run.row} |" for name, run in decays.items()),
        told="\n".join(line.partition("\n")[0] for line in told),
        suggestion=f"{found.suggestion:g}",
        low=f"{found.low:.2g}",
        high=f"{found.high:.2g}",
        error=f"{found.error:.2f}",
    )


PAGE = """\
# Which rate, and why it falls

Written by `python scripts/guide.py`, which trains what is shown: `{task}`, SGD with momentum 0.9, seed 0.

## Too high, too low, right

An update is the gradient times the rate. Where the rate is **too high**, updates overshoot: the loss rises or jumps,
the weights shoot about and grow, and training never settles, or ends in NaN. Where it is **too low**, all is smooth,
and little happens: the loss crawls, and still falls at the end as it did in the middle. Where it is **right**, the loss
falls fast at first and then more slowly, with some noise; it may then learn so much that it over-fits, which is no
fault of the rate.

![Training loss, validation loss and size of updates of three rates](guide/rates.png)

| rate | | training loss | validation loss | accuracy | update ratio | findings |
|---|---|---|---|---|---|---|
{rates}

A run says so by itself, while it goes on where that is certain, and at its end:

```
{told}
```

## How to read the update ratio

`update_ratio`, in `metrics.csv` and TensorBoard, is how large an update is beside the weights that it changes:
|update| / |weights|. It is the rate in a unit that means the same for each network.

| ratio, after a warm-up | says |
|---|---|
| above 3e-2 for long | too high: 30 updates could replace the weights |
| 3e-4 to 1e-2 | usual |
| below 1e-4 while the rate is at its peak | too low: 10,000 updates in one direction would be needed |
| falls with the rate | what a decay is for |
| falls at a constant rate | the weights grow: look at the loss, and at `weight_decay` |
| 0, and `grad_norm` too | a dead network: no gradient arrives |

In the picture, the rate that is too high begins above the usual band; later its ratio is usual again, but only because
the weights have grown. One network has several ratios: with `groups`, each has its own, `update_ratio/NAME`.

## Why the rate falls

A high rate goes far in each update, and so finds a good region soon. But batches differ, and so do their gradients: at
the bottom, each update jumps across by about the rate times that noise. The loss then stays a certain amount above the
bottom, the higher the rate, the more. A low rate has less of it but takes long to arrive. So one starts high and goes
low: the rate decides first how far the training gets, then how well it settles.

![Rate, training loss and validation loss of four schedules](guide/decay.png)

| schedule | training loss | validation loss | accuracy | update ratio | findings |
|---|---|---|---|---|---|
{decays}

No constant rate does both: the schedules that fall end below either of them. That is one seed of one task; which curve
is best for yours, and by how much, `-m scheduler=cosine,linear,inverse_time seed=0,1,2,3,4,5` says.

## Finding one

```sh
python -m lrtrain task=find_lr {task}
```

![Loss over the rate, with the suggestion, its bracket and error](guide/find_lr.png)

It suggests `lr={suggestion}`, between {low} and {high}, with an error of a factor of {error}. Left of the fall,
training crawls; right of the edge, it diverges. A range test sees the first updates only: it knows the largest stable
rate, not the one that ends best. So sweep around its suggestion, upwards where the rate falls later.

## Which command answers which doubt

| a doubt | what answers it |
|---|---|
| which rate do I begin with? | `task=find_lr`, or `lr=auto` |
| is it the best one? | `-m lr=0.03,0.1,0.3 seed=0,1,2` |
| is it too high or too low, decayed too early or late? | the findings at the end of a run; `task=diagnose run=FOLDER` |
| what will the schedule do? | `task=preview scheduler=...` |
| what did it really do? | `task=preview run=FOLDER`, or `lr` in `metrics.csv` |
| why did the rate change there? | the line in the terminal; "Text" in TensorBoard |
| is one schedule better than another, or was it luck? | `-m scheduler=step,cosine seed=0,1,2,3,4,5`; `task=compare` |
| the first updates explode | `warmup=5%` |
| which schedule is there? | [the gallery](README.md) |
"""


def main() -> None:
    """Train, draw and write."""
    with tempfile.TemporaryDirectory() as place:
        kept: dict[Sequence[str], Trained] = {}
        for words in (*RATES.values(), *DECAYS.values()):
            if words not in kept:
                kept[words] = train(words, Path(place))
    rates = {name: kept[words] for name, words in RATES.items()}
    decays = {name: kept[words] for name, words in DECAYS.items()}
    found = find()
    losses = {"train_loss": "training loss", "val_loss": "validation loss"}
    (FOLDER / "guide").mkdir(exist_ok=True)
    pictures = {
        "rates": draw(rates, {**losses, "update_ratio": "size of an update over that of the weights"}, {}),
        "decay": draw(decays, {"lr": "learning rate", **losses}, {"lr": (1e-4, 0.2), "val_loss": (0.9, 2.2)}),
        "find_lr": rate_picture(found, " ".join(["task=find_lr", *TASK])),
    }
    for name, figure in pictures.items():
        figure.savefig(FOLDER / "guide" / f"{name}.png")
    (FOLDER / "GUIDE.md").write_text(page(rates, decays, found))


if __name__ == "__main__":
    main()
