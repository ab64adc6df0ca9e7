"""How often the diagnosis names what is wrong: runs that are made wrong on purpose, and good ones.

Run: OMP_NUM_THREADS=1 python scripts/diagnosis.py --workers 14 [--minutes 5] [--seeds 6] [--tasks digits,imbalanced]
Each fault has recipes, which are trained for every task, optimizer and seed; so are good runs, of which those count
whose validation loss is at most 1.1 times the best of their task and optimizer. A wrong rate that does not cost at
least 15 % of the best loss, and an over-fitting by less than 10 %, is no fault and does not count; a late decay is a
rate that is too high where a cosine from the same rate fails too. The rules were written while looking at the even
seeds of the first six. A fault is named rightly if it is among the findings (three at most); a good run is a false
alarm if it has any.

What is trained is kept in the cache at once, so that another call goes on; the tables are of what is there. All of it
takes about an hour of CPU time, ten minutes a seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from kept import Kept, Key
from lr_find_benchmark import TASKS as BENCH
from lr_find_benchmark import make_data
from torch import nn

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import read_request
from lrtrain.cli.words import prepare
from lrtrain.datasets import Inputs
from lrtrain.evidence.diagnosis import Run, diagnose
from lrtrain.training.run import run_in
from lrtrain.training.session import Session

TASKS = {
    "digits": ["epochs=12"],
    "imbalanced": [*BENCH["imbalanced"], "epochs=12"],
    "mnist1d_mlp": [*BENCH["mnist1d_mlp"], "epochs=10"],
}
RATES = {"sgd": 0.05, "adam": 0.005, "muon": 0.05}
GOOD = (
    *("scheduler=cosine", "scheduler=linear", "scheduler=cosine warmup=5%", "scheduler=step every=4 gamma=0.3"),
    *(
        "scheduler=constant",
        "scheduler=constant TIMES=0.3",
        "scheduler=wsd",
        "scheduler=one_cycle",
        "scheduler=plateau patience=2",
        "scheduler=inverse_time decay=0.3",
    ),
)
NOISE = ("dataset=csv", "dataset.file=CACHE/noise.csv", "dataset.target=label", "epochs=12")
WRONG = {
    "rate_too_high": ("scheduler=constant TIMES=40", "scheduler=step every=6 TIMES=100"),
    "rate_too_low": ("scheduler=constant TIMES=0.003", "scheduler=cosine TIMES=0.001"),
    "decayed_too_early": ("scheduler=exponential gamma=0.1 TIMES=0.2", "scheduler=step every=1 gamma=0.03 TIMES=0.2"),
    "decayed_too_late": ("scheduler=constant TIMES=5", "scheduler=multistep milestones=[92%] gamma=0.01 TIMES=5"),
    "plateau_never_fired": ("scheduler=plateau patience=50 TIMES=5 epochs=24",),
    "plateau_fired_on_noise": ("scheduler=plateau patience=0 threshold=0.3 factor=0.1 TIMES=0.3",),
    "schedule_unfinished": ("scheduler=cosine epochs=5000 +trainer.max_time=00:00:00:02",),
    "over_fitting": ("scheduler=constant trainer.limit_train_batches=3 shuffle=false epochs=150",),
    "clipping": ("scheduler=cosine trainer.gradient_clip_val=0.02",),
    "no_better_than_chance": ("scheduler=cosine NOISE",),
    "dead_network": ("scheduler=cosine model=custom model.function=diagnosis:Dead",),
}
COSTLY = (
    *("rate_too_high", "rate_too_low", "decayed_too_early", "decayed_too_late"),
    *("plateau_never_fired", "plateau_fired_on_noise"),
)
"""The faults that count only where they cost something."""
DECAYED = "scheduler=cosine TIMES=5"
"""Tells a late decay from a rate that is too high: where this fails too, the rate is at fault."""
COMMON = (
    *("logger=none", "trainer=cpu", "trainer.limit_test_batches=1", "threads=1", "trainer.enable_progress_bar=false"),
    "checkpoint_every=60min",
)


class Dead(nn.Module):
    """A network whose hidden units are never active.

    Args:
        inputs: Of the data.
        classes: How many.
    """

    def __init__(self, inputs: Inputs, classes: int) -> None:
        super().__init__()
        size = int(np.prod(inputs.shape))
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, classes, bias=False))
        with torch.no_grad():
            self.layers[1].bias.fill_(-1e4)  # type: ignore[operator]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.layers(inputs)  # type: ignore[no-any-return]


def cases(tasks: Sequence[str], optimizers: Sequence[str], seeds: int) -> Iterator[Key]:
    """Label, recipe, task, optimizer and seed of each run."""
    for seed in range(seeds):
        for task in tasks:
            for optimizer in optimizers:
                for label, recipes in {"good": GOOD, "decayed": (DECAYED,), **WRONG}.items():
                    for recipe in recipes:
                        yield label, recipe, task, optimizer, seed


def train(cache: Path, case: Key) -> dict[str, Any]:
    """What the diagnosis sees of a run, and its validation loss."""
    _, recipe, task, optimizer, seed = case
    words = [*TASKS[task], *recipe.split()]
    times = next((float(word.partition("=")[2]) for word in words if word.startswith("TIMES=")), 1.0)
    words = [*NOISE, *recipe.split()] if "NOISE" in words else words
    words = [word.replace("CACHE", str(cache)) for word in words if word != "NOISE" and not word.startswith("TIMES=")]
    words += [*COMMON, f"optimizer={optimizer}", f"lr={RATES[optimizer] * times!r}", f"seed={seed}"]
    seen: list[Run] = []
    judged = Session._judged

    def watched(session: Session, status: str, steps: int) -> Run:
        seen.append(judged(session, status, steps))
        return seen[-1]

    with Composer() as composer, tempfile.TemporaryDirectory() as place, patch.object(Session, "_judged", watched):
        settings = read_request(composer, prepare(words)).job.settings
        summary = run_in(settings, Path(place) / "run", say=lambda _: None)
    run = {name: value for name, value in vars(seen[-1]).items() if name != "curves"}
    curves = {
        name: [steps.tolist(), [float(f"{value:.5g}") for value in values]]
        for name, (steps, values) in seen[-1].curves.items()
    }
    return {"loss": summary.final.get("val_loss"), "run": run, "curves": curves}


def make_noise(cache: Path) -> None:
    """A table whose labels have nothing to do with its columns."""
    rng = np.random.default_rng(1)
    rows = [[*(f"x{i}" for i in range(8)), "label"]]
    rows += [[*(f"{x:.4f}" for x in rng.normal(size=8)), "ab"[int(rng.integers(2))]] for _ in range(2000)]
    (cache / "noise.csv").write_text("\n".join(map(",".join, rows)) + "\n")


def findings(row: Mapping[str, Any]) -> list[str]:
    """The names of what the rules find in a run."""
    curves = {name: (np.array(steps), np.array(values, float)) for name, (steps, values) in row["curves"].items()}
    return [finding.name for finding in diagnose(Run(**row["run"], curves=curves))]


def report(rows: Sequence[Mapping[str, Any]], part: int) -> None:
    """Print the confusion matrix of the runs whose seeds leave this rest when divided by two."""
    best: dict[tuple[str, str, str], float] = defaultdict(lambda: np.inf)
    for row in rows:
        label, _, task, optimizer, _ = row["case"]
        best[label, task, optimizer] = min(best[label, task, optimizer], row["loss"] or np.inf)
    counts: dict[str, Counter[str]] = {label: Counter() for label in ("good", *WRONG)}
    right: Counter[str] = Counter()
    for row in rows:
        label, recipe, task, optimizer, seed = row["case"]
        least = best["good", task, optimizer]
        if seed % 2 != part or label == "decayed" or (label == "good" and not (row["loss"] or np.inf) <= 1.1 * least):
            continue
        if label in COSTLY and row["loss"] and row["loss"] < 1.15 * least:
            continue
        if "TIMES=5" in recipe and best["decayed", task, optimizer] > 1.15 * least:
            label = "rate_too_high"
        if label == "over_fitting" and row["loss"] < 1.1 * min(row["curves"]["val_loss"][1]):
            continue
        found = findings(row)
        named = label in found if label != "good" else not found
        right[label] += named
        counts[label][label if named else (found[0] if found else "good")] += 1
        if not named:
            print(f"{label}: {found or 'nothing'}: {task}, {optimizer}, seed {seed}, {recipe}")
    print(f"\n{'seeds ' + ('even' if part == 0 else 'odd'):24s} {'runs':>5s} {'right':>6s}  taken for")
    for label, taken in counts.items():
        others = ", ".join(f"{name} {n}" for name, n in taken.most_common() if name != label)
        print(f"{label:24s} {taken.total():5d} {right[label]:6d}  {others}")
    wrong = sum(taken.total() for label, taken in counts.items() if label != "good")
    rightly = sum(n for label, n in right.items() if label != "good")
    good = counts["good"].total()
    print(f"named rightly: {rightly} of {wrong}; false alarms: {good - right['good']} of {good} good runs\n")


def main() -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--optimizers", default=",".join(RATES))
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--minutes", type=float, help="after which no other training is begun")
    parser.add_argument("--cache", type=Path, default=Path("outputs/diagnosis"))
    parser.add_argument("--kept", action="store_true", help="train nothing; the tables of what the cache has")
    asked = parser.parse_args()
    cache = asked.cache.resolve()
    make_data(cache)
    make_noise(cache)
    chosen = list(cases(asked.tasks.split(","), asked.optimizers.split(","), asked.seeds))
    kept = Kept(cache / "done.jsonl")
    if not asked.kept:
        kept.make(partial(train, cache), chosen, asked.workers, asked.minutes)
    rows = [{"case": case, **kept.found[case]} for case in chosen if case in kept.found]
    for part in (0, 1):
        report(rows, part)


if __name__ == "__main__":
    main()
