"""What is said to be the best of a resumed run is in the file of the best weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL, CommandLine, Train, read_csv
from resuming import (
    SHORT,
    assert_equal,
    checkpoint,
    fail,
    refused,
    truncate,
    unfinished,
)


def worse(folder: Path) -> tuple[str, ...]:
    """What a run is resumed with so that it ends worse than it was."""
    return (f"resume={folder}", "lr=30", "scheduler=constant", "resume_plan=switch")


def assert_best_agrees(folder: Path) -> None:
    """The summary, the file of the best weights and the table say the same."""
    best, saved = json.loads((folder / "summary.json").read_text())["best"], checkpoint(folder, "best")
    assert saved["lr_schedulers"][0]["step"] == best["step"]
    row = read_csv(folder / "metrics.csv")[int(best["step"]) - 1]
    assert float(row["val_loss"]) == best["val_loss"]
    assert not (folder / "checkpoints" / "best_of_last.ckpt").exists()


@pytest.mark.parametrize(("every", "batch"), [("11st", 31), ("21st", 41)])
def test_best_of_a_future_that_is_abandoned(
    every: str, batch: int, train: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    """The run had better weights after its last checkpoint, once or more often, than it will have again."""
    asked = (*SHORT, "model=linear", "epochs=5", f"checkpoint_every={every}")
    folder = stopped(*asked, batch=batch, act=fail)
    last = checkpoint(folder)
    assert checkpoint(folder, "best")["lr_schedulers"][0]["step"] > last["lr_schedulers"][0]["step"]
    assert command_line(*worse(folder)).code == 0
    assert_best_agrees(folder)
    losses = [float(row["val_loss"]) for row in read_csv(folder / "metrics.csv") if row["val_loss"]]
    assert json.loads((folder / "summary.json").read_text())["best"]["val_loss"] == min(losses)
    # The other way, it is as if nothing had happened.
    folder = stopped(*asked, batch=batch, act=fail)
    assert command_line(f"resume={folder}").code == 0
    expected = train(*asked).folder
    assert_equal(folder, expected)
    ours, theirs = (checkpoint(run, "best")["state_dict"] for run in (folder, expected))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_best_of_a_damaged_last_checkpoint(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    """The best of the one before is gone: that of the file counts."""
    folder = stopped(*SHORT, "model=linear", "epochs=5", "checkpoint_every=11st", batch=35, act=fail)
    truncate(folder / "checkpoints" / "last.ckpt")
    assert command_line(*worse(folder)).code == 0
    best, saved = json.loads((folder / "summary.json").read_text())["best"], checkpoint(folder, "best")
    assert saved["lr_schedulers"][0]["step"] == best["step"]
    assert saved["callbacks"]["LastAndBest"]["best"] == {
        name: best[name] for name in ("epoch", "step", "val_loss", "val_acc")
    }


@pytest.mark.parametrize("remove", [Path.unlink, truncate], ids=["deleted", "damaged"])
def test_best_that_is_gone(
    remove: Callable[[Path], None], stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    """A run that will not be as good again has the best of what it measures."""
    folder = stopped(*SHORT, "model=linear", batch=25)
    remove(folder / "checkpoints" / "best.ckpt")
    resumed = command_line(*worse(folder))
    assert resumed.code == 0, resumed.err
    assert "best-checkpoint tracking restarts" in resumed.out
    assert_best_agrees(folder)


def test_best_that_is_gone_when_all_is_done(trained: Train, command_line: CommandLine) -> None:
    folder = unfinished(trained(*SMALL, "epochs=2").folder)
    (folder / "checkpoints" / "best.ckpt").unlink()
    refused(command_line(f"resume={folder}"), "no update is left", "epochs")
    assert command_line(f"resume={folder}", "epochs=3", "resume_plan=keep").code == 0
    assert_best_agrees(folder)
