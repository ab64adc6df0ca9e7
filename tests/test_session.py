"""A run as one thing in this process: it can be held, paused and repeated, and leaves the process as it was."""

from __future__ import annotations

import logging
import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Train, read_csv, settings_of
from lightning.pytorch.plugins.io import TorchCheckpointIO
from resuming import assert_equal, leaves

from lrtrain.errors import RequestError
from lrtrain.run_folder.claim import Claim
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary
from lrtrain.training import saved
from lrtrain.training.module import Supervised
from lrtrain.training.run import run_in
from lrtrain.training.session import Session

ASKED = (*SMALL, "epochs=3", "scheduler=cosine", "trainer.enable_progress_bar=false")
LENGTH = 4


def ignore(_: str) -> None:
    """Nothing is to be printed."""


def state_of_process() -> dict[str, Any]:
    root = logging.getLogger()
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": dict(os.environ),
        "handlers": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)],
        "loggers": [root.handlers[:], root.level, logging.getLogger("lightning.pytorch").level],
        "raises": logging.raiseExceptions,
        "warnings": warnings.filters[:],
        "folder": Path.cwd(),
    }


@pytest.mark.parametrize(
    "words",
    [(), ("trainer.deterministic=true", "threads=1"), ("trainer.precision=64-true",), ("lr=1e30",)],
    ids=["plain", "deterministic", "double precision", "diverged"],
)
def test_process_is_left_as_it_was(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(2)
    before = state_of_process()
    summary = run_in(settings_of(*ASKED, *words), tmp_path / "run", say=ignore)
    assert summary.status == ("diverged" if "lr=1e30" in words else "finished")
    after = state_of_process()
    assert {name for name in before if before[name] != after[name]} == set()
    torch.set_num_threads(1)


def test_same_run_again_is_the_same(tmp_path: Path) -> None:
    settings = settings_of(*ASKED)
    for name in ("one", "other"):
        torch.rand(3)  # what happened before is nothing to a run
        run_in(settings, tmp_path / name, say=ignore)
    assert_equal(tmp_path / "one", tmp_path / "other")


def test_every_outcome_is_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the machine is on fire")

    def terminate(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    found = [run_in(settings_of(*ASKED), tmp_path / "0", say=ignore)]
    found.append(run_in(settings_of(*ASKED, "lr=1e30"), tmp_path / "1", say=ignore))
    for number, act in ((2, fail), (3, terminate)):
        with monkeypatch.context() as patched:
            patched.setattr(Supervised, "on_validation_epoch_end", act)
            found.append(run_in(settings_of(*ASKED), tmp_path / str(number), say=ignore))
    ends = [("finished", "end"), ("diverged", "error"), ("failed", "error"), ("interrupted", "SIGINT")]
    assert [(summary.status, summary.ended_by) for summary in found] == ends
    for number, summary in enumerate(found):
        assert read_summary(tmp_path / str(number) / "summary.json") == summary
    assert found[2].error == "the machine is on fire"
    assert "Traceback" in (tmp_path / "2" / "lrtrain.log").read_text()


def test_what_cannot_begin_raises_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="shrinks inputs"):
        run_in(settings_of("model=cnn", "model.channels=[8,8,8,8]"), tmp_path / "a" / "run", say=ignore)
    assert list(tmp_path.iterdir()) == []


def test_folder_is_ours_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[str] = []

    def second(*_: Any) -> None:
        with pytest.raises(RequestError) as refused:
            run_in(settings_of(*ASKED), tmp_path / "run", say=ignore)
        refusals.append(str(refused.value))

    monkeypatch.setattr(Claim.take.__func__, "__defaults__", (0.0,))  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "on_validation_epoch_end", second)
        run_in(settings_of(*ASKED, "epochs=1"), tmp_path / "run", say=ignore)
    assert f"as process {os.getpid()} on" in refusals[0]
    monkeypatch.undo()
    Claim.take(tmp_path / "run").abandon()


@pytest.mark.parametrize("until", ["1ep", "6st", "50%", "1st"])
def test_pauses_and_goes_on_as_if_it_had_not(until: str, tmp_path: Path) -> None:
    settings = settings_of(*ASKED)
    run_in(settings, tmp_path / "whole", say=ignore)
    session = Session.open(settings, RunFolder(tmp_path / "paused"), say=ignore)
    assert session.fit(until=until).status == "paused"
    rows = read_csv(tmp_path / "whole" / "metrics.csv")
    done = {"1ep": 4, "6st": 6, "50%": 6, "1st": 1}[until]
    assert torch.load(session.folder.last_checkpoint, weights_only=True)["lr_schedulers"][0]["step"] == done
    assert read_csv(session.folder.metrics) == rows[:done][: len(read_csv(session.folder.metrics))]
    ended = session.fit()
    assert (ended.status, ended.by) == ("finished", "end")
    session.conclude(ended)
    assert_equal(tmp_path / "paused", tmp_path / "whole")


def test_pauses_again_and_again(tmp_path: Path) -> None:
    settings = settings_of(*ASKED)
    run_in(settings, tmp_path / "whole", say=ignore)
    session = Session.open(settings, RunFolder(tmp_path / "paused"), say=ignore)
    found = [session.fit(until=f"{step}st").status for step in (2, 5, 8, 11)]
    assert found == ["paused"] * 4
    session.conclude(session.fit())
    assert leaves(tmp_path / "paused").metrics == leaves(tmp_path / "whole").metrics


@pytest.mark.parametrize(
    ("length", "updates", "validated"),
    [("6st", 6, [3, 5]), ("3st", 3, [2]), ("8st", 8, [3, 7]), ("1st", 1, [0]), ("9st", 9, [3, 7, 8])],
)
def test_length_in_updates(length: str, updates: int, validated: list[int], tmp_path: Path) -> None:
    """The curve has its end there, and the weights after the last update are measured."""
    summary = run_in(settings_of(*ASKED, f"epochs={length}"), tmp_path / "run", say=ignore)
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert (summary.status, summary.steps, summary.epochs) == ("finished", updates, updates / LENGTH)
    assert [int(row["step"]) for row in rows] == list(range(updates))
    assert [int(row["step"]) for row in rows if row["val_loss"]] == validated
    assert [float(row["lr"]) for row in rows] == pytest.approx(
        [0.05 * (1 + np.cos(np.pi * step / updates)) for step in range(updates)], rel=1e-12
    )
    assert summary.final["val_loss"] == float(rows[-1]["val_loss"])
    assert summary.config["epochs"] == length


def test_same_length_in_updates_and_in_epochs(tmp_path: Path) -> None:
    for length in ("3", "12st"):
        run_in(settings_of(*ASKED, f"epochs={length}"), tmp_path / length, say=ignore)
    assert leaves(tmp_path / "3").metrics == leaves(tmp_path / "12st").metrics


def test_a_run_that_goes_on_reads_its_checkpoint_once(
    train: Train, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(*SMALL, "epochs=1").folder
    read: list[str] = []
    own, theirs = saved._read, TorchCheckpointIO.load_checkpoint

    def reading(path: Path) -> Any:
        read.append(path.name)
        return own(path)

    def again(*given: Any, **named: Any) -> Any:
        read.append("again")
        return theirs(*given, **named)

    monkeypatch.setattr(saved, "_read", reading)
    monkeypatch.setattr(TorchCheckpointIO, "load_checkpoint", again)
    assert command_line(f"resume={folder}", "epochs=2", "resume_plan=keep").code == 0
    assert read.count("last.ckpt") == 1
    assert "again" not in read
