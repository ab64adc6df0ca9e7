"""task=preview shows what training will do: exactly those rates, without torch, and what is wrong with them."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CommandLine, Result, Run, Train, fork, python, read_csv, requested

from lrtrain import __main__ as program
from lrtrain.configs import choices
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.plan.plan import Plan
from lrtrain.report.text_plot import text_plot, wants_log
from lrtrain.schedules import (
    Horizon,
    Progress,
    cosine,
    cosine_restarts,
    exponential,
    floor,
    linear,
    multistep,
    step,
    warmup,
)
from lrtrain.tasks import preview as preview_task

EXTRA = {"custom": ["function=test_preview:halves"]}
"""What a strategy needs that has no default."""

Preview = Callable[..., Run]


def halves(progress: Progress) -> float:
    return 0.5**progress.epoch


@pytest.fixture
def preview(train: Train) -> Preview:
    return lambda *arguments, **options: train("task=preview", *arguments, **options)


def table(run: Run) -> list[tuple[int, int, float]]:
    return [(int(row["step"]), int(row["epoch"]), float(row["lr"])) for row in read_csv(run.folder / "schedule.csv")]


def plan_of(*overrides: str) -> Plan:
    asked = requested("task=preview", *overrides)
    settings = asked.job.settings
    return plan_run([Segment(settings, asked.task.parameters["steps_per_epoch"] or steps_per_epoch(settings))])


def test_inverse_time_is_its_formula_at_every_update(preview: Preview) -> None:
    rows = table(preview("scheduler=inverse_time", "decay=0.01", "lr=0.1", "steps_per_epoch=3", "epochs=100"))
    assert [row[0] for row in rows] == list(range(301))
    assert [row[1] for row in rows] == [step // 3 for step in range(301)]
    assert [row[2] for row in rows] == pytest.approx([0.1 / (1 + 0.01 * (t // 3)) for t in range(301)], rel=1e-14)


def test_a_decay_to_zero_ends_after_the_last_update(preview: Preview) -> None:
    rows = table(preview("scheduler=cosine", "steps_per_epoch=10", "epochs=2", "lr=1"))
    assert [rate for *_, rate in rows] == pytest.approx(
        [(1 + math.cos(math.pi * t / 20)) / 2 for t in range(21)], abs=1e-15
    )
    assert rows[20][2] == 0


def test_default_length_is_that_of_the_dataset(preview: Preview) -> None:
    run = preview("epochs=2", "trainer.limit_train_batches=7", "trainer.accumulate_grad_batches=3")
    assert len(table(run)) == 2 * 3 + 1


@pytest.mark.parametrize("combined", [(), ("warmup=25%", "min_lr=0.003")], ids=["plain", "combined"])
def test_previews_are_the_rates_that_an_optimizer_gets(combined: tuple[str, ...]) -> None:
    import torch

    from lrtrain import Scheduler

    for name in choices("scheduler"):
        plan = plan_of(f"scheduler={name}", "steps_per_epoch=7", "epochs=4", "lr=0.1", *combined, *EXTRA.get(name, []))
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=plan.lr)
        Scheduler(optimizer, plan.schedule, total_steps=28, steps_per_epoch=7, feedback=plan.feedback)
        used = []
        for _ in range(29):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
        assert list(plan.rates()) == used, name
        assert [plan.rate(step) for step in range(29)] == used, name


def test_compares_with_a_finished_run(preview: Preview, train: Train) -> None:
    same = ("scheduler=exponential", "gamma=0.5", "epochs=2")
    done = train(*same, "model=linear", "trainer=cpu")
    assert "largest difference is 0\n" in preview(*same, f"run={done.folder}").result.out
    other = preview(*same, "lr=0.2", f"run={done.folder}").result.out
    assert "largest difference is 0.1, at update 0: 0.1 instead of 0.2" in other


def test_needs_no_torch_and_no_time(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['lrtrain', 'task=preview', 'scheduler=inverse_time', 'decay=0.01'];"
        "from lrtrain.cli.main import main; code = main();"
        "print([name for name in ('torch', 'lightning', 'torchmetrics', 'sklearn', 'tensorboard',"
        " 'matplotlib.pyplot') if name in sys.modules], code)"
    )
    assert python("-c", code, cwd=tmp_path).out.splitlines()[-1] == "[] 0"


@pytest.mark.usefixtures("rendered")
def test_says_what_it_will_do_in_text(preview: Preview) -> None:
    run = preview("scheduler=multistep", "warmup=2ep", "steps_per_epoch=40")
    out = run.result.out
    assert out.startswith("multistep: 0.00125 -> 0.001 over 20 epochs, 800 updates, per epoch, after a warm-up of 80")
    for part in ("peak     0.1 at update 79", "last     0.001 at update 799", "milestones 75% = 600 updates"):
        assert part in out
    assert "jumps    at epoch 10, 15" in out
    assert "warm-up  80 updates, until epoch 2" in out
    assert str(run.folder) in out
    assert (run.folder / "schedule.png").read_bytes()[:4] == b"\x89PNG"
    assert run.summary["status"] == "finished"
    assert run.summary["schedule"] == out.splitlines()[0]


def test_theory_line_has_the_published_ratio(preview: Preview) -> None:
    # 0.103386 / 0.100630 for cosine over linear at T = 400, and gamma* = 0.048242
    run = preview("scheduler=cosine", "steps_per_epoch=40", "epochs=10")
    assert run.summary["theory"]["vs_linear"] == pytest.approx(0.103386 / 0.100630, rel=1e-5)
    assert run.summary["theory"]["gamma"] * 0.1 == pytest.approx(0.048242, rel=1e-4)
    [line] = [line for line in run.result.out.splitlines() if line.lstrip().startswith("theory")]
    assert line.endswith("1.03x that of the best known shape (linear), each at its own best rate")  # no rate to take


def test_overlay_ranks_strategies_by_the_bound(preview: Preview) -> None:
    out = preview("scheduler=constant", "overlay=[step,cosine,linear]").result.out
    table = [line.split() for line in out.splitlines() if line.split() and line.split()[-1] in choices("scheduler")]
    names = [words[-1] for words in table if len(words) == 7]
    assert names == ["linear", "cosine", "step", "constant"]
    assert "0.40 on digits softmax regression" in out


def test_overlay_takes_each_strategy_with_its_own_defaults(preview: Preview) -> None:
    out = preview("scheduler=step", "gamma=0.1", "overlay=[exponential]", "steps_per_epoch=5", "epochs=3").result.out
    [row] = [line.split() for line in out.splitlines() if line.endswith("exponential") or "exponential  " in line][-1:]
    assert float(row[2]) == pytest.approx(0.1 * 0.95**2, rel=1e-3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("run=nowhere", "metrics.csv"),
        ("steps_per_epoch=0", "steps_per_epoch must be"),
        ("steps_per_epoch=2.5", "steps_per_epoch must be"),
        ("overlay=[cosin]", "did you mean cosine?"),
        ("epochs=1000000000", "can be shown at most: give fewer epochs"),
        ("scheduler=custom function=user_code:below_zero", "the rate of update 0 is -0.1: it must be finite and >= 0"),
    ],
)
def test_refuses_what_cannot_be_shown(command_line: CommandLine, tmp_path: Path, wrong: str, said: str) -> None:
    result: Result = command_line("task=preview", *wrong.split())
    assert result.code == 2
    assert said in result.err
    assert not list(tmp_path.glob("outputs/*/*"))


@pytest.mark.usefixtures("rendered")
def test_several_jobs_give_one_overlay(command_line: CommandLine, tmp_path: Path) -> None:
    result = command_line("-m", "task=preview", "scheduler=step,cosine,wsd", "lr=1")
    assert result.code == 0, result.err
    [sweep] = tmp_path.glob("outputs/*/*_sweep")
    jobs = ["0_scheduler=step", "1_scheduler=cosine", "2_scheduler=wsd"]
    assert all((sweep / job / "schedule.csv").exists() for job in jobs)
    assert [row["strategy"] for row in read_csv(sweep / "summary.csv")] == ["cosine", "wsd", "step"]
    assert (sweep / "schedule.png").read_bytes()[:4] == b"\x89PNG"
    assert "bound vs linear" in result.out


def long(schedule: Any, epochs: int = 20, lr: float = 0.1) -> Plan:
    return Plan("x", lr, schedule, None, Horizon.of(10, epochs))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            long(multistep(milestones=("10ep", "30ep"))),
            ["multistep: milestone 30ep is never reached: the run ends at epoch 20"],
        ),
        (
            long(multistep(milestones=("10ep", "20ep"))),
            ["multistep: milestone 20ep is never reached: the run ends at epoch 20"],
        ),
        (
            long(warmup(floor(step(every="25ep"), 0.01), "2ep")),
            ["step: every=25ep is never reached: the run ends at epoch 20"],
        ),
        (
            long(cosine_restarts(period="5ep"), epochs=17),
            ["cosine_restarts: the run ends in the middle of a cycle, at 0.06841"],
        ),
        (
            long(warmup(cosine(), "20ep"))._replace(warmup=200),
            ["the warm-up of 200 updates is the whole run: nothing of x is left"],
        ),
        (long(multistep(milestones=("10ep", "19ep"))), []),
        (long(step(every="5ep")), []),
        (long(exponential(gamma=0.1, every="100ep")), []),
        (long(cosine_restarts(period="5ep")), []),
        (long(warmup(cosine(), "1ep")), []),
        (long(floor(exponential(gamma=0.5), 0.5)), []),
    ],
)
def test_warns_of_what_the_run_never_reaches(plan: Plan, said: list[str]) -> None:
    found = plan.warnings()
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


@pytest.mark.parametrize("name", sorted(set(choices("scheduler")) - {"custom"}))
def test_no_strategy_warns_at_its_defaults(name: str) -> None:
    assert plan_of(f"scheduler={name}").warnings() == []
    assert plan_of(f"scheduler={name}", "warmup=10%", "min_lr=0.001").warnings() == []


def test_warnings_are_printed(preview: Preview) -> None:
    out = preview("scheduler=multistep", "milestones=[10ep,30ep]").result.out
    assert "warning: multistep: milestone 30ep is never reached: the run ends at epoch 20" in out


def test_lengths_are_resolved() -> None:
    plan = long(warmup(multistep(milestones=("10ep", "75%", "190st")), "5%"))
    assert [(r.owner, r.key, str(r.span), r.updates, r.listed) for r in plan.spans()] == [
        ("warmup", "length", "5%", 10, False),
        ("multistep", "milestones", "10ep", 100, True),
        ("multistep", "milestones", "75%", 150, True),
        ("multistep", "milestones", "190st", 190, True),
    ]


def test_text_plot_falls_from_the_top_left_to_the_bottom_right() -> None:
    lines = text_plot({"linear": [1 - t / 400 for t in range(400)]}, 20, width=60, unicode=False)
    drawn = [line for line in lines if "*" in line]
    assert len(drawn) == 13
    columns = [line.index("*") for line in drawn]
    assert columns == sorted(columns)
    assert [line.split("|")[0].strip() for line in drawn[::3]] == ["1", "0.75", "0.5", "0.25", "0"]
    assert all(len(line) <= 60 for line in lines)
    assert lines[-2].split() == ["0", "5", "10", "15", "20"]


def test_text_plot_uses_braille_and_fits() -> None:
    for width in (40, 80, 110):
        lines = text_plot({"step": [0.1] * 100 + [0.01] * 100}, 2, width=width, unicode=True)
        assert max(map(len, lines)) <= width
        assert any("⠉" in line for line in lines)


def test_text_plot_of_several_names_them() -> None:
    lines = text_plot({"one": [1.0, 0.5], "two": [0.5, 0.5]}, 1, width=50, unicode=False)
    assert [line.split() for line in lines[-2:]] == [["a", "one"], ["b", "two"]]


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e-9], [1.0, 1.0, 1.0]])
def test_text_plot_of_a_flat_line(values: list[float]) -> None:
    assert text_plot({"flat": values}, 1, width=30, unicode=True)


def test_a_logarithmic_scale_only_where_it_helps() -> None:
    assert wants_log([list(long(exponential(gamma=0.5)).rates())])
    assert not wants_log([list(long(linear()).rates())])
    assert not wants_log([list(long(step()).rates())])
    assert not wants_log([list(long(cosine_restarts()).rates())])


def test_thin_keeps_extremes_and_jumps() -> None:
    import numpy as np

    from lrtrain.report.curves import thin

    values = np.linspace(1, 0.5, 100_000)
    values[70_001:] -= 0.3
    values[33_333] = 2
    steps, kept = thin(values.tolist())
    assert len(steps) <= 2000
    assert {0, 33_333, 70_000, 70_001, 99_999} <= set(steps.tolist())
    assert (kept == values[steps]).all()


def test_jumps_are_those_of_the_milestones() -> None:
    from lrtrain.report.curves import Curve, jumps

    assert jumps(Curve(list(long(multistep(milestones=("10ep", "15ep"))).rates()), 10)) == [100, 150]
    assert jumps(Curve(list(long(cosine()).rates()), 10)) == []
    assert jumps(Curve(list(long(warmup(cosine(), "5st")).rates()), 10, 5)) == []


@pytest.mark.parametrize(
    ("function", "name", "code"), [("_curve", "SIGTERM", 143), ("_rows", "SIGTERM", 143), ("_curve", "SIGINT", 130)]
)
def test_a_preview_that_ends_early_leaves_nothing(function: str, name: str, code: int, tmp_path: Path) -> None:
    """By a signal where it would compute the rates, or write them out."""

    def wait(*_: Any) -> None:
        print("waiting", flush=True)
        sys.stdin.readline()

    def run() -> int:
        setattr(preview_task, function, wait)
        return program.main()

    process = fork(run, tmp_path, "lrtrain", "task=preview", "scheduler=cosine")
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert len(err.splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []
