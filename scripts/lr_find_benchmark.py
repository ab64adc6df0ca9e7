"""Whether the rate that a finder suggests is a good one: against a grid of rates, and beside other finders.

Run: OMP_NUM_THREADS=1 python scripts/lr_find_benchmark.py --workers 14 [--minutes 5] [--seeds 5] [--tasks digits,text]
For each task, optimizer and seed, a run of three epochs at a constant rate is trained at each rate of a grid of nine,
half a decade apart, and at each finder's suggestion. A suggestion is a hit if its validation loss is at most twice that
of the grid's best. "spread" is the largest over the smallest suggestion of a task and an optimizer over the seeds;
"loss" the geometric mean of a suggestion's validation loss over the grid's best, where a divergence counts as 20.

The finders: ours (`task=find_lr`, 300 updates); Lightning's `Tuner.lr_find` (its own rule, on a ramp as it takes it:
100 updates from 1e-8 to 1, losses averaged with 0.98); fastai's `valley` and `steep`, written from its description
(100 updates from 1e-7 to 10, the same average).
What is trained is kept in the cache at once, so that another call goes on; the table is of what is there. The first
seeds come first, and the text, which costs most, after all else. All of it takes some 1.6 hours of CPU time, half of
them for the text.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kept import Kept, Key
from lightning.pytorch.tuner.lr_finder import _LRFinder

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.cli.words import prepare
from lrtrain.datasets import read
from lrtrain.evidence.range_test import Ramp
from lrtrain.plan.start import FRESH
from lrtrain.process.state import kept_as_it_is
from lrtrain.training.ramps import _ramp, find_rate_for
from lrtrain.training.run import run_in

TASKS = {
    "digits": [],
    "mnist1d_linear": ["dataset=mnist1d", "model=linear"],
    "mnist1d_mlp": ["dataset=mnist1d", "model=mlp"],
    "mnist1d_cnn": [
        *("dataset=mnist1d", "model=cnn", "model.channels=[25,25,25]", "model.kernels=[5,3]", "model.stride=2"),
        *("model.pool=1", "model.batch_norm=false"),
    ],
    "text": [
        *("dataset=text", "dataset.file=CACHE/text.txt", "dataset.length=32", "model=transformer", "model.layers=2"),
        *("model.width=48", "model.heads=4", "trainer.limit_train_batches=100", "trainer.limit_val_batches=20"),
    ],
    "regression": ["dataset=csv", "dataset.file=CACHE/regression.csv", "dataset.target=y"],
    "houses": ["dataset=csv", "dataset.file=CACHE/houses.csv", "dataset.target=price"],
    "imbalanced": ["dataset=csv", "dataset.file=CACHE/imbalanced.csv", "dataset.target=label"],
}
GRIDS = {
    name: [float(f"{rate:.4g}") for rate in np.logspace(low, low + 4, 9)]  # the same on all machines
    for name, low in {"sgd": -3, "adam": -5, "muon": -4}.items()
}
REFUSED = [("mnist1d_linear", "muon")]
"""What has no weights for an optimizer."""
COMMON = (
    *("scheduler=constant", "epochs=3", "logger=none", "trainer=cpu", "trainer.limit_test_batches=1", "threads=1"),
    *("trainer.enable_progress_bar=false", "log_every=1000"),
)
DIVERGED = 20.0
Case = tuple[str, str, int]
Finder = Callable[[Any], tuple[float | None, dict[str, Any]]]
"""Finds a rate for a run, and what else is worth keeping."""


def ours(settings: Any) -> tuple[float | None, dict[str, Any]]:
    """`task=find_lr`."""
    found = find_rate_for(settings)
    rates = found.shape.rates
    losses = [[float(f"{loss:.5g}") for loss in ramp.losses] for ramp in found.ramps]
    return found.suggestion, {"low": rates[0], "high": rates[-1], "updates": len(rates), "ramps": losses}


def averaged(ramp: Ramp) -> tuple[list[float], list[float]]:
    """The rates and losses as Lightning and fastai record them: averaged, up to four times the least."""
    mean, least, losses = 0.0, math.inf, []
    for step, loss in enumerate(ramp.losses, start=1):
        mean = 0.98 * mean + 0.02 * loss
        losses.append(mean / (1 - 0.98**step))
        least = min(least, losses[-1])
        if not losses[-1] <= 4 * least:
            break
    return list(ramp.rates[: len(losses)]), losses


def lightning(settings: Any) -> tuple[float | None, dict[str, Any]]:
    """`Tuner.lr_find` with its defaults."""
    with kept_as_it_is():
        rates, losses = averaged(_ramp(settings, FRESH, read, 1e-8, 1.0, 100, 0))
    finder = _LRFinder("exponential", 1e-8, 1.0, 100)
    finder.results = {"lr": rates, "loss": losses}
    return finder.suggestion(), {}


def fastai(
    rule: Callable[[Sequence[float], Sequence[float]], float], settings: Any
) -> tuple[float | None, dict[str, Any]]:
    """One of fastai's rules, on what it keeps of a ramp."""
    with kept_as_it_is():
        rates, losses = averaged(_ramp(settings, FRESH, read, 1e-7, 10.0, 100, 0))
    rates, losses = rates[10:-5], losses[10:-5]
    return (rule(rates, losses) if len(losses) > 2 else None), {}


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The middle of the longest falling subsequence of the losses, between its thirds."""
    lengths = [1] * len(losses)
    for end in range(len(losses)):
        for start in range(end):
            if losses[end] < losses[start] and lengths[end] < lengths[start] + 1:
                lengths[end] = lengths[start] + 1
    end = int(np.argmax(lengths))
    third = lengths[end] / 3
    return rates[max(0, end - lengths[end]) + int(third) + int(third / 2)]


def steep(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Where the loss falls most from one update to the next, over the logarithm of the rate."""
    return rates[int(np.argmin(np.diff(losses) / np.diff(np.log(rates))))]


FINDERS: dict[str, Finder] = {
    "ours": ours,
    "lightning": lightning,
    "fastai valley": partial(fastai, valley),
    "fastai steep": partial(fastai, steep),
}


def cases(tasks: Sequence[str], optimizers: Sequence[str], seeds: int) -> list[Case]:
    """Task, optimizer and seed: the first seeds first, and the costly text after all others."""
    found = [(task, optimizer, seed) for seed in range(seeds) for task in tasks for optimizer in optimizers]
    return sorted((case for case in found if case[:2] not in REFUSED), key=lambda case: case[0] == "text")


def keys(tasks: Sequence[str], optimizers: Sequence[str], seeds: int) -> Iterator[Key]:
    """Of the results of all cases: of each rate of the grid and of each finder."""
    for task, optimizer, seed in cases(tasks, optimizers, seeds):
        for rate in GRIDS[optimizer]:
            yield task, optimizer, seed, rate
        for finder in FINDERS:
            yield task, optimizer, seed, finder


def make(cache: Path, key: Key) -> dict[str, Any]:
    """The result of a rate: the validation loss after three epochs; of a finder: that of the rate that it suggests."""
    task, optimizer, seed, asked = key
    with Composer() as composer:
        rate: Any = asked
        found: dict[str, Any] = {}
        if isinstance(asked, str):
            rate, found = FINDERS[asked](settings_of(composer, cache, task, optimizer, seed, 1e-3))
        if rate is None:
            return {"rate": None, "loss": None, **found}
        with tempfile.TemporaryDirectory() as place:
            settings = settings_of(composer, cache, task, optimizer, seed, rate)
            summary = run_in(settings, Path(place) / "run", say=lambda _: None)
    return {"rate": rate, "loss": summary.final.get("val_loss") if summary.is_good else None, **found}


def settings_of(composer: Composer, cache: Path, task: str, optimizer: str, seed: int, rate: float) -> Any:
    """Those of a training of three epochs."""
    words = [word.replace("CACHE", str(cache)) for word in TASKS[task]]
    asked = prepare([*COMMON, *words, f"optimizer={optimizer}", f"seed={seed}", f"lr={rate!r}"])
    return read_request(composer, asked).job.settings


def make_data(cache: Path) -> None:
    """A text, and tables: of a rare label, of noisy numbers, of prices with little noise; the same at every call."""
    cache.mkdir(parents=True, exist_ok=True)
    import argparse
    import difflib
    import inspect
    import tarfile

    if not (cache / "text.txt").exists():
        (cache / "text.txt").write_text("".join(map(inspect.getsource, (argparse, difflib, tarfile))))
    rng = np.random.default_rng(0)
    rare = rng.random(2000) < 0.1
    values = rng.normal(size=(2000, 8))
    values[:, :3] += 1.2 * rare[:, None]
    values[:, 3] *= 20
    labels = np.where(rare, "rare", "usual")
    rows = [[*(f"x{i}" for i in range(8)), "label"]]
    rows += [[*(f"{x:.5f}" for x in row), label] for row, label in zip(values, labels, strict=True)]
    (cache / "imbalanced.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2000, 8))
    told = np.sin(2 * values[:, 0]) + values[:, 1] * values[:, 2] + 0.5 * rng.normal(size=2000)
    rows = [[*(f"x{i}" for i in range(8)), "y"]]
    rows += [[f"{x:.5f}" for x in (*row, y)] for row, y in zip(values, told, strict=True)]
    (cache / "regression.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    rng = np.random.default_rng(2)
    sizes, ages, quarters = rng.gamma(6, 25, 800) + 30, rng.integers(0, 90, 800), rng.integers(0, 5, 800)
    prices = 2500 * sizes * np.array([0.8, 0.9, 1.0, 1.1, 1.6])[quarters] * (1 - ages / 300)
    prices *= np.exp(0.02 * rng.normal(size=800))
    rows = [["size", "age", "quarter", "price"]]
    rows += [
        [f"{size:.1f}", str(age), "abcde"[quarter], f"{price:.0f}"]
        for size, age, quarter, price in zip(sizes, ages, quarters, prices, strict=True)
    ]
    (cache / "houses.csv").write_text("\n".join(map(",".join, rows)) + "\n")


def report(found: Mapping[Key, Any], asked: Sequence[Case]) -> None:
    """Print each miss, and the table of the cases whose grid is there."""
    ratios: dict[str, list[float]] = {name: [] for name in FINDERS}
    rates: dict[str, dict[tuple[str, str], list[float]]] = {name: defaultdict(list) for name in FINDERS}
    known = [case for case in asked if all((*case, rate) in found for rate in GRIDS[case[1]])]
    for case in known:
        grid = {rate: loss_of(found[*case, rate]) for rate in GRIDS[case[1]]}
        best = min(grid, key=lambda rate: grid[rate])
        for name in FINDERS:
            if (own := found.get((*case, name))) is None:
                continue
            ratio = min(loss_of(own) / grid[best], DIVERGED)
            ratios[name].append(ratio)
            rates[name][case[:2]] += [] if own["rate"] is None else [own["rate"]]
            if ratio > 2:
                print(f"miss: {name}: {', '.join(map(str, case))}: lr={own['rate']}, {ratio:.2f} x that of {best:.2g}")
    print(f"\n{len(known)} of {len(asked)} cases")
    print(f"{'finder':16s} {'hits':>10s} {'loss':>6s} {'median':>7s} {'largest spread':>15s}")
    for name, values in ratios.items():
        if values:
            hits, mean = sum(value <= 2 for value in values), math.exp(np.mean(np.log(values)))
            spread = max((max(own) / min(own) for own in rates[name].values() if own), default=math.inf)
            print(f"{name:16s} {hits:4d} of {len(values):3d} {mean:6.2f} {np.median(values):7.2f} {spread:15.1f}")


def loss_of(result: Mapping[str, Any]) -> float:
    """Of a training; infinite where it diverged, or there was no rate to train at."""
    return math.inf if result["loss"] is None else float(result["loss"])


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default=",".join(GRIDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--minutes", type=float, help="after which no other training is begun")
    parser.add_argument("--cache", type=Path, default=Path("outputs/lr_find_benchmark"))
    asked = parser.parse_args()
    cache = asked.cache.resolve()
    make_data(cache)
    chosen = asked.tasks.split(","), asked.optimizers.split(","), asked.seeds
    kept = Kept(cache / "done.jsonl")
    kept.make(partial(make, cache), keys(*chosen), asked.workers, asked.minutes)
    report(kept.found, cases(*chosen))


if __name__ == "__main__":
    main()
