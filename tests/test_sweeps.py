"""Several jobs by one command line: each has its folder, which alone says how it stands, and tables tell of all."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from conftest import SMALL, CommandLine, Result, read_csv, run_line
from hydra import compose
from omegaconf import OmegaConf
from resuming import assert_equal

from lrtrain import datasets
from lrtrain.cli.compose import Composer
from lrtrain.cli.main import main
from lrtrain.configs import choices
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.run_folder.claim import is_live
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.sweeps.grid import name_job, plan_jobs
from lrtrain.sweeps.worker import ATTEMPTS
from lrtrain.training.checkpoints import LastAndBest

TINY = (*SMALL, "epochs=2", "checkpoint_every=1ep")


class Sweep(NamedTuple):
    result: Result
    folder: Path

    @property
    def table(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "summary.csv")

    @property
    def states(self) -> list[str]:
        return [job["state"] for job in self.view["jobs"]]

    @property
    def view(self) -> dict[str, Any]:
        return json.loads((self.folder / "sweep.json").read_text())  # type: ignore[no-any-return]

    def job(self, number: int) -> Path:
        [folder] = self.folder.glob(f"{number}_*")
        return folder

    def status(self, number: int) -> str:
        return str(json.loads((self.job(number) / "summary.json").read_text())["status"])


def sweep(folder: Path, *arguments: str) -> Sweep:
    """Run a sweep in this process, from another folder."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["-m", *arguments])
    places = sorted(folder.glob("outputs/*/*_sweep"))
    return Sweep(Result(code, out.getvalue(), err.getvalue()), places[-1] if places else folder)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep(tmp_path_factory.mktemp("good"), "scheduler=step,cosine", "seed=0,1", *TINY)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """One job is good, one is refused, one diverges, one is good."""
    return sweep(tmp_path_factory.mktemp("bad"), "lr=0.1,-1,1e6,0.01", *TINY)


def test_every_combination_is_a_job(good: Sweep) -> None:
    assert good.result.code == 0, good.result.err
    overrides = [OmegaConf.load(good.job(job) / ".hydra" / "overrides.yaml") for job in range(4)]
    asked = [list(map(str, job))[:2] for job in overrides]
    schedulers, seeds = ("scheduler=step", "scheduler=cosine"), ("seed=0", "seed=1")
    assert asked == [[scheduler, seed] for scheduler in schedulers for seed in seeds]
    names = [f"{number}_{','.join(job)}" for number, job in enumerate(asked)]
    assert sorted(path.name for path in good.folder.iterdir() if path.is_dir()) == names
    assert [good.status(job) for job in range(4)] == ["finished"] * 4


def test_table_has_what_the_jobs_measured(good: Sweep) -> None:
    losses = [float(row["best_val_loss"]) for row in good.table]
    assert losses == sorted(losses)
    assert len(losses) == 4
    for row in good.table:
        summary = json.loads((good.folder / row["name"] / "summary.json").read_text())
        assert row["scheduler"] == row["strategy"] == summary["config"]["scheduler"]
        assert row["seed"] == str(summary["config"]["seed"])
        assert float(row["best_val_loss"]) == summary["best"]["val_loss"]
        assert float(row["final_test_acc"]) == summary["final"]["test_acc"]


def test_columns_of_the_table(good: Sweep) -> None:
    columns = list(good.table[0])
    assert columns[:6] == ["job", "name", "status", "strategy", "scheduler", "seed"]
    assert columns[6:9] == ["steps", "wall_s", "monitor"]


def test_printed_table_has_a_row_for_each_strategy(good: Sweep) -> None:
    """Mean and standard deviation over the seeds, the better strategy first."""
    rows = [line.split() for line in good.result.out.splitlines() if line.split()[-1:] in (["step"], ["cosine"])]
    expected = {}
    for name in ("step", "cosine"):
        losses = [float(row["best_val_loss"]) for row in good.table if row["strategy"] == name]
        expected[name] = [f"{statistics.mean(losses):.4f}", f"{statistics.stdev(losses):.4f}"]
    assert {row[-1]: row[:2] for row in rows} == expected
    assert [row[3:5] for row in rows] == [["2", "0"]] * 2  # seeds, failed
    assert float(rows[0][0]) < float(rows[1][0])


def test_how_to_look_at_it_is_printed(good: Sweep) -> None:
    assert "4 jobs, finished: 4" in good.result.out
    assert f"tensorboard --logdir {good.folder}" in good.result.out
    assert str(good.folder / "summary.csv") in good.result.out
    assert "2 seeds bear no verdict" in " ".join(good.result.out.split())
    compared = json.loads((good.folder / "comparison.json").read_text())["strategies"]
    assert f"{good.folder / 'report.html'}\n" in good.result.out
    assert (good.folder / "report.html").exists()
    assert {each["name"]: each["n"] for each in compared} == {"step": 2, "cosine": 2}
    assert f"Run: python -m lrtrain -m resume={good.folder} 'seed=range(" in " ".join(good.result.out.split())
    assert good.result.err == ""
    assert len(good.result.out.splitlines()) < 20


def test_failing_jobs_do_not_stop_the_others(bad: Sweep) -> None:
    assert bad.result.code == 1
    assert [bad.status(job) for job in range(4)] == ["finished", "failed", "diverged", "finished"]
    assert {row["job"]: row["status"] for row in bad.table} == {
        "0": "finished", "1": "failed", "2": "diverged", "3": "finished"
    }  # fmt: skip
    assert [row["job"] in ("1", "2") for row in bad.table] == [False, False, True, True]


def test_failing_jobs_are_named_when_they_fail(bad: Sweep) -> None:
    lines = bad.result.err.splitlines()
    assert any("job 1 failed" in line and "lr must be a number > 0" in line for line in lines)
    assert any("job 2 failed" in line and "learning rate 1e+06" in line for line in lines)
    assert "Traceback" not in bad.result.err
    assert "failed: 1" in bad.result.out
    for job in (1, 2):
        assert "Traceback" in (bad.job(job) / "lrtrain.log").read_text()


def test_view_of_the_jobs(bad: Sweep) -> None:
    assert [(job["number"], job["state"], job["attempts"]) for job in bad.view["jobs"]] == [
        (0, "finished", 1), (1, "failed", 1), (2, "diverged", 1), (3, "finished", 1)
    ]  # fmt: skip
    assert [job["overrides"][0] for job in bad.view["jobs"]] == ["lr=0.1", "lr=-1", "lr=1000000.0", "lr=0.01"]
    assert all((bad.folder / job["name"]).is_dir() for job in bad.view["jobs"])


def test_models_stand_apart(tmp_path: Path) -> None:
    out = sweep(tmp_path, *TINY, "model=mlp,linear").result.out
    assert "no comparison: runs of several model.name stand apart; task=compare runs=" in out
    assert "by=[model.name]" in out


def test_refused_sweep_writes_nothing(tmp_path: Path) -> None:
    refused = {
        ("lr=-1,-2", "scheduler=step,cosine"): "lr must be a number > 0",
        ("lr=0.1,0.2", "gama=1"): "did you mean gamma",
        ("seed=0,1", "jobs=0"): "jobs must be",
        ("seed=0,1", "keep=some"): "keep must be",
        ("seed=0,1", "retry=failed"): "give resume= too",
        ("seed=0,1", "sweep=fonding"): "did you mean founding?",
        ("sweep=founding", "scheduler=cosine"): "no grid for scheduler=cosine",
        ("scheduler=step,cosin", "seed=0,1"): "did you mean cosine?",
        ("resume=nowhere",): "there is no folder",
    }
    for words, said in refused.items():
        result = sweep(tmp_path, *words).result
        assert (result.code, len(result.err.splitlines())) == (2, 1), result.err
        assert said in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("lr", "state"), [("-1", "failed"), ("1e6", "diverged")])
def test_stop_at_the_first_failure(lr: str, state: str, tmp_path: Path) -> None:
    stopped = sweep(tmp_path, f"lr=0.1,{lr},0.01", "on_failure=stop", *TINY)
    assert stopped.result.code == 1
    assert stopped.states == ["finished", state, "waiting"]
    assert {row["status"] for row in stopped.table} == {"finished", state, "waiting"}


def test_key_varies_only_what_owns_it(tmp_path: Path) -> None:
    """Strategies, and likewise optimizers; what nothing owns is refused as ever."""
    cases = {
        ("scheduler=step,cosine", "gamma=0.1,0.5"): [
            "0_scheduler=step,gamma=0.1", "1_scheduler=step,gamma=0.5", "2_scheduler=cosine"
        ],
        ("optimizer=adam,sgd", "optimizer.momentum=0.5,0.9"): [
            "0_optimizer=adam", "1_optimizer=sgd,optimizer.momentum=0.5", "2_optimizer=sgd,optimizer.momentum=0.9"
        ],
        ("scheduler=cosine,linear,step", "every=2"): ["0_scheduler=cosine", "1_scheduler=linear", "2_scheduler=step"],
    }  # fmt: skip
    for words, names in cases.items():
        lines = sweep(tmp_path, *words, "--dry-run").result.out.splitlines()
        assert [line.partition(":")[0] for line in lines[:-1]] == names


def test_sets_of_grids_are_fair() -> None:
    """As many settings for each strategy, all of which are accepted; of all strategies that are not built of others."""
    for name, strategies in (
        ("founding", {"exponential", "step", "plateau", "validation_drop", "inverse_time"}),
        ("tournament", {*choices("scheduler")} - {"custom", "join", "piecewise", "product"}),
    ):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(["-m", f"sweep={name}", "seed=0", "--dry-run"]) == 0
        said = out.getvalue()
        assert "refused" not in said
        numbers = {strategy: said.count(f"_scheduler={strategy},") for strategy in strategies}
        assert numbers == dict.fromkeys(strategies, 9)
        assert said.splitlines()[-1].startswith(f"{9 * len(strategies)} jobs, {9 * len(strategies) * 800:,} updates")


def test_set_of_grids_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    grids = {"common": "seed=0,1", "step": "gamma=0.1,0.5 every=1,2", "cosine": "end=0,0.1", "plateau": "lr=1,2,3"}
    (tmp_path / "mine" / "sweep" / "schedules.yaml").write_text(yaml.safe_dump(grids))
    asked = ("--config-dir=mine", "sweep=schedules", "seed=0", "epochs=3", "--dry-run")
    assert "\n9 jobs, " in sweep(tmp_path, *asked).result.out
    assert "\n18 jobs, " in sweep(tmp_path, *(word for word in asked if word != "seed=0")).result.out
    assert "\n5 jobs, " in sweep(tmp_path, *asked, "scheduler=cosine,plateau").result.out


def test_dry_run_tells_the_time(good: Sweep) -> None:
    before = sorted(good.folder.rglob("*"))
    result = sweep(good.folder.parents[2], "lr=0.1,0.2,0.4", *TINY, "--dry-run").result
    assert result.out.splitlines()[-1].startswith("3 jobs, 24 updates; about ")
    assert sorted(good.folder.rglob("*")) == before


def composed_alone(words: list[str]) -> object:
    return OmegaConf.to_container(compose("config", words), resolve=True)


def test_composing_once_is_composing_each(tmp_path: Path) -> None:
    """Values that are put into what their choices compose to give what Hydra composes of the same words."""
    cases = [
        ["scheduler=cosine", "lr=0.3"], ["scheduler=cosine", "lr=1e-3", "seed=3"], ["scheduler=plateau", "lr='0.1'"],
        ["optimizer=adamw", "optimizer.lr_mult=3"], ["optimizer=adamw", "optimizer.weight_decay=1e-2"],
        ["model=cnn", "dataset=mnist", "shuffle=false"], ["model=cnn", "model.hidden=[8,8]"], ["model.hidden=[8,8]"],
        ["scheduler=wsd", "feedback=plateau", "patience=3"], ["experiment=fast_dev_run", "early_stop=null"],
        ["~feedback", "epochs=300st", "warmup=5%"], ["+trainer.max_time='00:01:00'", "trainer.devices=[0,1]"],
        ["groups={a:0.1}", "batch_size=8"], ["lr=1", "lr=2", "seed=1"], ["augment={crop:4}", "augment.flip=true"],
        ["augment.crop=4"], ["++lr=0.7"], ["lr=nan"], ["lr=${batch_size}", "batch_size=7"], ["monitor=\"it's\""],
        ["trainer.limit_train_batches=1.0"], ["trainer.limit_train_batches=1"], ["resume=null", "logger=none"],
        ["logger=[csv,wandb]", "logger.wandb.project=x", "lr=0.2"],
        ["name=mine", "lr=0.3"],
    ]  # fmt: skip
    refused = 0
    with Composer() as composer:
        for words in cases:
            try:
                expected = composed_alone(words)
            except Exception:
                refused += 1
                with pytest.raises(RequestError):
                    composer.compose(words)
                continue
            assert repr(composer.compose(words).values) == repr(expected), words
    assert refused == 2  # keys that an optimizer and a model do not have


def test_jobs_share_a_dataset_that_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read anew only where the next job asks for another one, or for other targets of it."""
    read, known = datasets.read, []

    def noted(bound: Bound, asked: datasets.Asked) -> datasets.Splits:
        known.append(asked.objective)
        return read(bound, asked)

    monkeypatch.setattr(datasets, "read", noted)
    assert sweep(tmp_path, "seed=0,1", *TINY, "epochs=1").states == ["finished"] * 2
    assert known == [None]
    last, digits = datasets.LastRead(), datasets.dataset("digits")
    found = [last(digits, datasets.Asked(objective=objective)) for objective in (None, None, "classification")]
    assert found[0] is found[1] is not found[2]
    assert known[1:] == [None, "classification"]


def test_interpolation_sees_what_is_swept(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "tied.yaml").write_text("# @package _global_\nbatch_size: 8\nwarmup: ${seed}\n")
    with Composer(str(tmp_path)) as composer:
        for seed in (1, 2):
            assert composer.compose(["experiment=tied", f"seed={seed}"]).values["warmup"] == seed
        for lr in (1, 2):
            assert composer.compose([f"lr={lr}", "hydra.run.dir=x${lr}"]).run_dir.name == f"x{lr}"


def stop_in(monkeypatch: pytest.MonkeyPatch, job: str, act: Callable[[], object]) -> None:
    """Let something happen after the first epoch of a job."""
    save_last = LastAndBest.save_last

    def saved(self: LastAndBest, trainer: Any) -> None:
        save_last(self, trainer)
        if self.folder.path.name.startswith(job) and trainer.current_epoch == 0:
            act()

    monkeypatch.setattr(LastAndBest, "save_last", saved)


def assert_same(one: Sweep, other: Sweep, *, jobs: int) -> None:
    """Each job has the same numbers and the same weights, to the last bit."""
    for number in range(jobs):
        assert_equal(one.job(number), other.job(number))


def test_interrupted_sweep_goes_on(good: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only with what is not finished, from its checkpoint, to the same numbers."""
    words = ("scheduler=step,cosine", "seed=0,1", *TINY)
    with monkeypatch.context() as patched:
        stop_in(patched, "1_", lambda: os.kill(os.getpid(), signal.SIGTERM))
        stopped = sweep(tmp_path, *words)
    assert stopped.result.code == 143
    assert f"go on with -m resume={stopped.folder}" in stopped.result.err
    assert stopped.states == ["finished", "interrupted", "waiting", "waiting"]
    assert [row["status"] for row in stopped.table] == stopped.states
    before = (stopped.job(0) / "summary.json").stat().st_mtime_ns
    ended = sweep(tmp_path, "resume=last")
    assert ended.result.code == 0, ended.result.err
    assert ended.folder == stopped.folder
    assert "4 jobs, 1 of them done" in ended.result.out
    assert ended.states == ["finished"] * 4
    assert (ended.job(0) / "summary.json").stat().st_mtime_ns == before
    assert (ended.job(1) / ".hydra" / "resumed_1").is_dir()
    assert not (ended.job(2) / ".hydra" / "resumed_1").exists()
    assert_same(ended, good, jobs=4)
    assert len(ended.table) == 4


def test_values_may_be_added(tmp_path: Path) -> None:
    """New jobs are numbered on; all else is refused, with what differs."""
    first = sweep(tmp_path, "seed=0,1", *TINY)
    before = {path: path.read_bytes() for path in first.folder.glob("*/metrics.csv")}
    planned = [job["overrides"] for job in first.view["jobs"]]
    for words, said in (
        (("seed=1,2",), "seed 0,1 -> 1,2"),
        (("epochs=3",), "epochs 2 -> 3"),
        (("warmup=1", "seed=range(3)"), "warmup default -> 1"),
    ):
        result = sweep(tmp_path, "resume=last", *words).result
        assert (result.code, said in result.err) == (2, True), result.err
    more = sweep(tmp_path, f"resume={first.folder}", "seed=2,0,1")
    assert more.result.code == 0, more.result.err
    assert [path.name for path in sorted(more.folder.glob("?_*"))] == ["0_seed=0", "1_seed=1", "2_seed=2"]
    assert more.states == ["finished"] * 3
    assert {path: path.read_bytes() for path in before} == before
    assert [job["overrides"] for job in more.view["jobs"]][:2] == planned


def test_failed_jobs_are_done_again_on_demand(good: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the machine is on fire")

    words = ("scheduler=step,cosine", "seed=0,1", *TINY)
    with monkeypatch.context() as patched:
        stop_in(patched, "1_", fail)
        stop_in(patched, "2_", fail)
        failed = sweep(tmp_path, *words)
    assert failed.states == ["finished", "failed", "failed", "finished"]
    assert sweep(tmp_path, "resume=last").states == failed.states
    assert sweep(tmp_path, "resume=last", "retry=2").states == ["finished", "failed", "finished", "finished"]
    again = sweep(tmp_path, "resume=last", "retry=failed")
    assert (again.result.code, again.states) == (0, ["finished"] * 4)
    assert_same(again, good, jobs=4)
    assert sweep(tmp_path, "resume=last", "retry=7").result.code == 2


def test_what_kills_its_process_is_left_alone(tmp_path: Path) -> None:
    """Three times at most; who goes on with the sweep gives it three more."""
    swept = sweep(tmp_path, "seed=0,1", *TINY)
    (swept.job(1) / "summary.json").unlink()
    record = json.loads((swept.job(1) / ".lock").read_text())
    killed = record | {"ended": None, "attempt": ATTEMPTS, "pid": 2**30}
    (swept.job(1) / ".lock").write_text(json.dumps(killed) + "\n")
    view = swept.view
    assert main(["-m", f"join={swept.folder}"]) == 1
    assert "killed 3 times" in (swept.job(1) / "summary.json").read_text()
    (swept.folder / "sweep.json").write_text(json.dumps(view))
    again = sweep(tmp_path, "resume=last", "retry=1")
    assert again.states == ["finished"] * 2
    (swept.job(1) / "summary.json").unlink()
    (swept.job(1) / ".lock").write_text(json.dumps(killed) + "\n")
    assert sweep(tmp_path, "resume=last").states == ["finished"] * 2


def test_second_coordinator_is_refused(tmp_path: Path) -> None:
    swept = sweep(tmp_path, "seed=0,1", *TINY)
    with ClaimedFolder(swept.folder) as held:
        held.begun = True
        refused = sweep(tmp_path, f"resume={swept.folder}", "seed=0,1,2").result
        assert (refused.code, f"process {os.getpid()}" in refused.err) == (2, True)
        nothing = sweep(tmp_path, "resume=last").result
        assert (nothing.code, "no sweep" in nothing.err) == (2, True)


def test_kept_checkpoints(tmp_path: Path) -> None:
    for keep, names in (("best", ["best.ckpt"]), ("last", ["last.ckpt"]), ("none", [])):
        swept = sweep(tmp_path, "seed=0,1", f"keep={keep}", *TINY)
        for number in range(2):
            assert [path.name for path in (swept.job(number) / "checkpoints").glob("*.ckpt")] == names
            summary = json.loads((swept.job(number) / "summary.json").read_text())
            assert [Path(file).name for file in summary["checkpoints"].values()] == names
        assert sweep(tmp_path, "resume=last").states == ["finished"] * 2


def test_best_job_is_evaluated(good: Sweep, command_line: CommandLine, tmp_path: Path) -> None:
    """Of the sweep that is named, and of the newest one."""
    best = good.folder / good.table[0]["name"] / "checkpoints" / "best.ckpt"
    result = command_line("task=evaluate", f"checkpoint={good.folder}", "trainer=cpu")
    assert (result.code, f"weights of {best}" in result.out) == (0, True), result.err + result.out
    assert f"accuracy {float(good.table[0]['best_test_acc']):.4f}" in result.out
    newest = run_line(good.folder.parents[2], "task=evaluate", "trainer=cpu", f"hydra.run.dir={tmp_path / 'measured'}")
    assert f"weights of {best}" in newest.out


def test_status_of_a_sweep(bad: Sweep, command_line: CommandLine) -> None:
    said = command_line("task=status", f"run={bad.folder}").out
    assert "4 jobs, finished: 2, failed: 1, diverged: 1" in said
    assert "1_lr=-1: lr must be a number > 0" in said
    assert "3_lr=0.01" not in said
    alone = command_line("task=status", f"run={bad.job(0)}").out
    assert "8/8" in alone
    assert command_line("task=status", "run=nowhere").code == 2


def test_killed_sweep_of_several_workers_goes_on(good: Sweep, tmp_path: Path) -> None:
    """The coordinator is killed, and its workers end with it; what they had is gone on from, to the same bits."""
    words = ("scheduler=step,cosine", "seed=0,1", *TINY)
    started = subprocess.Popen(
        [sys.executable, "-m", "lrtrain", "-m", *words, "jobs=2"], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("outputs/*/*/*/checkpoints/last.ckpt")) and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    [folder] = tmp_path.glob("outputs/*/*_sweep")
    while time.monotonic() < until and any(is_live(lock.parent) for lock in folder.glob("*/.lock")):
        time.sleep(0.1)  # the workers save what they do
    ended = sweep(tmp_path, "resume=last", "jobs=1")
    assert ended.result.code == 0, ended.result.err
    assert ended.states == ["finished"] * 4
    assert [job["attempts"] for job in ended.view["jobs"]] == [1] * 4
    assert_same(ended, good, jobs=4)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo is not built for Windows")
def test_job_of_several_processes(tmp_path: Path) -> None:
    """It is a process of its own, which starts the other one: one folder, and no second sweep."""
    words = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=4")
    swept = sweep(tmp_path, "seed=0", "model=linear", "epochs=1", "log_every=1", *words)
    assert (swept.result.code, swept.states) == (0, ["finished"]), swept.result.err
    assert [path.name for path in swept.folder.iterdir() if path.is_dir()] == ["0"]
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1
    assert json.loads((swept.folder / "0" / "summary.json").read_text())["config"]["trainer"]["devices"] == 2


def test_numbers_do_not_depend_on_threads_of_the_machine(good: Sweep) -> None:
    for number in range(4):
        config = json.loads((good.job(number) / "summary.json").read_text())["config"]
        assert config["threads"] == int(os.environ["OMP_NUM_THREADS"])
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])


def test_width_of_the_numbers_is_fixed_when_a_sweep_begins() -> None:
    words = [[f"seed={number}"] for number in range(13)]
    assert [job.name for job in plan_jobs(words, plan_jobs(words[:2]))] == [f"{n}_seed={n}" for n in range(13)]
    assert plan_jobs(words)[0].name == "00_seed=0"


def test_name_of_a_job() -> None:
    for number, width, words, name in (
        (3, 1, ["scheduler=cosine", "seed=0", "lr=1"], "3_scheduler=cosine,seed=0"),
        (3, 2, ["scheduler=cosine"], "03_scheduler=cosine"),
        (0, 1, ["lr=1"], "0"),
        (0, 1, ["+groups={a/b:1}"], "0_groups=_a_b_1"),
    ):
        assert name_job(number, width, words, ["scheduler", "seed", "groups"]) == name
    one, other = (name_job(0, 1, [f"model.hidden=[{'8,' * 200}{last}]"], ["model.hidden"]) for last in (1, 2))
    assert one != other
    assert len(one.encode()) <= 130
