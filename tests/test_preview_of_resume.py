"""What resuming a run would do to its rate is shown first: the rates that it then uses, and nothing is touched."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KEPT, SMALL, CommandLine, Result, Run, Train, copied, read_csv
from torch import Tensor

from lrtrain.report.curves import Curve, replanned
from lrtrain.report.text_plot import text_plot
from lrtrain.training.module import Supervised

INTERRUPTED, REFUSED = 143, 2
AT, OLD = 6, 12
PLAN = (*SMALL, "scheduler=linear", "end=0.1", "epochs=3", "logger=none")
"""12 updates, of which `stopped` does 6."""

Preview = Callable[..., Run]
Stopped = Callable[..., Path]


@pytest.fixture
def stopped(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stopped:
    """A copy of the folder of a run that was ended in its sixth update, in mid-epoch; it is stopped once for all."""

    def run(*arguments: str) -> Path:
        seen, original = [0], Supervised.training_step

        def training_step(module: Supervised, data: Any, batch_idx: int) -> Tensor:
            seen[0] += 1
            if seen[0] == AT:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(module, data, batch_idx)

        asked = (*(arguments or PLAN), AT)
        if asked not in KEPT:
            with monkeypatch.context() as patched:
                patched.setattr(Supervised, "training_step", training_step)
                ended = train(*(arguments or PLAN), code=INTERRUPTED)
            KEPT[asked] = copied(ended, tmp_path.with_name(f"{tmp_path.name}_kept"))
            shutil.rmtree(ended.folder)
        return copied(KEPT[asked], tmp_path).folder

    return run


@pytest.fixture
def preview(train: Train) -> Preview:
    return lambda *arguments: train("task=preview", *arguments)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def rates(path: Path) -> list[tuple[int, int, float]]:
    return [(int(row["step"]), int(row["epoch"]), float(row["lr"])) for row in read_csv(path) if row["lr"]]


def one_line(result: Result, *parts: str) -> None:
    assert result.code == REFUSED, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert all(part in result.err for part in parts), result.err


POLICIES = {
    "unchanged": (None, ""),
    "keep": ("keep", "epochs=5"),
    "keep, shorter": ("keep", "epochs=2"),
    "stretch": ("stretch", "epochs=5"),
    "stretch, shorter": ("stretch", "epochs=2"),
    "append": ("append", "epochs=5 scheduler=cosine lr=0.03"),
    "append, warmed up": ("append", "epochs=5 scheduler=inverse_time decay=0.5 warmup=2st"),
    "switch": ("switch", "epochs=5 scheduler=cosine lr=0.03 min_lr=0.01"),
    "switch, another rate": ("switch", "lr=0.02"),
}


@pytest.mark.usefixtures("rendered")
@pytest.mark.parametrize(("policy", "arguments"), POLICIES.values(), ids=POLICIES.keys())
def test_shows_the_rates_that_the_resumed_run_uses(
    policy: str | None, arguments: str, stopped: Stopped, preview: Preview, command_line: CommandLine
) -> None:
    folder = stopped()
    change = (f"resume={folder}", *arguments.split(), *([f"resume_plan={policy}"] if policy else []))
    before = snapshot(folder)
    shown = preview(*change)
    assert snapshot(folder) == before
    resumed = command_line(*change)
    assert resumed.code == 0, resumed.err
    used, previewed = rates(folder / "metrics.csv"), rates(shown.folder / "schedule.csv")
    assert used[AT:] == previewed[AT:-1]
    assert [row[:2] for row in used[:AT]] == [row[:2] for row in previewed[:AT]]
    assert [row[2] for row in previewed[:AT]] == pytest.approx([row[2] for row in used[:AT]], rel=1e-15)
    assert shown.result.out.splitlines()[0] in resumed.out.splitlines(), "both say the same sentence"
    assert (shown.folder / "schedule.png").read_bytes()[:4] == b"\x89PNG"
    assert (shown.summary["change"]["step"], shown.summary["change"]["policy"]) == (AT, policy)


def test_changed_twice(stopped: Stopped, preview: Preview, command_line: CommandLine) -> None:
    folder = stopped()
    assert command_line(f"resume={folder}", "epochs=5", "resume_plan=stretch").code == 0
    change = (f"resume={folder}", "epochs=6", "scheduler=cosine", "lr=0.05", "resume_plan=append")
    shown = preview(*change)
    assert command_line(*change).code == 0
    used, previewed = rates(folder / "metrics.csv"), rates(shown.folder / "schedule.csv")
    assert len(used) == 24
    assert used[20:] == previewed[20:-1]
    assert [row[2] for row in previewed[:20]] == pytest.approx([row[2] for row in used[:20]], rel=1e-14)


def test_goes_on_from_what_feedback_has_done(stopped: Stopped, preview: Preview, command_line: CommandLine) -> None:
    """No loss is ten times better than the best: plateau halves the rate after every epoch but the first."""
    folder = stopped(*SMALL, "epochs=3", "scheduler=plateau", "factor=0.5", "patience=0", "threshold=10", "logger=none")
    path = folder / "metrics.csv"
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert rates(path)[-1][2] == 0.1 * 0.5
    change = (f"resume={folder}", "epochs=6", "patience=99", "min_lr=0.03", "resume_plan=switch")
    shown = preview(*change)
    assert "feedback goes on from 0.25 of the curve" in shown.result.out
    assert command_line(*change).code == 0
    previewed = rates(shown.folder / "schedule.csv")
    assert rates(path)[OLD:] == previewed[OLD:-1]
    assert [rate for *_, rate in previewed[OLD:]] == pytest.approx([0.03] * (OLD + 1)), "and no further than min_lr"


def test_feedback_of_another_rule_counts_for_nothing(train: Train, preview: Preview) -> None:
    reduced = ("scheduler=plateau", "factor=0.5", "patience=0", "threshold=10")
    folder = train(*SMALL, "epochs=3", *reduced, "logger=none").folder
    shown = preview(f"resume={folder}", "scheduler=constant", "epochs=4", "resume_plan=switch")
    assert "goes on from" not in shown.result.out
    assert {rate for *_, rate in rates(shown.folder / "schedule.csv")} == {0.1}


def test_new_run_of_the_old_weights_is_its_own_plan(stopped: Stopped, preview: Preview) -> None:
    change = ("epochs=4", "batch_size=16", "scheduler=cosine")
    shown = preview(f"resume={stopped()}", *change, "resume_plan=weights_only")
    plain = preview(*SMALL, *change)
    assert (shown.folder / "schedule.csv").read_bytes() == (plain.folder / "schedule.csv").read_bytes()
    assert "change" not in shown.summary


@pytest.mark.usefixtures("rendered")
def test_folder_of_its_own(stopped: Stopped, command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    folder = Path(shutil.move(stopped(), tmp_path / "outputs" / "run"))
    before = snapshot(folder)
    result = command_line("task=preview", "resume=last", "epochs=5", "resume_plan=keep")
    assert result.code == 0, result.err
    assert snapshot(folder) == before
    [table] = tmp_path.glob("outputs/*/*/schedule.csv")
    assert result.out.splitlines()[-1] == str(table.parent)
    assert (table.parent / "schedule.png").read_bytes()[:4] == b"\x89PNG"


def test_finished_run_that_would_not_go_on(train: Train, preview: Preview) -> None:
    done = train(*PLAN)
    shown = preview(f"resume={done.folder}")
    assert rates(shown.folder / "schedule.csv")[:-1] == rates(done.folder / "metrics.csv")
    assert f"update {OLD}, epoch 3" in shown.result.out


def test_refuses_what_resuming_refuses(stopped: Stopped, command_line: CommandLine) -> None:
    folder = stopped()
    for arguments in (
        "epochs=5",
        "lr=0.05 warmup=2st",
        "batch_size=16 resume_plan=switch",
        "lr=0.05 resume_plan=keep",
        "epochs=5 resume_plan=longer",
        "scheduler=cosin",
    ):
        refused = command_line(f"resume={folder}", *arguments.split())
        one_line(refused)
        assert command_line("task=preview", f"resume={folder}", *arguments.split()) == refused, arguments


@pytest.mark.parametrize(
    ("arguments", "part"),
    [("steps_per_epoch=9 resume_plan=keep", "steps_per_epoch"), ("overlay=[cosine]", "overlay")],
)
def test_refuses_what_has_no_meaning(
    arguments: str, part: str, stopped: Stopped, command_line: CommandLine, tmp_path: Path
) -> None:
    one_line(command_line("task=preview", f"resume={stopped()}", *arguments.split()), part)
    assert not (tmp_path / "outputs").exists()


GARBAGE = ("null", "[]", "[{}]", '[{"config": {}, "policy": null, "step": 0}]', '[{"config": {}, "step": 99}]')
"""As before plan.json said its format."""


def test_plan_of_garbage(stopped: Stopped, command_line: CommandLine, tmp_path: Path) -> None:
    folder = stopped()
    for plan in (*GARBAGE, *(f'{{"format": 2, "segments": {each.replace("config", "settings")}}}' for each in GARBAGE)):
        (folder / "plan.json").write_text(plan)
        one_line(command_line("task=preview", f"resume={folder}", "epochs=5", "resume_plan=keep"))
    segment = {"settings": {"scheduler": "linear"}, "steps_per_epoch": 4}
    (folder / "plan.json").write_text(json.dumps({"format": 2, "segments": [segment]}))
    one_line(command_line("task=preview", f"resume={folder}", "resume_plan=switch"))
    assert not (tmp_path / "outputs").exists()


def test_is_said_in_text(stopped: Stopped, preview: Preview) -> None:
    out = preview(f"resume={stopped()}", "epochs=5", "lr=0.05", "resume_plan=append").result.out
    before, after = 0.1 * (1 - 0.9 * 5 / OLD), 0.05
    for part in (
        "a new plan",
        "b old plan",
        "update 6, epoch 1.5: append",
        f"join     {before:.6g} -> {after:.6g} at update 6",
        "old plan linear: 0.1 -> 0.0175 over 3 epochs, 12 updates",
        "changed  lr 0.1 -> 0.05; epochs 3 -> 5",
        "append   the new schedule from here on",
    ):
        assert part in out, part


def test_picture_has_both_plans_and_the_join() -> None:
    old, new = Curve([4.0, 3.0, 2.0, 1.0, 0.5], 2), Curve([4.0, 3.0, 6.0, 5.0, 4.0, 3.0, 2.5], 2)
    [axes] = replanned(old, new, 2, "update 2", "title").axes
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in axes.get_lines()}  # type: ignore[union-attr]
    assert lines["until now"] == [[0, 4], [0.5, 3], [1, 3]]
    assert lines["from now on"] == [[1, 6], [1.5, 5], [2, 4], [2.5, 3], [3, 3]]
    assert lines["old plan"] == [[1, 2], [1.5, 1], [2, 1]]
    assert [[1, 0], [1, 1]] in lines.values(), "the join, from the bottom to the top"
    assert "update 2" in [text.get_text() for text in axes.texts]
    assert axes.get_ylim()[1] > 6


def test_curve_is_not_drawn_beyond_its_end() -> None:
    curve = Curve([4.0, 3.0, 2.0, 1.0, 0.5], 2)
    assert curve.sample_over(2) == [4, 3, 2, 1]
    longer = curve.sample_over(5)
    assert longer[:4] == [4, 3, 2, 1]
    assert all(math.isnan(rate) for rate in longer[4:])
    assert len(longer) == 10


@pytest.mark.parametrize("unicode", [True, False])
def test_text_plot_marks_the_join(unicode: bool) -> None:
    falling = [1 - t / 400 for t in range(400)]
    plot = {"new": falling, "old": [*falling[:100], *[float("nan")] * 300]}
    lines = text_plot(plot, 20, width=60, unicode=unicode, join=(10, "update 200"))
    upright, foot = ("│", "┴") if unicode else ("|", "+")
    axis = next(index for index, line in enumerate(lines) if line.strip()[:1] in ("└", "+"))
    column = lines[axis].rindex(foot)
    begin = len(lines[axis]) - len(lines[axis].lstrip()) + 1
    assert (column - begin) / (60 - begin) == pytest.approx(0.5, abs=0.03)
    assert {line[column] for line in lines[:axis]} == {upright, "a"}
    assert lines[-1].split() == [upright, "update", "200"]
    assert "b" not in "".join(line[begin:] for line in lines[:axis]), "the old curve is under the new one"


def test_text_plot_of_a_curve_that_ends_early() -> None:
    lines = text_plot({"short": [1.0] * 100 + [float("nan")] * 100}, 2, width=60, unicode=False)
    drawn = next(line for line in lines if "*" in line)
    assert 0.4 < drawn.count("*") / (60 - drawn.index("*")) < 0.6
