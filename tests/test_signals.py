"""A signal ends a run within a step: the documented exit code, and a checkpoint from which it goes on exactly."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, Result, Train, fork, run_line
from resuming import Stop, assert_equal, terminate
from torch import Tensor

from lrtrain import __main__ as program
from lrtrain.errors import InterruptedRunError
from lrtrain.process import signals
from lrtrain.process.imports import import_large
from lrtrain.run_folder.summary import Summary
from lrtrain.sweeps.previews import overlay_jobs
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.module import Supervised

CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 138}
ASKED = (*SMALL, "epochs=3", "scheduler=cosine", "trainer.enable_progress_bar=false")


def wait_in_sixth_step(number: int) -> int:
    """The command line, waiting in its sixth step; the signal comes again just before and after it saves, and last."""
    seen, training_step, save_last = [0], Supervised.training_step, LastAndBest.save_last

    def signalled(module: Supervised, batch: Any, batch_idx: int) -> Tensor:
        seen[0] += 1
        if seen[0] == 6:
            print("in the sixth step", flush=True)
            sys.stdin.readline()
        return training_step(module, batch, batch_idx)

    def signalled_again(checkpoints: LastAndBest, trainer: Any) -> None:
        os.kill(os.getpid(), number)
        save_last(checkpoints, trainer)
        os.kill(os.getpid(), number)

    Supervised.training_step, LastAndBest.save_last = signalled, signalled_again  # type: ignore[method-assign, assignment]
    code = program.main()
    os.kill(os.getpid(), number)
    return code


def start(cwd: Path, *command: str) -> subprocess.Popen[str]:
    """Run Python in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"},
        cwd=cwd,
        start_new_session=True,
    )


def wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout
    while process.stdout.readline() != f"{line}\n":
        assert process.poll() is None


def ended(process: subprocess.Popen[str], said: str = "go on\n") -> Result:
    """Wait for all processes that it started: the pipes are closed when the last one has ended."""
    try:
        out, err = process.communicate(said, timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"some process had not ended: {process.communicate()}")
    return Result(process.returncode, out, err)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that no signal ended."""
    folder = tmp_path_factory.mktemp("expected")
    assert run_line(folder, *ASKED, "hydra.run.dir=run").code == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("name", "workers"), [("SIGTERM", 2), ("SIGINT", 2), ("SIGUSR1", 0)], ids=["SIGTERM", "SIGINT", "SIGUSR1"]
)
def test_signal(name: str, workers: int, expected: Path, command_line: CommandLine, tmp_path: Path) -> None:
    """Sent to all processes of the command, as by a terminal, `kill` and SLURM: its workers too."""
    folder, number = tmp_path / "signalled", int(getattr(signal, name))
    asked = (*ASKED, f"workers={workers}", "checkpoint_every=5ep", f"hydra.run.dir={folder}")
    process = fork(partial(wait_in_sixth_step, number), tmp_path, "lrtrain", *asked)
    wait_for("in the sixth step", process)
    os.killpg(process.pid, number)
    code, _, err = ended(process)
    assert code == CODES[name], err
    assert len(err.splitlines()) == 1, err
    assert "resume=" in err
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("interrupted", 6)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["step"] == 6
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(folder, expected, same_words=False)  # workers and rare checkpoints change nothing


def test_handlers_are_ours_in_between_and_given_back(train: Train, stop: Stop) -> None:
    """Lightning's would exit with 0, and in a distributed run wait for the other ranks inside the handler."""

    def look(module: Supervised) -> None:
        during.append([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)])

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    during: list[list[Any]] = []
    stop(2, look)
    train(*ASKED)
    assert [handler.__module__ for handler in during[0]] == ["lrtrain.process.signals"] * 3
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


@pytest.mark.parametrize(
    ("test", "name"), [(1, "SIGTERM"), (2, "SIGINT"), (2, "SIGUSR1")], ids=["final weights", "best weights", "SIGUSR1"]
)
def test_signal_in_the_test(
    test: int, name: str, train: Train, trained: Train, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first validation is called the best here, so that the best weights are not the final ones."""
    seen, asked = [0], (*ASKED, "monitor_mode=max")
    expected = trained(*asked).folder

    test_step = Supervised.test_step

    def signalled(*arguments: Any) -> None:
        seen[0] += 1
        if seen[0] == test:
            os.kill(os.getpid(), getattr(signal, name))
            pytest.fail("the signal came too late")
        test_step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "test_step", signalled)
        run = train(*asked, code=CODES[name])
    assert len(run.result.err.splitlines()) == 1, run.result.err
    assert f"resume={run.folder}" in run.result.err
    assert (run.summary["status"], run.summary["steps"]) == ("interrupted", 12)
    resumed = command_line(f"resume={run.folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(run.folder, expected)


@pytest.mark.parametrize("name", CODES)
def test_signal_while_the_program_is_imported(name: str, tmp_path: Path) -> None:
    (tmp_path / "hydra.py").write_text("import sys\nprint('importing', flush=True)\nsys.stdin.readline()\n")
    process = start(tmp_path, "-m", "lrtrain", *ASKED)
    wait_for("importing", process)
    process.send_signal(getattr(signal, name))
    code, _, err = ended(process, "")
    assert code == CODES[name], err
    assert len(err.splitlines()) == 1, err
    assert "before there was anything to save" in err


IMPORTING = """
import importlib, os, signal, sys
from lrtrain.__main__ import main

import_module = importlib.import_module

def signalled(name, package=None):
    if name == "lrtrain.training.run":
        os.kill(os.getpid(), signal.SIGTERM)
    return import_module(name, package)

importlib.import_module = signalled
sys.exit(main())
"""
"""The command line, with a signal while torch and Lightning are imported; torch logs when the process ends."""


def test_signal_while_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("")  # so that the folder stays
    code, _, err = ended(start(tmp_path, "-c", IMPORTING, *ASKED, "hydra.run.dir=run"))
    assert code == 143, err
    assert len(err.splitlines()) == 1, err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["precious"]


def test_an_import_is_not_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cut_short.py").write_text("import os\nos.kill(os.getpid(), 15)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with signals.taken_over():
        with pytest.raises(InterruptedRunError):
            import_large("cut_short")
        assert sys.modules.pop("cut_short").whole


@pytest.mark.parametrize("moment", ["lrtrain.training.run._train", "lrtrain.training.session.build_data"])
def test_signal_that_becomes_another_error(
    moment: str, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the middle of an import, which goes on with half a module."""

    def cut_short(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except InterruptedRunError:
            raise AttributeError("module 'numpy._core' has no attribute 'multiarray'") from None

    monkeypatch.setattr(moment, cut_short)
    result = command_line(*ASKED)
    assert result.code == 143
    assert len(result.err.splitlines()) == 1, result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CODES)
def test_signal_when_all_is_done(name: str, tmp_path: Path) -> None:
    def run() -> int:
        code = program.main()
        os.kill(os.getpid(), getattr(signal, name))
        return code

    code, _, err = ended(fork(run, tmp_path, "lrtrain", "--help"))
    assert (code, err) == (0, "")


def _await_signal(connection: Any) -> None:
    connection.recv()
    signals.left_to_parent()
    os.kill(os.getpid(), signal.SIGINT)
    connection.send("still here")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="has no masks")
def test_no_signal_ends_a_worker_while_it_begins() -> None:
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=_await_signal, args=(theirs,))
    with signals.held():
        worker.start()
    assert worker.pid
    os.kill(worker.pid, signal.SIGTERM)
    ours.send("go on")
    assert ours.poll(60)
    assert ours.recv() == "still here"
    worker.join()
    assert worker.exitcode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    asked = (*ASKED, "workers=2", "checkpoint_every=5ep")
    process = fork(partial(wait_in_sixth_step, 15), tmp_path, "lrtrain", *asked)
    wait_for("in the sixth step", process)
    process.kill()
    assert ended(process).code == -signal.SIGKILL


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("lrtrain.cli.request.read_settings", "SIGTERM"),
        ("lrtrain.training.run._train", "SIGINT"),
        ("lrtrain.training.session.build_data", "SIGUSR1"),
        ("configure_optimizers", "SIGTERM"),
    ],
)
def test_signal_before_training(
    moment: str, name: str, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*_: object) -> None:
        os.kill(os.getpid(), getattr(signal, name))
        pytest.fail("the signal came too late")

    target = moment if "." in moment else f"lrtrain.training.module.Supervised.{moment}"
    monkeypatch.setattr(target, signalled)
    result = command_line(*ASKED)
    assert result.code == CODES[name]
    assert len(result.err.splitlines()) == 1, result.err
    assert "before there was anything to save" in result.err
    assert list(tmp_path.iterdir()) == []


def test_signal_ends_a_sweep(command_line: CommandLine, stop: Stop, tmp_path: Path) -> None:
    stop(5, terminate)
    result = command_line("-m", "seed=0,1,2", *ASKED, "hydra.sweep.dir=sweep")
    assert result.code == 143
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == ["0_seed=0"]
    assert json.loads((tmp_path / "sweep" / "0_seed=0" / "summary.json").read_text())["status"] == "interrupted"
    view = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [job["state"] for job in view["jobs"]] == ["interrupted", "waiting", "waiting"]
    assert (tmp_path / "sweep" / "summary.csv").exists()


def test_signal_while_a_job_is_written_down(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That job is complete, and the next one does not begin."""

    def signalled(_: Any, outcome: Summary, *others: Any) -> Summary:
        os.kill(os.getpid(), signal.SIGTERM)
        return outcome

    monkeypatch.setattr("lrtrain.sweeps.worker.keep", signalled)
    result = command_line("-m", "seed=0,1", *ASKED, "hydra.sweep.dir=sweep")
    assert result.code == 143
    assert len(result.err.splitlines()) == 1, result.err
    assert json.loads((tmp_path / "sweep" / "0_seed=0" / "summary.json").read_text())["status"] == "finished"
    assert not (tmp_path / "sweep" / "1_seed=1" / "summary.json").exists()


def test_signal_while_a_sweep_is_summarised(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        overlay_jobs(*arguments)

    monkeypatch.setattr("lrtrain.sweeps.previews.overlay_jobs", signalled)
    result = command_line("-m", "task=preview", "scheduler=step,cosine", "hydra.sweep.dir=sweep")
    assert (result.code, result.err) == (0, "")
    assert len((tmp_path / "sweep" / "summary.csv").read_text().splitlines()) == 3
