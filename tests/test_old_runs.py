"""Folders that an earlier version of lrtrain has left: read, resumed, and measured as ever.

They were stopped by SIGTERM in mid-run; beside each is the metrics.csv of the same run left alone by that version.
Weights are not the same to the last bit on every processor, so only the rates are compared exactly.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import CommandLine, read_csv

from lrtrain.run_folder.summary import FORMAT, read_summary

OLD = Path(__file__).parent / "old_runs"
STOPPED = ("plain", "plateau", "groups", "changed")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


@pytest.mark.parametrize("name", STOPPED)
def test_goes_on(name: str, old: Path, command_line: CommandLine) -> None:
    resumed = command_line(f"resume={old / name}")
    assert resumed.code == 0, resumed.err
    rows, expected = read_csv(old / name / "metrics.csv"), read_csv(old / f"{name}.csv")
    assert set(rows[0]) >= set(expected[0])
    for row, other in zip(rows, expected, strict=True):
        for column, value in other.items():
            if column in ("step", "epoch") or column.startswith("lr") or not value:
                assert row[column] == value
            else:
                assert float(row[column]) == pytest.approx(float(value), rel=1e-4)
    summary = json.loads((old / name / "summary.json").read_text())
    assert (summary["format"], summary["status"], summary["ended_by"]) == (FORMAT, "finished", "end")


def test_finished_run_is_left_alone(old: Path, command_line: CommandLine) -> None:
    resumed = command_line(f"resume={old / 'finished'}")
    assert (resumed.code, resumed.err) == (0, "")
    assert "already finished" in resumed.out


def test_defaults_of_that_time_stay(old: Path, command_line: CommandLine) -> None:
    """Nobody had said a factor or a patience: they are those that the run has had, whatever they are today."""
    stored = json.loads((old / "plateau" / "plan.json").read_text())
    stored[0]["config"] |= {"factor": 0.25, "patience": 7}
    (old / "plateau" / "plan.json").write_text(json.dumps(stored))
    resumed = command_line(f"resume={old / 'plateau'}")
    assert resumed.code == 0, resumed.err
    config = json.loads((old / "plateau" / "summary.json").read_text())["config"]
    assert (config["factor"], config["patience"]) == (0.25, 7)


def test_setting_that_is_newer_than_the_folder(old: Path, command_line: CommandLine) -> None:
    stored = json.loads((old / "plain" / "plan.json").read_text())
    del stored[0]["config"]["layer_decay"], stored[0]["config"]["trainer"]["deterministic"]
    stored[0]["config"]["of_long_ago"] = 3
    (old / "plain" / "plan.json").write_text(json.dumps(stored))
    assert command_line(f"resume={old / 'plain'}").code == 0


def test_summary_of_that_time() -> None:
    summary = read_summary(OLD / "finished" / "summary.json")
    assert (summary.status, summary.ended_by, summary.task) == ("finished", "end", "train")
    assert summary.final["test_acc"] > 0.5
    assert read_summary(OLD / "plain" / "summary.json").ended_by is None


def test_is_measured(old: Path, command_line: CommandLine) -> None:
    measured = command_line("task=evaluate", f"checkpoint={old / 'finished'}")
    assert measured.code == 0, measured.err
    assert f"accuracy {read_summary(OLD / 'finished' / 'summary.json').best['test_acc']:.4f}" in measured.out


@pytest.mark.parametrize("file", ["plan.json", "summary.json"])
def test_file_of_a_newer_version(file: str, old: Path, command_line: CommandLine) -> None:
    content = {"format": 99, "segments": [], "status": "finished"}
    (old / "plain" / file).write_text(json.dumps(content))
    if file == "plan.json":
        refused = command_line(f"resume={old / 'plain'}")
        assert refused.code == 2
        assert "newer lrtrain" in refused.err
    else:
        with pytest.raises(ValueError, match="newer lrtrain"):
            read_summary(old / "plain" / file)
