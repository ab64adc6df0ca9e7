"""Workers beyond this machine: each is a process of its own in the task of a cluster, and loses nothing with it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from test_sweeps import TINY, sweep

from lrtrain.run_folder.sweep_folder import SweepFolder
from lrtrain.sweeps.clusters import Task

WORKER = """
import json, os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
def save(number, frame):
    place.with_name("saved").write_text(str(number))
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
scratch = place.with_suffix(".new")
scratch.write_text(json.dumps([name for name in os.environ if name.startswith("SLURM_")]))
scratch.replace(place)
time.sleep(60)
"""


def wait_for(path: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert path.exists()


def test_worker_saves_before_its_task_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As submitit asks, when SLURM announces the end of the time; to the worker, it is alone."""
    submitit = pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    monkeypatch.setenv("SLURM_PROCID", "1")
    began, codes = tmp_path / "began", list[int]()
    task = Task([sys.executable, "-S", "-c", WORKER, str(began)])
    thread = threading.Thread(target=lambda: codes.append(task()))
    thread.start()
    wait_for(began)
    again = task.checkpoint()
    assert (tmp_path / "saved").read_text() == str(int(signal.SIGTERM))
    thread.join()
    assert codes == [143]
    assert json.loads(began.read_text()) == []
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function is task


def test_submitted_workers_do_the_jobs(tmp_path: Path) -> None:
    """The command leaves; somebody comes back to it for the tables."""
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    left = sweep(tmp_path, "seed=0,1", "workers=slurm", "slurm={timeout_min:5,partition:cpu}", *TINY)
    assert left.result.code == 0, left.result.err
    assert left.states == ["waiting", "waiting"]
    assert "1 workers for 2 jobs" in left.result.out
    folder, until = SweepFolder(left.folder), time.monotonic() + 300
    jobs = folder.read().jobs
    while any(folder.look(job).state != "finished" for job in jobs) and time.monotonic() < until:
        time.sleep(0.2)
    back = sweep(tmp_path, f"resume={left.folder}")
    assert (back.result.code, back.states) == (0, ["finished", "finished"]), back.result.err
    assert len(back.table) == 2
    assert [job["attempts"] for job in back.view["jobs"]] == [1, 1]


def test_ray_replaces_a_worker_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster that is begun for it; the job goes on from its checkpoint."""
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    killed = []

    def kill() -> None:
        wait_for(tmp_path / "sweep" / "0_seed=0" / "checkpoints" / "last.ckpt", 900)
        record = json.loads((tmp_path / "sweep" / "0_seed=0" / ".lock").read_text())
        os.kill(record["pid"], signal.SIGKILL)
        killed.append(record["pid"])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        words = ("seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}", "workers=ray", *TINY, "epochs=60")
        done = sweep(tmp_path, *words)
    finally:
        ray.shutdown()
    thread.join()
    assert done.result.code == 0, done.result.err
    view = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [(job["state"], job["attempts"]) for job in view["jobs"]] == [("finished", 2), ("finished", 1)]
    assert os.getpid() not in killed


def test_refused_workers_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == "ray" else find(name, *of))
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = {
        ("workers=ray",): 'pip install "lrtrain[ray]"',
        ("workers=slrm",): "workers must be local or slurm or ray",
        ("workers=slurm", "jobs=auto"): "needs jobs=N",
        ("workers=slurm", "on_failure=stop"): "leave one of them out",
        ("slurm={partition:cpu}",): "slurm= is of workers=slurm",
    }
    if find("submitit"):
        refused["workers=slurm", "slurm={partitio:cpu}"] = (
            "slurm= is not as submitit takes it: Unknown argument 'partitio'"
        )
    for words, said in refused.items():
        result = sweep(tmp_path, "seed=0,1", *words).result
        assert (result.code, len(result.err.splitlines())) == (2, 1), result.err
        assert said in result.err
    assert list(tmp_path.iterdir()) == []


def test_workers_that_load_data_are_the_jobs(tmp_path: Path) -> None:
    """workers=2 is a setting, and may be swept; workers=local is a word of the sweep."""
    swept = sweep(tmp_path, "workers=0,1", "workers=local", *TINY, "--dry-run")
    assert swept.result.out.startswith("0_workers=0: 8 updates\n1_workers=1: 8 updates\n"), swept.result.err
