"""What a run leaves behind is always a complete version."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import pytest
from conftest import read_csv

from lrtrain.run_folder.claim import Claim
from lrtrain.run_folder.files import Table, read_table, write_bytes, write_text
from lrtrain.run_folder.find import find_checkpoint, find_run, state_of
from lrtrain.run_folder.folder import SWEEP, RunFolder
from lrtrain.run_folder.summary import Summary, read_summary
from lrtrain.run_folder.sweep_folder import PlannedJob, SweepFolder


def test_text_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file.txt"
    write_text(file, "old")
    write_text(file, "nëw\n")
    assert file.read_bytes() == "nëw\n".encode()
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_failing_write_keeps_the_old_version(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.txt"
    file.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[broken], fail)
    with pytest.raises(OSError, match="no space left"):
        write_bytes(file, b"new and longer")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file], "scratch file left"


def test_interrupted_write_keeps_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.txt"
    file.write_text("old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text(file, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_summary_is_strict_json(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).summary
    values = {"a": math.nan, "b": [1, math.inf, (2.5, -math.inf)], "c": {"d": Path("x"), "e": True}}
    Summary(status="finished", final=values, extra={"own": values}).write(path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    plain = {"a": None, "b": [1, None, [2.5, None]], "c": {"d": "x", "e": True}}
    written = json.loads(path.read_text(), parse_constant=refuse)
    assert written["final"] == written["own"] == plain
    found = read_summary(path)
    assert (found.final, found.extra) == (plain, {"own": plain})


def test_no_summary(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_summary(RunFolder(tmp_path).summary)


def test_the_last_run(tmp_path: Path) -> None:
    """The newest that nobody runs and that is no job of a sweep goes on; the newest of all is measured."""
    for age, name in enumerate(("sweep/0_seed=0", "live", "ended", "older")):
        checkpoint = RunFolder(tmp_path / name).last_checkpoint
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        os.utime(checkpoint, (1e9 - age, 1e9 - age))
    (tmp_path / "sweep" / SWEEP).write_text("{}")
    claim = Claim.take(tmp_path / "live")
    assert find_run("last", tmp_path).path == tmp_path / "ended"
    claim.abandon()
    assert find_run("last", tmp_path).path == tmp_path / "live"
    assert find_checkpoint("last", tmp_path) == RunFolder(tmp_path / "sweep" / "0_seed=0").last_checkpoint


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_a_finished_run_that_is_killed_as_it_goes_on_is_interrupted(tmp_path: Path) -> None:
    """One that is killed before its first update is still waiting for it."""
    begun, waiting = RunFolder(tmp_path / "begun"), RunFolder(tmp_path / "waiting")
    Summary(status="finished").write(begun.summary)
    assert state_of(begun) == "finished"
    for folder in (begun, begun, waiting):
        if not (child := os.fork()):
            try:
                Claim.take(folder.path)
            finally:
                os._exit(0)  # as if it were killed
        os.waitpid(child, 0)
    assert (state_of(begun), state_of(waiting)) == ("interrupted", "waiting")
    jobs = [SweepFolder(tmp_path).look(PlannedJob(0, name, ())) for name in ("begun", "waiting", "not there")]
    assert [(job.state, job.attempts) for job in jobs] == [("interrupted", 2), ("waiting", 1), ("waiting", 0)]


def test_the_best_job_of_a_sweep_has_come_to_its_end(tmp_path: Path) -> None:
    """Not one that was pruned, whatever its metric was by then."""
    (tmp_path / SWEEP).write_text("{}")
    (tmp_path / "summary.csv").write_text("job,name,status\n1,1_lr=2,pruned\n0,0_lr=1,finished\n")
    for name in ("0_lr=1", "1_lr=2"):
        RunFolder(tmp_path / name).best_checkpoint.parent.mkdir(parents=True)
        RunFolder(tmp_path / name).best_checkpoint.touch()
    assert find_checkpoint(str(tmp_path)) == RunFolder(tmp_path / "0_lr=1").best_checkpoint


def test_table_grows_by_whole_rows_of_full_precision(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    table = Table(path, ("step", "lr", "val_loss"))
    table.add({"step": 0, "lr": 0.1 / 3})
    written_before_closing = read_csv(path)
    table.add({"step": 1, "lr": 5e-324, "val_loss": 1.5})
    table.close()
    assert written_before_closing == [{"step": "0", "lr": repr(0.1 / 3), "val_loss": ""}]
    assert read_table(path) == read_csv(path)
    assert [float(row["lr"]) for row in read_csv(path)] == [0.1 / 3, 5e-324]


def test_table_refuses_unknown_columns(tmp_path: Path) -> None:
    table = Table(tmp_path / "table.csv", ("step",))
    with pytest.raises(ValueError, match="val_los"):
        table.add({"step": 0, "val_los": 1.0})
    table.close()
    assert read_csv(tmp_path / "table.csv") == []
