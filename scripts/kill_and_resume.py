"""Kills runs at random moments, resumes them, and compares them with runs that were left alone, bit by bit.

Run: python scripts/kill_and_resume.py --kills 50 --terms 20
Every strategy takes its turn, each with its own mix of warm-up, accumulation, loader workers, optimizer and checkpoint
cadence. A fault comes at a random moment after the first checkpoint, and often a second one hits the resumed run; one
in eight comes at any moment from the start of the process, and a run without a checkpoint then starts over.
Compared are metrics.csv, every scalar of the event files, the final weights and the status; every checkpoint that a
fault leaves is read. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from lrtrain.configs import choices
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary

STRATEGIES = [name for name in choices("scheduler") if name != "custom"]
COMMON = (
    *("epochs=3", "log_every=1", "trainer=cpu", "trainer.enable_progress_bar=false", "logger=tensorboard"),
    "checkpoint_every=1ep",
    *("model=mlp", "lr=0.01", "batch_size=16"),
)
MIXES: tuple[tuple[str, ...], ...] = (
    (),
    ("warmup=5st", "checkpoint_every=7st"),
    ("optimizer=adam", "lr=0.001", "trainer.accumulate_grad_batches=3", "checkpoint_every=5st"),
    ("warmup=5%", "workers=2"),
    ("optimizer=adamw", "lr=0.001", "warmup=1ep", "checkpoint_every=11st"),
    ("model=linear", "trainer.accumulate_grad_batches=3"),
    ("workers=2", "checkpoint_every=7st", "trainer.val_check_interval=9"),
)
OWN = {"plateau": ("patience=0", "threshold=0.5"), "greedy": ("patience=0",)}
"""Settings under which feedback acts in three epochs."""
ATTEMPTS = 6
"""How often a fault is tried until it meets a living process."""


class Leaves(NamedTuple):
    """What is compared of a run."""

    metrics: str
    scalars: dict[str, list[tuple[int, float]]]
    weights: dict[str, torch.Tensor]
    status: str


class Reference(NamedTuple):
    """A run that was left alone, and when it saved first and last, in seconds since the process began."""

    leaves: Leaves
    first_checkpoint: float
    trained: float


class Fault(NamedTuple):
    """What came of one fault."""

    hit: str
    resumed_at: str
    differences: list[str]


def case(index: int) -> list[str]:
    """The overrides of the strategy whose turn it is."""
    strategy = STRATEGIES[index % len(STRATEGIES)]
    return [f"scheduler={strategy}", *COMMON, *MIXES[index % len(STRATEGIES) % len(MIXES)], *OWN.get(strategy, ())]


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Begin a command line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "lrtrain", *arguments], stdout=file, stderr=file, env=environment, cwd=log.parent
        )


def wait_for_checkpoint(process: subprocess.Popen[bytes], folder: RunFolder) -> None:
    """Return when there is a checkpoint, or the process has ended."""
    while process.poll() is None and not folder.last_checkpoint.exists():
        time.sleep(0.002)


def reference(arguments: list[str], at: Path) -> Reference:
    """Run to the end."""
    at.mkdir(parents=True)
    folder, began = RunFolder(at / "run"), time.time()
    process = start([*arguments, f"hydra.run.dir={folder.path}"], at / "log.txt")
    wait_for_checkpoint(process, folder)
    first = time.time() - began
    if process.wait():
        raise SystemExit(f"the run without a fault failed:\n{(at / 'log.txt').read_text()}")
    return Reference(leaves(folder), first, folder.last_checkpoint.stat().st_mtime - began)


def leaves(folder: RunFolder) -> Leaves:
    """Read what a run left; event files in the order in which they were begun, without any correction."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    for path in folder.events:
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tensor_util.make_ndarray(value.tensor).item())
                    scalars.setdefault(value.tag, []).append((event.step, number))
    checkpoint = load(folder.last_checkpoint)
    status = read_summary(folder.summary).status if folder.summary.exists() else "none"
    return Leaves(folder.metrics.read_text(), scalars, checkpoint["state_dict"], status)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint; raises an error of any kind where it is damaged."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def corrupt(folder: RunFolder) -> list[str]:
    """The checkpoints that cannot be read."""
    found = []
    for path in folder.path.glob("checkpoints/[!.]*.ckpt"):
        try:
            load(path)
        except Exception as error:  # whatever it is, the checkpoint is damaged
            found.append(f"{path.name}: {error}")
    return found


def differences(run: Leaves, expected: Leaves) -> list[str]:
    """What is not the same."""
    found = []
    if run.metrics != expected.metrics:
        found.append("metrics.csv")
    for tag in sorted(run.scalars.keys() | expected.scalars.keys()):
        series = run.scalars.get(tag, [])
        steps = [step for step, _ in series]
        if any(step >= after for step, after in itertools.pairwise(steps)):
            found.append(f"steps of {tag} not increasing")
        if series != expected.scalars.get(tag, []):
            found.append(f"series of {tag}")
    names = run.weights.keys() | expected.weights.keys()
    if not all(
        name in run.weights and name in expected.weights and torch.equal(run.weights[name], expected.weights[name])
        for name in names
    ):
        found.append("weights")
    if run.status != "finished":
        found.append(f"status {run.status}")
    return found


def strike(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Send the signal and wait for the end; false where the process had ended before."""
    if process.poll() is not None:
        return False
    process.send_signal(number)
    return process.wait() != 0


def inject(arguments: list[str], expected: Reference, at: Path, number: signal.Signals, chance: random.Random) -> Fault:
    """Fault a run, perhaps fault what is resumed, and compare it with the reference."""
    at.mkdir(parents=True)
    log, problems = at / "log.txt", []
    anywhere = chance.random() < 1 / 8
    window = expected.trained if anywhere else expected.trained - expected.first_checkpoint
    for attempt in range(ATTEMPTS):
        folder = RunFolder(at / f"run{attempt}")
        fresh = [*arguments, f"hydra.run.dir={folder.path}"]
        process = start(fresh, log)
        if not anywhere:
            wait_for_checkpoint(process, folder)
        time.sleep(chance.uniform(0, max(window, 0.1) * 0.9**attempt))
        if strike(process, number):
            break
    else:
        raise SystemExit(f"no fault met a living process in {ATTEMPTS} attempts: {' '.join(arguments)}")
    hit = "start" if not folder.last_checkpoint.exists() else "after the end" if folder.summary.exists() else "training"
    if process.returncode == 128 + signal.SIGTERM:
        hit = "saved"
    problems += corrupt(folder)
    again = [f"resume={folder.path}"] if list(folder.path.glob("checkpoints/[lp]*.ckpt")) else fresh
    resumed_at = ""
    if again != fresh:
        whole = [path for path in (folder.last_checkpoint, folder.previous_checkpoint) if path.exists()]
        resumed_at = str(load(whole[0])["lr_schedulers"][0]["step"]) if not problems else "?"
        if chance.random() < 1 / 3:  # a second fault, in the run that goes on
            process = start(again, log)
            time.sleep(chance.uniform(expected.first_checkpoint / 2, expected.trained))
            if strike(process, number):
                resumed_at += ", hit again"
            problems += corrupt(folder)
    process = start(again, log)
    if process.wait():
        problems.append(f"exit {process.returncode}: {log.read_text().splitlines()[-1]}")
    else:
        problems += differences(leaves(folder), expected.leaves)
    return Fault(hit, resumed_at, problems)


def main() -> int:
    """Inject the faults, print a line for each and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many SIGKILL")
    parser.add_argument("--terms", type=int, default=20, help="how many SIGTERM")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    chance, references, hits = random.Random(asked.seed), dict[str, Reference](), Counter[str]()  # noqa: S311
    faults = [signal.SIGKILL] * asked.kills + [signal.SIGTERM] * asked.terms
    chance.shuffle(faults)
    bad = damaged = 0
    print(f"{'strategy':20} {'signal':8} {'hit':14} {'resumed at':20} result")
    with tempfile.TemporaryDirectory() as below:
        for index, number in enumerate(faults):
            arguments = case(index)
            strategy = arguments[0].partition("=")[2]
            if strategy not in references:
                references[strategy] = reference(arguments, Path(below) / strategy)
            fault = inject(arguments, references[strategy], Path(below) / f"fault{index}", number, chance)
            hits[fault.hit] += 1
            bad += bool(fault.differences)
            damaged += sum(".ckpt: " in line for line in fault.differences)
            result = "; ".join(fault.differences) + f"  ({' '.join(arguments)})" if fault.differences else "equal"
            print(f"{strategy:20} {number.name:8} {fault.hit:14} {fault.resumed_at:20} {result}", flush=True)
    print("hit: " + ", ".join(f"{hit} {count}" for hit, count in hits.most_common()))
    all_of_them = f"{bad} of {len(faults)} not bit-equal" if bad else "all resumed bit-equal"
    print(f"{asked.kills} kills, {asked.terms} terminations: {all_of_them}; {damaged} corrupt")
    return 1 if bad or damaged else 0


if __name__ == "__main__":
    sys.exit(main())
