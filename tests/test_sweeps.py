"""Several jobs by one command line: each has its folder, and one table ranks them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import SMALL, Result, read_csv, run_line
from omegaconf import OmegaConf

from lrtrain.sweeps.jobs import name_job


class Sweep(NamedTuple):
    result: Result
    folder: Path

    @property
    def table(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "summary.csv")

    def job(self, number: int) -> Path:
        [folder] = self.folder.glob(f"{number}_*")
        return folder

    def status(self, number: int) -> str:
        return str(json.loads((self.job(number) / "summary.json").read_text())["status"])


def sweep(folder: Path, *arguments: str) -> Sweep:
    result = run_line(folder, "-m", *arguments, *SMALL, "epochs=2")
    [table] = folder.glob("outputs/*/*_sweep")
    return Sweep(result, table)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep(tmp_path_factory.mktemp("good"), "scheduler=step,cosine", "seed=0,1")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """One job is good, one is refused, one diverges, one is good."""
    return sweep(tmp_path_factory.mktemp("bad"), "lr=0.1,-1,1e6,0.01")


def test_every_combination_is_a_job(good: Sweep) -> None:
    assert good.result.code == 0, good.result.err
    overrides = [OmegaConf.load(good.job(job) / ".hydra" / "overrides.yaml") for job in range(4)]
    asked = [list(map(str, job))[:2] for job in overrides]
    schedulers, seeds = ("scheduler=step", "scheduler=cosine"), ("seed=0", "seed=1")
    assert asked == [[scheduler, seed] for scheduler in schedulers for seed in seeds]
    names = [f"{number}_{','.join(job)}" for number, job in enumerate(asked)]
    assert sorted(path.name for path in good.folder.iterdir() if path.is_dir()) == names
    assert [good.status(job) for job in range(4)] == ["finished"] * 4


def test_table_is_ranked(good: Sweep) -> None:
    assert [row["status"] for row in good.table] == ["finished"] * 4
    losses = [float(row["best_val_loss"]) for row in good.table]
    assert losses == sorted(losses)
    assert {(row["strategy"], row["seed"]) for row in good.table} == {
        ("step", "0"), ("step", "1"), ("cosine", "0"), ("cosine", "1")
    }  # fmt: skip


def test_table_has_what_the_jobs_measured(good: Sweep) -> None:
    for row in good.table:
        summary = json.loads((good.folder / row["name"] / "summary.json").read_text())
        assert row["scheduler"] == summary["config"]["scheduler"]
        assert float(row["best_val_loss"]) == summary["best"]["val_loss"]
        assert float(row["final_test_acc"]) == summary["final"]["test_acc"]
        assert row["seed"] == str(summary["config"]["seed"])
        assert row["strategy"] == summary["config"]["scheduler"]


def test_how_to_look_at_it_is_printed(good: Sweep) -> None:
    assert "tensorboard --logdir" in good.result.out
    assert "summary.csv" in good.result.out
    assert good.result.err == ""


def test_failing_jobs_do_not_stop_the_others(bad: Sweep) -> None:
    assert bad.result.code == 1
    assert [bad.status(job) for job in (0, 2, 3)] == ["finished", "diverged", "finished"]


def test_failing_jobs_are_rows_too(bad: Sweep) -> None:
    status = {row["job"]: row["status"] for row in bad.table}
    assert status == {"0": "finished", "1": "failed", "2": "diverged", "3": "finished"}
    assert [row["job"] in ("1", "2") for row in bad.table] == [False, False, True, True]


def test_failing_jobs_are_named_when_they_fail(bad: Sweep) -> None:
    lines = bad.result.err.splitlines()
    assert any("job 1 failed" in line and "lr must be a number > 0" in line for line in lines)
    assert any("job 2 failed" in line and "learning rate 1e+06" in line for line in lines)
    assert "Traceback" not in bad.result.err
    assert "failed: 2" in bad.result.out


@pytest.mark.parametrize("job", [1, 2])
def test_log_of_a_failing_job_has_its_traceback(job: int, bad: Sweep) -> None:
    assert "Traceback" in (bad.job(job) / "lrtrain.log").read_text()


def test_refused_sweep_writes_nothing(tmp_path: Path) -> None:
    assert run_line(tmp_path, "-m", "lr=-1,-2", "scheduler=step,cosine").code == 2
    assert list(tmp_path.iterdir()) == []


def test_view_of_the_jobs(bad: Sweep) -> None:
    view = json.loads((bad.folder / "sweep.json").read_text())
    assert [(job["number"], job["state"], job["attempts"]) for job in view["jobs"]] == [
        (0, "finished", 1), (1, "failed", 1), (2, "diverged", 1), (3, "finished", 1)
    ]  # fmt: skip
    assert [job["overrides"][0] for job in view["jobs"]] == ["lr=0.1", "lr=-1", "lr=1000000.0", "lr=0.01"]
    assert all((bad.folder / job["name"]).is_dir() for job in view["jobs"])


def test_columns_of_the_table(good: Sweep) -> None:
    columns = list(good.table[0])
    assert columns[:6] == ["job", "name", "status", "strategy", "scheduler", "seed"]
    assert columns[6:9] == ["steps", "wall_s", "monitor"]


@pytest.mark.parametrize(
    ("number", "count", "varied", "name"),
    [
        (3, 4, ["scheduler=cosine", "seed=0"], "3_scheduler=cosine,seed=0"),
        (3, 11, ["lr=0.1"], "03_lr=0.1"),
        (0, 1, [], "0"),
        (0, 1, ["groups={a/b:1}"], "0_groups=_a_b_1"),
    ],
)
def test_name_of_a_job(number: int, count: int, varied: list[str], name: str) -> None:
    assert name_job(number, count, varied) == name


def test_long_names_are_cut_and_told_apart() -> None:
    one, other = (name_job(0, 1, [f"model.hidden=[{'8,' * 200}{last}]"]) for last in (1, 2))
    assert one != other
    assert len(one.encode()) <= 130
