"""A search proposes the jobs of a sweep: by what the others came to, and by nothing that a crash could lose."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SMALL, read_csv
from resuming import assert_equal
from test_sweeps import TINY, Sweep, assert_same, stop_in, sweep

from lrtrain.cli.compose import Composer
from lrtrain.run_folder.summary import Summary
from lrtrain.run_folder.sweep_folder import PlannedJob, Standing, SweepFolder
from lrtrain.settings import Metric
from lrtrain.sweeps.grid import by_key
from lrtrain.sweeps.pruning import Pruning
from lrtrain.sweeps.search import Search, Space, outcome_of

optuna = pytest.importorskip("optuna", reason="the extra 'search' is not installed")
optuna.logging.set_verbosity(optuna.logging.WARNING)

LOSS, ACCURACY = Metric("val_loss", "min"), Metric("val_acc", "max")
WORDS = ["scheduler=step,cosine", "lr=tag(log,interval(0.001,1))", "gamma=interval(0.1,0.9)", "epochs=4"]


def space_of(words: list[str]) -> Space:
    with Composer() as composer:
        return Space.of(words, composer.searched(words), composer.is_choice, composer.owned)


def ended(value: float | None, state: str = "finished", metric: Metric = LOSS) -> Standing:
    best = {} if value is None else {metric.name: value}
    return Standing(state, 1, 0.1, Summary(status=state, steps=4, monitor=metric.name, best=best))


def carry_out(search: Search, outcome: Callable[[PlannedJob], Standing]) -> list[PlannedJob]:
    """The jobs that a search proposes, one after the other."""
    jobs: list[PlannedJob] = []
    while len(jobs) < search.trials:
        jobs.append(search.propose(jobs, [outcome(job) for job in jobs]))
    return jobs


def test_proposes_what_its_words_say() -> None:
    """Numbers within their bounds, as many below the geometric mean as above for log; the keys that a choice owns."""
    words = [
        "lr=0.1",
        *WORDS,
        "+trainer.limit_predict_batches=2,3",
        "model.hidden=[8],[16,8]",
        "batch_size=int(interval(4,64))",
        "every=range(1,4)",
    ]
    jobs = carry_out(Search("random", 60, space_of(words), LOSS, 0), lambda job: ended(1.0))
    said = [by_key(job.words) for job in jobs]
    rates = [float(each["lr"]) for each in said]
    assert all(0.001 <= rate <= 1 for rate in rates)
    assert 15 < sum(rate < 1000**-0.5 for rate in rates) < 45
    assert {each["trainer.limit_predict_batches"] for each in said} == {"2", "3"}
    assert {each["model.hidden"] for each in said} == {"[8]", "[16,8]"}
    assert all(each["batch_size"].isdecimal() and 4 <= int(each["batch_size"]) <= 64 for each in said)
    assert {each.get("every") for each in said} == {"1", "2", "3", None}
    for each in said:
        assert ({"gamma", "every"} <= each.keys()) == (each["scheduler"] == "step")
        assert each["epochs"] == "4"
    assert jobs[7].name.startswith("07_scheduler=")


def test_each_setting_is_tried_once() -> None:
    """Also where as many trials are asked for as there are settings."""
    for sampler in ("tpe", "random"):
        space = space_of(["lr=0.1,0.2,0.3,0.4", "scheduler=step,cosine", "gamma=0.1,0.2,0.3"])
        jobs = carry_out(Search(sampler, 16, space, LOSS, 3), lambda job: ended(float(by_key(job.words)["lr"])))
        assert space.size == 16
        assert len({frozenset(job.words) for job in jobs}) == 16


def test_numbers_are_as_fine_as_their_range_needs() -> None:
    """Four digits of where a number lies between its bounds, which it keeps to."""
    for words, decimals in ((["lr=interval(0.1,1)"], 4), (["lr=interval(0.99,0.999)"], 6)):
        jobs = carry_out(Search("random", 20, space_of(words), LOSS, 0), lambda job: ended(1.0))
        values = [by_key(job.words)["lr"] for job in jobs]
        assert max(len(value.partition(".")[2]) for value in values) == decimals
    assert space_of(["lr=interval(5,5)"]).size == 1


def test_tpe_goes_where_the_metric_is_good() -> None:
    """Whether less of it is better, or more."""
    space = space_of(["lr=interval(0,1)"])

    def last(metric: Metric) -> float:
        search = Search("tpe", 40, space, metric, 0)
        jobs = carry_out(search, lambda job: ended(float(by_key(job.words)["lr"]), metric=metric))
        return statistics.mean(float(by_key(job.words)["lr"]) for job in jobs[-15:])

    assert last(LOSS) < 0.2
    assert last(ACCURACY) > 0.8


def test_rebuilt_search_goes_on_as_it_would_have() -> None:
    """The next job follows from the folders alone; of the seed, the number and what came of the others."""
    search = Search("tpe", 25, space_of(WORDS), LOSS, 0)
    states = ["finished"] * 4 + ["diverged", "failed", "pruned"]

    def outcome(job: PlannedJob) -> Standing:
        return ended(float(by_key(job.words)["lr"]), states[job.number % len(states)])

    jobs = carry_out(search, outcome)
    for number in (0, 3, 13, 24):
        assert search.propose(jobs[:number], [outcome(job) for job in jobs[:number]]) == jobs[number]
    others = carry_out(search._replace(seed=1), outcome)
    assert not {frozenset(job.words) for job in jobs} & {frozenset(job.words) for job in others}


def test_what_optuna_is_told() -> None:
    """What diverged is the worst there is, what failed says nothing, and no NaN is told."""
    for metric, worst in ((LOSS, math.inf), (ACCURACY, -math.inf)):
        assert outcome_of(ended(0.5, metric=metric), metric) == ("COMPLETE", 0.5)
        assert outcome_of(ended(0.5, "diverged", metric), metric) == ("COMPLETE", worst)
        assert outcome_of(ended(math.nan, metric=metric), metric) == ("COMPLETE", worst)
        assert outcome_of(ended(None, metric=metric), metric) == ("COMPLETE", worst)
        assert outcome_of(ended(math.nan, "pruned", metric), metric) == ("PRUNED", worst)
        assert outcome_of(ended(0.5, "failed", metric), metric) == ("FAIL", None)
        assert outcome_of(Standing("running"), metric) == ("RUNNING", None)
        assert outcome_of(ended(0.5, "interrupted", metric), metric) == ("RUNNING", None)


SEARCH = ("search=tpe", "trials=5", "scheduler=step,cosine", "lr=tag(log,interval(0.01,1))", "gamma=0.1,0.5", *TINY)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    with pytest.MonkeyPatch.context() as patched:
        never = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: pytest.fail("there is a job to do"))
        patched.setattr("lrtrain.sweeps.coordinator.time", never)
        return sweep(tmp_path_factory.mktemp("searched"), *SEARCH)


def test_search_is_a_sweep(searched: Sweep) -> None:
    assert searched.result.code == 0, searched.result.err
    assert searched.states == ["finished"] * 5
    assert [job["number"] for job in searched.view["jobs"]] == list(range(5))
    assert len(searched.table) == 5
    assert {"scheduler", "lr", "gamma"} <= searched.table[0].keys()
    assert "5 jobs, finished: 5" in searched.result.out
    best = ["its best settings over seeds: python -m lrtrain -m", f"lr={searched.table[0]['lr']}", "seed=0,1,2,3,4,5"]
    assert any(all(part in line for part in best) for line in searched.result.out.splitlines())


def test_interrupted_search_goes_on(searched: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To as many trials as asked for, the very same ones, with the same weights."""
    with monkeypatch.context() as patched:
        stop_in(patched, "2_", lambda: os.kill(os.getpid(), signal.SIGTERM))
        stopped = sweep(tmp_path, *SEARCH)
    assert (stopped.result.code, stopped.states) == (143, ["finished", "finished", "interrupted"])
    changed = sweep(tmp_path, "resume=last", "lr=interval(0.01,2)").result
    assert (changed.code, "lr tag(log,interval(0.01,1)) -> interval(0.01,2)" in changed.err) == (2, True), changed.err
    again = sweep(tmp_path, "resume=last")
    assert again.result.code == 0, again.result.err
    assert [job["overrides"] for job in again.view["jobs"]] == [job["overrides"] for job in searched.view["jobs"]]
    assert_same(again, searched, jobs=5)
    more = sweep(tmp_path, "resume=last", "trials=6")
    assert more.states == ["finished"] * 6


def test_a_loss_that_is_not_a_number_is_the_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of five runs have diverged by then, so that no finite loss is above the median."""
    jobs = carry_out(Search("random", 6, space_of(["lr=interval(0,1)"]), LOSS, 0), lambda job: ended(1.0))
    known: dict[int, Standing] = {}
    monkeypatch.setattr(SweepFolder, "look", lambda _, job: known.get(job.number, Standing("running")))
    pruning, plan = Pruning(SweepFolder(tmp_path), "median"), SimpleNamespace(jobs=jobs)
    for job, loss in zip(jobs, (math.nan, math.nan, math.nan, 1.0, 2.0), strict=False):
        pruning.judge(plan, job, LOSS)(0.75, loss)  # type: ignore[arg-type]
        known[job.number] = ended(loss)
    assert not pruning.judge(plan, jobs[5], LOSS)(0.75, 3.0)  # type: ignore[arg-type]


PRUNED = ("lr=tag(log,interval(0.0001,1))", *SMALL, "epochs=4", "trials=8", "search=random")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A search that prunes nothing."""
    return sweep(tmp_path_factory.mktemp("whole"), *PRUNED)


@pytest.mark.parametrize("kind", ["median", "hyperband"])
def test_prunes_as_optuna_does(kind: str, whole: Sweep, tmp_path: Path) -> None:
    """What Optuna's own loop prunes, where it is given the losses of the runs that nothing has pruned."""
    losses = [
        [float(row["val_loss"]) for row in read_csv(whole.job(number) / "metrics.csv") if row["val_loss"]]
        for number in range(8)
    ]
    pruners = {"median": optuna.pruners.MedianPruner(5, 500), "hyperband": optuna.pruners.HyperbandPruner(37, 1000)}
    study = optuna.create_study(study_name="lrtrain", sampler=optuna.samplers.RandomSampler(), pruner=pruners[kind])

    def objective(trial: Any) -> float:
        for epoch, loss in enumerate(losses[trial.number][:-1], 1):
            trial.report(loss, round(1000 * epoch / 4))
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.report(losses[trial.number][-1], 1000)
        return float(min(losses[trial.number]))

    study.optimize(objective, n_trials=8)
    expected = {trial.number: len(trial.intermediate_values) for trial in study.trials if trial.state.name == "PRUNED"}
    assert expected
    pruned = sweep(tmp_path, *PRUNED, f"prune={kind}")
    assert pruned.result.code == 0, pruned.result.err
    found = {number: state for number, state in enumerate(pruned.states) if state != "finished"}
    assert found == dict.fromkeys(expected, "pruned")
    for number, epochs in expected.items():
        summary = json.loads((pruned.job(number) / "summary.json").read_text())
        assert (summary["epochs"], summary["ended_by"]) == (epochs, "search")
        rows = read_csv(whole.job(number) / "metrics.csv")[: summary["steps"]]
        assert read_csv(pruned.job(number) / "metrics.csv") == rows
    good = next(number for number in range(8) if number not in expected)
    assert_equal(pruned.job(good), whole.job(good))


def test_a_search_proposes_a_population_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TPE in rounds, each of which knows what came of those before; random search, which learns nothing, in one."""
    known: list[tuple[int, list[str]]] = []
    propose = Search.propose

    def noted(self: Search, jobs: list[PlannedJob], standings: list[Standing]) -> PlannedJob:
        known.append((len(jobs), [standing.state for standing in standings]))
        return propose(self, jobs, standings)

    monkeypatch.setattr(Search, "propose", noted)
    own = (*TINY, "jobs=population", "trials=7", "lr=tag(log,interval(0.01,1))")
    found = sweep(tmp_path, "search=tpe", *own, "hydra.sweep.dir=outputs/1/1_sweep")
    assert (found.result.code, found.states) == (0, ["finished"] * 7)
    assert known == [(number, ["finished"] * (number & ~1) + ["waiting"] * (number & 1)) for number in range(7)]
    known.clear()
    assert sweep(tmp_path, "search=random", *own).result.code == 0
    assert known == [(number, ["waiting"] * number) for number in range(7)]


def test_refused_search_writes_nothing(tmp_path: Path) -> None:
    refused = {
        ("search=tpe", "lr=0.1,0.2"): "needs trials=N",
        ("search=tpe", "trials=3", "lr=0.1,0.2"): "only 2 settings",
        ("search=tpe", "trials=3"): "nothing has several values",
        ("search=tpe", "trials=3", "lr=interval(1,0.1)"): "from the lower to the higher number",
        ("search=tpe", "trials=3", "lr=tag(log,interval(0,1))"): "for log above 0",
        ("search=tpe", "trials=3", "lr=interval(0.1,1)", "seed=0,1"): "seed has one value in a search",
        ("search=tpe", "trials=3", "sweep=founding"): "leave out it or search=",
        ("search=tep", "trials=3", "lr=interval(0.1,1)"): "search must be",
        ("lr=interval(0.1,1)",): "add search=tpe trials=N",
        ("lr=0.1,0.2", "trials=3"): "trials= is for a search",
        ("lr=0.1,0.2", "prune=median"): "prune= is for a search",
    }
    for words, said in refused.items():
        result = sweep(tmp_path, *words).result
        assert (result.code, len(result.err.splitlines())) == (2, 1), result.err
        assert said in result.err
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_a_search(tmp_path: Path) -> None:
    out = sweep(tmp_path, *SEARCH, "--dry-run").result.out
    assert "scheduler=cosine\n  lr: 0.01 to 1.0 (log)\n" in out
    assert "5 jobs, of which search=tpe proposes one after the other; at most 40 updates" in out
    assert list(tmp_path.iterdir()) == []
