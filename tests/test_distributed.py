"""Two processes train as one: the same rates and weights, decisions taken together, and no process left behind."""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from conftest import CommandLine, Train, fork, read_csv
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import subprocess_script
from resuming import assert_equal, checkpoint
from torch import Tensor
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lrtrain.__main__ import main
from lrtrain.cli.compose import Composer
from lrtrain.cli.words import prepare
from lrtrain.process import ranks
from lrtrain.training.loader import Batch
from lrtrain.training.module import Supervised


def measure_only(module: Supervised, loss: float) -> None:
    """Let a validation have measured one sample of a loss, and nothing else."""
    module.val.means.reset()
    module.val.means.update([torch.tensor([loss]), torch.zeros(1)])


def take_part(wanted: dict[str, Any]) -> int:
    """The command line, with what a test wants of each rank; tells the rate of every update, and the process."""
    ranks._PARENT = os.getppid()  # as whoever imports it anew sees it
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)
    seen, training_step, validation_step = [0], Supervised.training_step, Supervised.validation_step
    setup_environment = DDPStrategy.setup_environment
    told = Path(f"told.{rank}").open("w")  # noqa: SIM115 - until the process ends

    def tell(**what: Any) -> None:
        print(json.dumps(what), file=told, flush=True)

    def step(module: Supervised, batch: Batch, batch_idx: int) -> Tensor:
        tell(lr=module.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        loss = training_step(module, batch, batch_idx)
        fault = wanted.get("faults", {}).get(f"{rank}:{seen[0]}")
        seen[0] += 1
        if fault == "nan":
            return loss * math.nan
        if fault == "explodes":
            return loss + 1e9  # by itself, the gradient tells nobody
        if fault:
            os.kill(os.getpid(), getattr(signal, fault))
        return loss

    def validate(module: Supervised, batch: Batch, batch_idx: int) -> None:
        validation_step(module, batch, batch_idx)
        if "val_loss" in wanted:
            measure_only(module, wanted["val_loss"][rank][module.current_epoch])

    def meet(strategy: DDPStrategy) -> None:
        tell(meets=True)
        if wanted.get("waits") and rank:
            time.sleep(600)
        setup_environment(strategy)

    tell(pid=os.getpid())
    Supervised.training_step, Supervised.validation_step = step, validate  # type: ignore[method-assign, assignment]
    DDPStrategy.setup_environment = meet  # type: ignore[method-assign, assignment]
    return main()


def take_part_when_started(wanted: dict[str, Any]) -> int:
    """Wait to be told the variables of the process that is to be started."""
    if said := sys.stdin.readline():
        os.environ.clear()
        os.environ.update(json.loads(said))
        return take_part(wanted)
    return 0


def begin(wanted: dict[str, Any]) -> int:
    """Be the first process; the second one waits beside it, and is what Lightning starts, spared all imports."""
    streams: dict[str, Any] = {"stdout": None, "stderr": None, "start_new_session": False}
    second = fork(partial(take_part_when_started, wanted), Path(), *sys.argv, **streams)

    def start_second(command: Sequence[str], env: dict[str, str], cwd: str | None) -> subprocess.Popen[str]:
        print(json.dumps(env), file=second.stdin, flush=True)
        return second

    subprocess_script.subprocess = SimpleNamespace(Popen=start_second)  # type: ignore[attr-defined, assignment]
    return take_part(wanted)


def begin_under_torchrun(wanted: dict[str, Any]) -> int:
    """Be what `torchrun --standalone --nproc-per-node 2` is, whose processes are spared all imports."""
    launched = LaunchConfig(
        1, 1, 2, run_id="any", rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork"
    )
    codes: dict[int, int] = elastic_launch(launched, take_part)(wanted)
    return max(codes.values())


class Ended(NamedTuple):
    code: int
    out: str
    err: str
    told: list[list[dict[str, Any]]]

    def rates(self, rank: int) -> list[float]:
        """What a rank's updates used."""
        return [line["lr"] for line in self.told[rank] if "lr" in line]


SECONDS = 120
ONE = ("trainer=cpu", "log_every=1", "trainer.enable_progress_bar=false", "trainer.limit_train_batches=8")
TWO = (*ONE, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")


def start(
    place: Path, act: Callable[[dict[str, Any]], int], *words: str, more: Mapping[str, str] = {}, **wanted: Any
) -> subprocess.Popen[str]:
    # What each process would do for itself: DDP asks the compiler for a mode, and all of them compose.
    importlib.import_module("torch._dynamo.utils")
    with Composer() as composer:
        composer.compose(prepare(words))
    ours = ("HYDRA_FULL_ERROR", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | dict(more)
    return fork(partial(act, wanted), place, "lrtrain", *words, environment=environment)


def ended(process: subprocess.Popen[str], place: Path) -> Ended:
    """Wait for all processes of a run: the pipes are closed when the last one has ended."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        for path in place.glob("told.*"):
            os.kill(json.loads(path.read_text().splitlines()[0])["pid"], signal.SIGKILL)
        pytest.fail(f"some process had not ended after {SECONDS} s: {process.communicate()}")
    lines = [path.read_text().splitlines() for path in sorted(place.glob("told.*"))]
    return Ended(process.returncode, out, err, [[json.loads(line) for line in told] for told in lines])


def run(place: Path, *arguments: str, **wanted: Any) -> Ended:
    return ended(start(place, begin, *arguments, **wanted), place)


VAL_LOSS = [[4.0, 3.0, 2.0, 1.0], [1.0, 3.0, 5.0, 7.0]]
"""It falls on rank 0 and rises on rank 1, and so does the mean."""
PLATEAU = (
    "scheduler=plateau",
    "patience=0",
    "factor=0.5",
    "epochs=4",
    "model=mlp",
    "model.dropout=0",
    "drop_last=true",
    "logger=none",
)


class Both(NamedTuple):
    """What came of both processes, and the one folder."""

    ends: list[Ended]
    folder: Path

    def rates(self, rank: int) -> list[float]:
        return self.ends[0].rates(rank)


def only(folders: Iterable[Path]) -> Path:
    found = list(folders)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Two processes, started as srun starts its tasks, each with batches of 16, under a plateau."""
    place = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7"}
    job |= {"SLURM_JOB_NAME": "train", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
    asked = (*TWO, *PLATEAU, "batch_size=16")
    places = [{**job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
    tasks = [start(place, take_part, *asked, more=more, val_loss=VAL_LOSS) for more in places]
    ends = [ended(task, place) for task in tasks]
    assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
    return Both(ends, only(place.glob("outputs/*/*")))


def test_slurm_makes_one_folder(two: Both) -> None:
    assert json.loads((two.folder / "summary.json").read_text())["status"] == "finished"
    assert "val_loss" in two.ends[0].out
    assert two.ends[1].out == ""


def test_one_plateau_decision_on_all_ranks(two: Both) -> None:
    expected = [0.1] * 16 + [0.05] * 8 + [0.025] * 8
    assert two.rates(0) == expected
    assert two.rates(1) == expected
    assert [float(row["lr"]) for row in read_csv(two.folder / "metrics.csv")] == expected


def test_two_processes_train_as_one(two: Both, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process with batches of 32 does the same, given what the two of them measure together."""
    mean = [(a + b) / 2 for a, b in zip(*VAL_LOSS, strict=True)]
    validation_step = Supervised.validation_step

    def validate(module: Supervised, batch: Batch, batch_idx: int) -> None:
        validation_step(module, batch, batch_idx)
        measure_only(module, mean[module.current_epoch])

    monkeypatch.setattr(Supervised, "validation_step", validate)
    one = train(*ONE, *PLATEAU, "batch_size=32")
    assert list(one.series("lr").values()) == two.rates(0)
    ours, theirs = (checkpoint(folder)["state_dict"] for folder in (two.folder, one.folder))
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=1e-6)
    last = [float(read_csv(folder / "metrics.csv")[-1]["test_loss"]) for folder in (two.folder, one.folder)]
    assert last[0] == pytest.approx(last[1], rel=1e-4)


DROPOUT = (*TWO, "model=mlp", "model.dropout=0.5", "epochs=3", "checkpoint_every=3st", "scheduler=cosine")


class Fate(NamedTuple):
    """What became of one run.

    Attributes:
        folder: Of the run that was stopped again and again.
        spared: Of the run that was left alone, which torchrun started.
        ends: How each attempt ended.
        status: What its summary said after each.
    """

    folder: Path
    spared: Path
    ends: list[Ended]
    status: list[str]


@pytest.fixture(scope="module")
def fate(tmp_path_factory: pytest.TempPathFactory) -> Fate:
    """A run that is terminated, then loses the second process, then the first one, and then is left to finish."""
    place = tmp_path_factory.mktemp("fate")
    spared = ended(start(place, begin_under_torchrun, *DROPOUT), place)
    assert spared.code == 0, spared.err
    faults = ("0:4", "SIGTERM"), ("1:5", "SIGKILL"), ("0:5", "SIGKILL"), ("0:99", "")
    ends, status = [], []
    for attempt, (when, what) in enumerate(faults):
        asked = (f"resume={place / 'run'}",) if attempt else (*DROPOUT, f"hydra.run.dir={place / 'run'}")
        ends.append(run(place, *asked, faults={when: what}))
        status.append(json.loads((place / "run" / "summary.json").read_text())["status"])
    return Fate(place / "run", only(place.glob("outputs/*/*")), ends, status)


def test_torchrun_makes_one_folder(fate: Fate) -> None:
    assert json.loads((fate.spared / "summary.json").read_text())["status"] == "finished"


def test_signal_stops_all_ranks(fate: Fate) -> None:
    end = fate.ends[0]
    assert end.code == 143
    assert len(end.rates(0)) == len(end.rates(1)) == 5
    assert len(end.err.splitlines()) == 1, end.err
    assert f"resume={fate.folder}" in end.err
    assert fate.status[0] == "interrupted"


def test_a_process_that_is_killed_ends_the_others(fate: Fate) -> None:
    second, first = fate.ends[1:3]
    assert second.code == 1
    assert len(second.err.splitlines()) == 1, second.err
    assert "another process" in second.err
    assert f"resume={fate.folder}" in second.err
    assert fate.status[1] == "failed"
    assert first.code == -signal.SIGKILL
    assert "Traceback" not in first.err


def test_two_processes_go_on_exactly(fate: Fate) -> None:
    assert fate.ends[-1].code == 0, fate.ends[-1].err
    assert_equal(fate.folder, fate.spared)


def test_each_rank_has_random_numbers_of_its_own(fate: Fate) -> None:
    first, second = checkpoint(fate.folder)["random"]
    assert not torch.equal(first["torch"], second["torch"])
    again = checkpoint(fate.spared)["random"]
    assert torch.equal(first["torch"], again[0]["torch"])
    assert torch.equal(second["torch"], again[1]["torch"])


ALONE = ("trainer.devices=1", "trainer.strategy=auto")


def test_other_device_count_says_what_changes(fate: Fate, command_line: CommandLine) -> None:
    result = command_line(f"resume={fate.folder}", *ALONE)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    parts = ("trainer.devices 2 -> 1", "global batch 64 -> 32", "updates an epoch 8 -> 8", "order", "random numbers")
    assert all(part in result.err for part in (*parts, "weights_only")), result.err


def test_other_device_count_that_lightning_chose(fate: Fate, command_line: CommandLine, tmp_path: Path) -> None:
    """`devices=auto` is the same request on another machine, with another number of them."""
    folder = tmp_path / "copy"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    for name in ("checkpoints/last.ckpt", "plan.json", ".hydra/overrides.yaml"):
        content = (fate.spared / name).read_bytes()
        content = content.replace(b'"devices": 2', b'"devices": "auto"').replace(b"devices=2", b"devices=auto")
        (folder / name).write_bytes(content)
    result = command_line(f"resume={folder}")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert "on 2 devices" in result.err
    assert "global batch 64 -> 32" in result.err


def test_weights_of_two_processes_begin_a_run_of_one(fate: Fate, command_line: CommandLine, tmp_path: Path) -> None:
    asked = (*ALONE, "resume_plan=weights_only", "epochs=1", f"hydra.run.dir={tmp_path / 'begun'}")
    result = command_line(f"resume={fate.folder}", *asked)
    assert result.code == 0, result.err
    assert len(read_csv(tmp_path / "begun" / "metrics.csv")) == 8


def test_divergence_of_one_rank_stops_all(tmp_path: Path) -> None:
    """Rolled back once, at half the rate, and then it is enough."""
    rollback = ("on_nonfinite=rollback", "rollbacks=1", "checkpoint_every=3st", "scheduler=constant", "model=linear")
    folder = tmp_path / "run"
    end = run(
        tmp_path, *TWO, *rollback, "epochs=3", f"hydra.run.dir={folder}", faults={"1:5": "explodes", "1:12": "nan"}
    )
    assert end.code == 1
    assert end.rates(0) == end.rates(1) == [0.1] * 6 + [0.05] * 7
    assert end.out.count("rolling back (1 of 1)") == 1
    assert "train_loss is 1e+09 on rank 1 at update 5" in end.out
    assert len(end.err.splitlines()) == 1, end.err
    # The second attempt goes on from update 3, and seven steps later is in its update 9.
    assert "train_loss is nan on rank 1 at update 9" in end.err
    assert json.loads((folder / "summary.json").read_text())["status"] == "diverged"
    assert all(torch.isfinite(value).all() for value in checkpoint(folder)["state_dict"].values())


@pytest.mark.parametrize("whom", ["both", "first", "second", "second, by SIGKILL"])
def test_signal_before_the_processes_have_met(whom: str, tmp_path: Path) -> None:
    """The first one waits in torch for the second one."""
    killed = whom.endswith("SIGKILL")
    process = start(tmp_path, begin, *TWO, waits=True)
    told = [tmp_path / "told.0", tmp_path / "told.1"]
    until = time.monotonic() + SECONDS
    while not all(path.exists() and "meets" in path.read_text() for path in told):
        assert time.monotonic() < until, ended(process, tmp_path)
        time.sleep(0.05)
    if whom == "both":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        pid = json.loads(told[whom.startswith("second")].read_text().splitlines()[0])["pid"]
        os.kill(pid, signal.SIGKILL if killed else signal.SIGTERM)
    end = ended(process, tmp_path)
    assert end.code == (1 if killed else 143)
    assert len(end.err.splitlines()) == 1, end.err
    assert ("another process" if killed else "before there was anything to save") in end.err
    assert not (tmp_path / "outputs").exists()


def test_torchrun_with_other_devices_is_refused(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    result = command_line("trainer=cpu")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1, result.err
    assert "2 processes" in result.err
    assert "trainer.devices" in result.err
