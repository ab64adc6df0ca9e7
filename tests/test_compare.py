"""task=compare: what is read of run folders, what is written, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import CommandLine, read_csv

import lrtrain
from lrtrain.models import model
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.schedules import by_name
from lrtrain.settings import Settings


def make_run(folder: Path, strategy: str, loss: float | None, **given: Any) -> None:
    """A folder as a training of four epochs leaves it, without the training: its loss halves to the last."""
    settings = Settings(schedule=by_name(strategy, {}), **given)
    best = {} if loss is None else {"val_loss": loss, "test_loss": loss * 1.1, "val_acc": 1 - loss, "epoch": 3}
    folder.mkdir(parents=True)
    Summary(
        status="finished" if best else "diverged",
        strategy=settings.strategy,
        seed=settings.seed,
        monitor=settings.monitor,
        best=best,
        config=settings.plain(),
        wall_s=2.0,
        steps=40,
        epochs=4,
    ).write(RunFolder(folder).summary)
    rows = [f"{10 * epoch + 9},{epoch},0.1,{(loss or math.nan) * 2 ** (3 - epoch)}" for epoch in range(4)]
    RunFolder(folder).metrics.write_text("\n".join(["step,epoch,lr,val_loss", *rows]) + "\n")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three strategies at two rates over seven seeds; step is 30 % worse than cosine, linear is cosine."""
    for seed in range(7):
        for rate, factor in ((0.1, 1.0), (0.2, 1.5)):
            for name, own in (("cosine", 1.0), ("step", 1.3), ("linear", 1.0)):
                loss = 0.1 * factor * own * math.exp(0.05 * math.sin(seed * 1.7))
                make_run(tmp_path / "runs" / f"{name}_{rate}_{seed}", name, loss, lr=rate, seed=seed, workers=seed % 2)
    return tmp_path / "runs"


def test_runs_of_before_a_key_was_there_and_logged_elsewhere_are_the_same(tmp_path: Path) -> None:
    for seed, rate, name in itertools.product(range(3), (0.1, 0.2), ("cosine", "step")):
        folder = tmp_path / f"{name}_{rate}_{seed}"
        make_run(folder, name, rate, lr=rate, seed=seed)
        whole = json.loads((folder / "summary.json").read_text())
        whole["config"]["logger"] = {"wandb": {"project": "mine"}} if seed else {"name": "tensorboard"}
        if seed == 2:
            del whole["config"]["augment"]["mixup"], whole["config"]["trainer"]["deterministic"]
        (folder / "summary.json").write_text(json.dumps(whole))
    [found] = lrtrain.compare(runs=str(tmp_path)).found
    assert [(dict(each.settings), each.tried, each.n) for each in found.strategies] == [({"lr": 0.1}, 2, 3)] * 2


def test_comparison(place: Path, command_line: CommandLine, tmp_path: Path) -> None:
    done = command_line("task=compare", f"runs={place}", f"hydra.run.dir={tmp_path / 'out'}")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert {key: found[key] for key in ("metric", "mode", "scale", "by")} == {
        "metric": "test_loss",
        "mode": "min",
        "scale": "log",
        "by": ["scheduler"],
    }
    standings = {each["name"]: each for each in found["strategies"]}
    assert {name: each["verdict"] for name, each in standings.items()} == {
        "cosine": "leader",
        "linear": "tied",
        "step": "worse",
    }
    assert standings["step"]["difference"] == pytest.approx(math.log(1.3))
    assert standings["step"]["settings"] == {"lr": 0.1}
    assert {each["n"] for each in standings.values()} == {7}
    assert {each["tried"] for each in standings.values()} == {2}
    assert (standings["cosine"]["seconds"], standings["cosine"]["updates"]) == (28, 560), "of 14 runs"
    validated = standings["cosine"]["mean"] / 1.1
    assert standings["cosine"]["during"] == pytest.approx(
        {"25%": 8 * validated, "50%": 4 * validated, "100%": validated}, rel=1e-6
    )
    assert found["target"] == pytest.approx(standings["cosine"]["mean"] / 1.1), "cosine is in the middle"
    assert found["same_rate"]["0.2"]["step"] / found["same_rate"]["0.2"]["cosine"] == pytest.approx(1.3)
    assert found["words"] in " ".join(done.out.split())
    assert len(found["pairs"]) == 3
    assert [row["strategy"] for row in read_csv(tmp_path / "out" / "comparison.csv")] == [*standings]
    assert "| `step lr=0.1` |" in (tmp_path / "out" / "comparison.md").read_text()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["task"] == "compare"


def test_by_other_keys_another_metric_and_margin(place: Path, command_line: CommandLine, tmp_path: Path) -> None:
    words = ("task=compare", f"runs=[{place}]", "by=[scheduler,lr]", "metric=val_acc", "margin=0.5")
    assert command_line(*words, f"hydra.run.dir={tmp_path / 'out'}").code == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (found["metric"], found["scale"], found["margin"]) == ("val_acc", "plain", 0.5)
    assert [each["name"] for each in found["strategies"]][-1] == "step lr=0.2"


def test_several_models(place: Path, command_line: CommandLine, tmp_path: Path) -> None:
    for seed in range(3):
        make_run(place / f"other{seed}", "step", 0.1 + seed / 100, model=model("cnn"), seed=seed)
    words = ("task=compare", f"runs={place}", f"hydra.run.dir={tmp_path / 'out'}")
    done = command_line(*words)
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(table["of"], len(table["strategies"])) for table in found["tables"]] == [
        ({"model.name": "cnn"}, 1),
        ({"model.name": "mlp"}, 3),
    ]
    assert {each["name"]: each["tables"] for each in found["ranks"]} == {"step": 2, "cosine": 1, "linear": 1}
    assert [row["model.name"] for row in read_csv(tmp_path / "out" / "comparison.csv")] == ["cnn", *["mlp"] * 3]
    assert "mean rank over 2 comparisons" in done.out


def test_runs_that_cannot_be_compared(place: Path, command_line: CommandLine, tmp_path: Path) -> None:
    def refused(*words: str) -> str:
        done = command_line("task=compare", *words, f"hydra.run.dir={tmp_path / 'out'}")
        assert done.code == 2, done.out
        assert not (tmp_path / "out").exists()
        return done.err

    assert "there is no such folder" in refused("runs=nowhere")
    (tmp_path / "empty").mkdir()
    assert "there is no training below" in refused("runs=empty")
    assert "no run has a key colour" in refused(f"runs={place}", "by=colour")
    assert "no run has measured test_score: write metric=NAME; there are val_loss, test_loss, val_acc" in refused(
        f"runs={place}", "metric=test_score", "monitor_mode=max"
    )
    assert "metric=test_score: set monitor_mode=min or max" in refused(f"runs={place}", "metric=test_score")
    make_run(place / "third", "step", 0.1, monitor="val_acc")
    assert "the runs have monitored val_acc, val_loss" in refused(f"runs={place}")


def test_a_table_of_runs_from_elsewhere(command_line: CommandLine, tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    rows = [
        f"{name},{rate},{repeat},{3 + own + 0.01 * rate + 0.001 * repeat}"
        for name, own in (("a", 0), ("b", 1))
        for rate in (1, 2)
        for repeat in (1, 2)
    ]
    table.write_text("\n".join(["schedule,lr,repeat,final_loss", *rows, "c,1,1,"]) + "\n")
    words = ("task=compare", f"runs={table}", "by=schedule", "pair_by=repeat", f"hydra.run.dir={tmp_path / 'out'}")
    assert "metric=NAME" in command_line(*words).err
    done = command_line(*words, "metric=final_loss")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(each["name"], each["settings"], each["n"], each["verdict"]) for each in found["strategies"]] == [
        ("a", {"lr": 1}, 2, None),
        ("b", {"lr": 1}, 2, None),
    ]
    assert "2 seeds bear no verdict" in found["words"]
    assert any("chose the settings and judges them" in warning for warning in found["warnings"])


def test_failed_and_unfinished_runs(tmp_path: Path, command_line: CommandLine) -> None:
    for seed in range(4):
        make_run(tmp_path / "runs" / f"a{seed}", "step", 0.1 + seed / 100, seed=seed)
        make_run(tmp_path / "runs" / f"b{seed}", "cosine", None if seed == 3 else 0.2, seed=seed)
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / ".lock").write_text("")
    for name in ("killed", "torn"):
        make_run(tmp_path / "runs" / name, "cosine", 0.2, seed=4)
    (tmp_path / "runs" / "killed" / "summary.json").unlink()
    (tmp_path / "runs" / "killed" / ".lock").write_text("")
    (tmp_path / "runs" / "torn" / "summary.json").write_text("{")
    done = command_line("task=compare", f"runs={tmp_path / 'runs'}", f"hydra.run.dir={tmp_path / 'out'}")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(each["name"], each["failed"], each["n"]) for each in found["strategies"]] == [
        ("step", 0, 3),
        ("cosine", 1, 3),
    ]
    assert "cosine: 1 of its seeds failed under every setting" in found["warnings"]
    said = "2 of 10 runs do not say how they ended, and are in no table (killed: there is no summary.json)"
    assert said in found["warnings"]
