"""Kills sweeps at random moments, goes on with them, and compares every job with that of a sweep left alone.

Run: python scripts/kill_sweeps.py --kills 20
By turns a sweep of jobs=1, of jobs=2, one of workers=slurm (submitit starts local processes where there is no SLURM),
a search, and a population. SIGKILL ends everything, or where there are several processes also the coordinator alone,
or a worker alone. Compared are metrics.csv, the scalars, the final weights and the status of every job, the plan,
and the table; of a population what is not rounding. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from kill_and_resume import Leaves, differences, leaves

from lrtrain.cli.main import main as command_line
from lrtrain.run_folder.claim import is_live
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary

TINY = (
    *("model=linear", "trainer=cpu", "trainer.limit_train_batches=8", "epochs=6", "checkpoint_every=1ep"),
    *("log_every=1", "threads=1"),
)
GRID = ("scheduler=step,cosine,plateau", "seed=0,1", *TINY)
SEARCH = ("search=tpe", "trials=6", "scheduler=step,cosine", "lr=tag(log,interval(0.01,1))", *TINY)
BLOCKS = ("scheduler=step,cosine,plateau", "batch_size=32,64", *TINY)
"""Two blocks, one after the other."""
MODES = {
    "jobs=1": (*GRID, "jobs=1"),
    "jobs=2": (*GRID, "jobs=2"),
    "slurm": (*GRID, "jobs=2", "workers=slurm"),
    "search": SEARCH,
    "population": (*BLOCKS, "jobs=population"),
}
JOBS = 6
PATIENCE = 600
"""Seconds that anything is waited for."""


def start(words: tuple[str, ...], at: Path) -> subprocess.Popen[bytes]:
    """Begin a sweep in a group of processes of its own."""
    command = [sys.executable, "-m", "lrtrain", "-m", *words, f"hydra.sweep.dir={at}"]
    with at.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603


def go_on(at: Path, mode: str) -> tuple[int, str]:
    """Go on with a sweep in this process; its exit code, and what it printed."""
    jobs = "population" if mode == "population" else 1
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        return command_line(["-m", f"resume={at}", f"jobs={jobs}", "workers=local"]), out.getvalue()


def plan_of(at: Path) -> dict[str, Any]:
    """What the sweep says of itself."""
    return dict(json.loads((at / "sweep.json").read_text()))


def left_alone(mode: str, below: Path) -> dict[str, Leaves]:
    """The jobs of a sweep that nothing has killed, by name."""
    kind, words = {"search": ("search", SEARCH), "population": ("blocks", BLOCKS)}.get(mode, ("grid", GRID))
    at = below / f"{kind}_left_alone"
    if not at.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            code = command_line(["-m", *words, f"hydra.sweep.dir={at}"])
        if code:
            raise SystemExit(f"the sweep left alone ended with {code}")
    return {job["name"]: leaves(RunFolder(at / job["name"])) for job in plan_of(at)["jobs"]}


def live_workers(at: Path) -> Iterator[int]:
    """The processes that do jobs now."""
    for lock in sorted(at.glob("*/.lock")):
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(lock.read_text())
            if not record["ended"] and is_live(lock.parent):
                yield record["pid"]


def wait_until_begun(at: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Return when so many jobs have been begun, or there is nothing that begins them."""
    until = time.monotonic() + PATIENCE
    while len(list(at.glob("*/metrics.csv"))) < count and time.monotonic() < until:
        if process.poll() not in (None, 0):
            raise SystemExit(f"the sweep ended with {process.returncode}: {at.with_suffix('.log').read_text()}")
        time.sleep(0.005)


def strike(what: str, at: Path, process: subprocess.Popen[bytes]) -> None:
    """Kill it, and wait until nobody works any more."""
    if what == "worker" and (workers := [pid for pid in live_workers(at) if pid != process.pid]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGKILL)
    elif what == "coordinator":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (is_live(at) or list(live_workers(at))):
        time.sleep(0.1)


def rounded(run: Leaves, expected: Leaves) -> Leaves:
    """What a run left, in which a number that is nearly what is expected is that."""
    scalars = {
        tag: [
            (step, wanted if math.isclose(value, wanted, rel_tol=1e-3, abs_tol=1e-6) else value)
            for (step, value), (_, wanted) in zip(series, expected.scalars[tag], strict=True)
        ]
        for tag, series in run.scalars.items()
        if len(series) == len(expected.scalars.get(tag, []))
    }
    weights = {
        name: wanted
        if name in run.weights and torch.allclose(run.weights[name], wanted, 1e-3, 1e-5)
        else torch.empty(0)
        for name, wanted in expected.weights.items()
    }
    same_points = [row.split(",")[:2] for row in run.metrics.split()] == [
        row.split(",")[:2] for row in expected.metrics.split()
    ]
    metrics = expected.metrics if same_points else run.metrics
    return Leaves(metrics, run.scalars | scalars, weights, run.status)


def problems_of(at: Path, mode: str, code: int, expected: dict[str, Leaves], finished: dict[Path, int]) -> list[str]:
    """What is not as in the sweep left alone.

    Args:
        at: The folder of the sweep.
        mode: Of it.
        code: What it ended with.
        expected: The jobs of the other one.
        finished: The summaries that were there before it went on, and when they were written.
    """
    jobs, found = plan_of(at)["jobs"], [f"exit {code}"] if code else []
    if [job["name"] for job in jobs] != list(expected):
        found.append(f"jobs {[job['name'] for job in jobs]}")
    if wrong := [job["state"] for job in jobs if job["state"] != "finished"]:
        found.append(f"states {wrong}")
    if (at / "summary.csv").read_text().count("\n") != JOBS + 1:
        found.append("table")
    found += [f"{path.parent.name} done again" for path, when in finished.items() if path.stat().st_mtime_ns != when]
    for name, left in expected.items():
        with contextlib.suppress(FileNotFoundError):
            run = leaves(RunFolder(at / name))
            run = rounded(run, left) if mode == "population" else run
            found += [f"{name}: {what}" for what in differences(run, left)]
    return found


def main() -> int:
    """Kill, go on, compare; print a line for each and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="+", choices=list(MODES), default=list(MODES))
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    chance, bad, hits = random.Random(asked.seed), 0, Counter[str]()  # noqa: S311
    with tempfile.TemporaryDirectory() as below:
        for index in range(asked.kills):
            mode = asked.only[index % len(asked.only)]
            what = chance.choice(["everything", "coordinator", "worker"]) if "jobs=2" in MODES[mode] else "everything"
            expected, at = left_alone(mode, Path(below)), Path(below) / f"sweep{index}"
            process = start(MODES[mode], at)
            wait_until_begun(at, chance.randint(1, JOBS), process)
            time.sleep(chance.uniform(0, 0.5))
            strike(what, at, process)
            summaries = [path for path in at.glob("*/summary.json") if read_summary(path).status == "finished"]
            finished = {path: path.stat().st_mtime_ns for path in summaries}
            code, said = go_on(at, mode)
            problems = problems_of(at, mode, code, expected, finished)
            bad += bool(problems)
            hits[what] += 1
            print(f"{mode:10} {what:12} {len(finished)} of {JOBS} done: {'; '.join(problems) or 'equal'}", flush=True)
            if problems:
                print(said[-2000:])
    print(f"{asked.kills} kills ({', '.join(f'{n} of {what}' for what, n in hits.items())}): {bad} not equal")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
