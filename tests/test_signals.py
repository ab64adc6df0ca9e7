"""A signal ends a run within a step: the documented exit code, and a checkpoint from which it goes on exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, Train
from test_resume import Stop, assert_equal, stop, terminate

from lrtrain.training.module import Classifier

__all__ = ["stop"]

CODES = {"SIGTERM": 143, "SIGINT": 130, "SIGUSR1": 138}
ASKED = (*SMALL, "epochs=3", "scheduler=cosine", "trainer.enable_progress_bar=false")

RUN = """
import os, sys
from lrtrain.__main__ import main
from lrtrain.training.checkpoints import LastAndBest
from lrtrain.training.module import Classifier

number, seen, training_step, save_last = int(sys.argv.pop(1)), [0], Classifier.training_step, LastAndBest.save_last

def signalled(module, batch, batch_idx):
    seen[0] += 1
    if seen[0] == 6:
        print("in the sixth step", flush=True)
        sys.stdin.readline()
    return training_step(module, batch, batch_idx)

def signalled_again(checkpoints, trainer):
    os.kill(os.getpid(), number)
    save_last(checkpoints, trainer)
    os.kill(os.getpid(), number)

Classifier.training_step, LastAndBest.save_last = signalled, signalled_again
sys.exit(main())
"""
"""The command line, waiting in its sixth step; the signal comes again just before and just after it saves."""


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_signal(name: str, code: int, train: Train, command_line: CommandLine, tmp_path: Path) -> None:
    folder, number = tmp_path / "signalled", getattr(signal, name)
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(int(number)), *ASKED, "checkpoint_every=5ep", f"hydra.run.dir={folder}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout
    while process.stdout.readline() != "in the sixth step\n":
        assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate("go on\n")
    assert process.returncode == code, err
    assert len(err.splitlines()) == 1, err
    assert "resume=" in err
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("interrupted", 6)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["step"] == 6
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(folder, train(*ASKED).folder)


def test_handlers_are_ours_in_between_and_given_back(train: Train, stop: Stop) -> None:
    """Lightning's would exit with 0, and in a distributed run wait for the other ranks inside the handler."""

    def look(module: Classifier) -> None:
        during.append([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)])

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    during: list[list[Any]] = []
    stop(2, look)
    train(*ASKED)
    assert [handler.__module__ for handler in during[0]] == ["lrtrain.signals"] * 3
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("test", [1, 2], ids=["final weights", "best weights"])
def test_signal_in_the_test(
    test: int, name: str, train: Train, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, seen = train(*ASKED).folder, [0]

    test_step = Classifier.test_step

    def signalled(*arguments: Any) -> None:
        seen[0] += 1
        if seen[0] == test:
            os.kill(os.getpid(), getattr(signal, name))
            pytest.fail("the signal came too late")
        test_step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "test_step", signalled)
        run = train(*ASKED, code=CODES[name])
    assert len(run.result.err.splitlines()) == 1, run.result.err
    assert f"resume={run.folder}" in run.result.err
    assert (run.summary["status"], run.summary["steps"]) == ("interrupted", 12)
    resumed = command_line(f"resume={run.folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(run.folder, expected)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    "moment", ["lrtrain.__main__.check_request", "lrtrain.tasks.run", "lrtrain.build.data", "configure_optimizers"]
)
def test_signal_before_training(
    moment: str, name: str, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*_: object) -> None:
        os.kill(os.getpid(), getattr(signal, name))
        pytest.fail("the signal came too late")

    target = moment if "." in moment else f"lrtrain.training.module.Classifier.{moment}"
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
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == ["0"]
    assert json.loads((tmp_path / "sweep" / "0" / "summary.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "sweep" / "summary.csv").exists()
