"""The folder of a run: its name, what was asked for in it, and that it holds one run only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, CommandLine, Train
from omegaconf import OmegaConf
from resuming import (
    assert_equal,
    fail,
    refused,
    snapshot,
)


def test_folder_of_any_name(stopped: Callable[..., Path], command_line: CommandLine, tmp_path: Path) -> None:
    for name in ("a\\b", "it's", "ends with \\", "a=b, [c] {d}", "$x $(y)"):
        folder = stopped(*SMALL, "epochs=2", batch=5)
        (tmp_path / "outputs").mkdir(exist_ok=True)
        moved = folder.rename(tmp_path / "outputs" / name)
        resumed = command_line("resume=last")
        assert resumed.code == 0, f"{name}: {resumed.err}"
        assert json.loads((moved / "summary.json").read_text())["status"] == "finished", name
        shutil.rmtree(moved)


def test_folder_of_a_name_that_hydra_would_interpolate(
    stopped: Callable[..., Path], trained: Train, command_line: CommandLine, tmp_path: Path
) -> None:
    folder = stopped(*SMALL, "epochs=2", batch=5)
    moved = folder.rename(tmp_path / "${now:x}")
    assert command_line(f"resume={moved}").code == 0
    assert_equal(moved, trained(*SMALL, "epochs=2").folder)


def test_what_was_asked_for_is_found_beside_other_files(
    stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "epochs=3", batch=5)
    for name in ("resumed_1", "resumed_1 copy"):  # a kill left the first empty
        (folder / ".hydra" / name).mkdir()
        (folder / ".hydra" / name / "overrides.yaml").write_text("")
    assert command_line(f"resume={folder}").code == 0


def test_what_was_asked_for_is_kept(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "epochs=3", batch=5)
    before = {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir()}
    assert command_line(f"resume={folder}", "epochs=4", "resume_plan=keep").code == 0
    after = {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir() if path.is_file()}
    assert after == before
    added = [str(item) for item in OmegaConf.load(folder / ".hydra" / "resumed_1" / "overrides.yaml")]
    assert {"epochs=4", "resume_plan=keep"} <= set(added)
    config = OmegaConf.load(folder / ".hydra" / "resumed_1" / "config.yaml")
    assert (config.epochs, config.scheduler, config.model.name) == (4, "linear", "linear")
    assert json.loads((folder / "summary.json").read_text())["config"]["epochs"] == 4


@pytest.mark.parametrize("ended", [True, False], ids=["finished", "interrupted"])
def test_folder_that_holds_a_run(
    ended: bool, trained: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    """Neither its curves nor what was asked for are mixed with those of another run."""
    folder = trained(*SMALL, "epochs=2").folder if ended else stopped(*SMALL, "epochs=2", batch=2)
    before = snapshot(folder)
    again = (*SMALL, "lr=0.01", f"hydra.run.dir={folder}")
    refused(command_line(*again), f"{folder} already contains a run", "resume=", "another hydra.run.dir")
    refused(command_line(*again, f"resume={folder}", "resume_plan=weights_only"), "another hydra.run.dir")
    assert snapshot(folder) == before


def test_folder_of_a_run_without_a_checkpoint(
    train: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    """There is nothing to go on with, and nothing of it is left in the run that begins there."""
    asked = (*SMALL, "epochs=3", "checkpoint_every=100st", "trainer.enable_progress_bar=false")
    folder = stopped(*asked, "lr=1e-3", batch=6, act=fail)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["best.ckpt"]
    begun = command_line(*asked, f"hydra.run.dir={folder}")
    assert begun.code == 0, begun.err
    assert_equal(folder, train(*asked).folder)


def test_folder_of_a_preview_is_trained_in(train: Train, command_line: CommandLine, tmp_path: Path) -> None:
    place = f"hydra.run.dir={tmp_path / 'run0'}"
    assert command_line(*SMALL, "task=preview", "epochs=2", place).code == 0
    assert command_line(*SMALL, "epochs=2", place).code == 0


def test_sweep_where_there_is_one(command_line: CommandLine, tmp_path: Path) -> None:
    sweep = ("-m", *SMALL, "epochs=1", "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert command_line(*sweep).code == 0
    tables = {path: path.read_bytes() for path in tmp_path.glob("sweep/*/metrics.csv")}
    assert len(tables) == 2
    refused(command_line(*sweep), "already contains a sweep", "another hydra.sweep.dir")
    assert {path: path.read_bytes() for path in tables} == tables
