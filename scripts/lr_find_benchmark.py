"""Whether the rate that a finder suggests is a good one: against a grid of rates, and beside other finders.

Run: python scripts/lr_find_benchmark.py [--seeds 5] [--tasks digits,text] [--optimizers sgd,adam] [--cache FOLDER]
For each task, optimizer and seed, a run of three epochs at a constant rate is trained at each rate of a grid of nine,
half a decade apart, and at each finder's suggestion. A suggestion is a hit if its validation loss is at most twice that
of the grid's best. "spread" is the largest over the smallest suggestion of a task and an optimizer over the seeds;
"loss" the geometric mean of a suggestion's validation loss over the grid's best, where a divergence counts as 20.

The finders: ours (`task=find_lr`, 300 updates); Lightning's `Tuner.lr_find` (its own rule, on a ramp as it takes it:
100 updates from 1e-8 to 1, losses averaged with 0.98); fastai's `valley` and `steep`, written from its description
(100 updates from 1e-7 to 10, the same average). What is trained is kept in the cache, so that another call goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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
    "imbalanced": ["dataset=csv", "dataset.file=CACHE/imbalanced.csv", "dataset.target=label"],
}
GRIDS = {"sgd": np.logspace(-3, 1, 9), "adam": np.logspace(-5, -1, 9), "muon": np.logspace(-4, 0, 9)}
REFUSED = [("mnist1d_linear", "muon")]
"""What has no weights for an optimizer."""
COMMON = (
    *("scheduler=constant", "epochs=3", "logger=none", "trainer=cpu", "trainer.limit_test_batches=1", "threads=1"),
    *("trainer.enable_progress_bar=false", "log_every=1000"),
)
DIVERGED = 20.0
Finder = Callable[[Any], float | None]


def ours(settings: Any) -> float | None:
    """`task=find_lr`."""
    return find_rate_for(settings).suggestion


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


def lightning(settings: Any) -> float | None:
    """`Tuner.lr_find` with its defaults."""
    with kept_as_it_is():
        rates, losses = averaged(_ramp(settings, FRESH, read, 1e-8, 1.0, 100, 0))
    finder = _LRFinder("exponential", 1e-8, 1.0, 100)
    finder.results = {"lr": rates, "loss": losses}
    found: float | None = finder.suggestion()
    return found


def fastai(rule: Callable[[Sequence[float], Sequence[float]], float], settings: Any) -> float | None:
    """One of fastai's rules, on what it keeps of a ramp."""
    with kept_as_it_is():
        rates, losses = averaged(_ramp(settings, FRESH, read, 1e-7, 10.0, 100, 0))
    rates, losses = rates[10:-5], losses[10:-5]
    return rule(rates, losses) if len(losses) > 2 else None


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


class Bench:
    """Trains what is not in the cache.

    Args:
        cache: A folder.
    """

    def __init__(self, cache: Path, composer: Composer) -> None:
        self._cache, self._composer = cache, composer
        self._file = cache / "done.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self._known = {tuple(row["key"]): row["value"] for row in map(json.loads, lines)}

    def suggestion(self, finder: str, task: str, optimizer: str, seed: int) -> float | None:
        """What a finder suggests."""
        key = (finder, task, optimizer, seed)
        found: float | None = self._kept(key, lambda: FINDERS[finder](self._settings(task, optimizer, seed)))
        return found

    def loss(self, task: str, optimizer: str, seed: int, rate: float | None) -> float:
        """The validation loss after three epochs at a constant rate."""
        if rate is None:
            return math.inf
        found = self._kept(("loss", task, optimizer, seed, rate), lambda: self._train(task, optimizer, seed, rate))
        return math.inf if found is None else found

    def _kept(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
            with self._file.open("a") as file:
                file.write(json.dumps({"key": key, "value": self._known[key]}) + "\n")
        return self._known[key]

    def _settings(self, task: str, optimizer: str, seed: int, rate: float = 1e-3) -> Any:
        words = [word.replace("CACHE", str(self._cache)) for word in TASKS[task]]
        asked = prepare([*COMMON, *words, f"optimizer={optimizer}", f"seed={seed}", f"lr={rate!r}"])
        return read_request(self._composer, asked).job.settings

    def _train(self, task: str, optimizer: str, seed: int, rate: float) -> float | None:
        with tempfile.TemporaryDirectory() as place:
            settings = self._settings(task, optimizer, seed, rate)
            summary = run_in(settings, Path(place) / "run", say=lambda _: None)
        return summary.final.get("val_loss") if summary.is_good else None


def make_data(cache: Path) -> None:
    """A text, a table with one label in ten of the rarer kind, and one of noisy numbers; the same at every call."""
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


def main() -> None:
    """Train what is missing, and print a row for each case and the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default=",".join(GRIDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("outputs/lr_find_benchmark"))
    asked = parser.parse_args()
    make_data(asked.cache)
    ratios: dict[str, list[float]] = {name: [] for name in FINDERS}
    spreads: dict[str, list[float]] = {name: [] for name in FINDERS}
    with Composer() as composer:
        bench = Bench(asked.cache.resolve(), composer)
        for task in asked.tasks.split(","):
            for optimizer in asked.optimizers.split(","):
                if (task, optimizer) in REFUSED:
                    continue
                found: dict[str, list[float]] = {name: [] for name in FINDERS}
                for seed in range(asked.seeds):
                    best = min(bench.loss(task, optimizer, seed, float(rate)) for rate in GRIDS[optimizer])
                    for name in FINDERS:
                        rate = bench.suggestion(name, task, optimizer, seed)
                        ratio = min(bench.loss(task, optimizer, seed, rate) / best, DIVERGED)
                        ratios[name].append(ratio if ratio > 0 else DIVERGED)
                        found[name] += [] if rate is None else [rate]
                        if ratio > 2:
                            print(f"miss: {name}, {task}, {optimizer}, seed {seed}: lr={rate}, {ratio:.2f} x the best")
                for name, rates in found.items():
                    spreads[name].append(max(rates) / min(rates) if rates else math.inf)
    print(f"\n{'finder':16s} {'hits':>10s} {'loss':>6s} {'median':>7s} {'largest spread':>15s}")
    for name, values in ratios.items():
        hits = sum(value <= 2 for value in values)
        mean, middle = math.exp(np.mean(np.log(values))), np.median(values)
        print(f"{name:16s} {hits:4d} of {len(values):3d} {mean:6.2f} {middle:7.2f} {max(spreads[name]):15.1f}")


if __name__ == "__main__":
    main()
