"""A run goes on under another plan, which somebody has to decide on: each policy has its closed form."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL, CommandLine, Train, read_csv
from resuming import (
    INTERRUPTED,
    REFUSED,
    Stop,
    assert_equal,
    checkpoint,
    fail,
    refused,
    scalars,
    snapshot,
    terminate,
    truncate,
)
from torch import Tensor

LR, LENGTH, AT = 0.1, 4, 6
OLD, NEW = 3 * LENGTH, 5 * LENGTH


def old(t: float) -> float:
    """Linear to a tenth, planned for 12 updates."""
    return LR * (1 - 0.9 * min(t, OLD) / OLD)


def cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


POLICIES: dict[str, tuple[str, Callable[[int], float]]] = {
    "keep": ("epochs=5 resume_plan=keep", old),
    "stretch": ("epochs=5 resume_plan=stretch", lambda t: old(AT + (t - AT) * (OLD - AT) / (NEW - AT))),
    "append": (
        "epochs=5 lr=0.05 scheduler=cosine resume_plan=append",
        lambda t: 0.05 * cosine((t - AT) / (NEW - AT)),
    ),
    "append after a warm-up": (
        "epochs=5 scheduler=cosine warmup=2st resume_plan=append",
        lambda t: LR * ((t - AT + 1) / 2 if t < AT + 2 else cosine((t - AT - 2) / (NEW - AT - 2))),
    ),
    "append, epochs from there": (
        "epochs=5 scheduler=inverse_time decay=1 resume_plan=append",
        lambda t: LR / (1 + (t - AT) // LENGTH),
    ),
    "switch": ("epochs=5 lr=0.05 scheduler=cosine resume_plan=switch", lambda t: 0.05 * cosine(t / NEW)),
    "switch, epochs from the start": (
        "scheduler=exponential gamma=0.5 resume_plan=switch epochs=5",
        lambda t: LR * 0.5 ** (t // LENGTH),
    ),
    "switch, another rate": ("lr=0.02 resume_plan=switch", lambda t: 0.02 * (1 - 0.9 * t / OLD)),
    "shorter, stretch": ("epochs=2 resume_plan=stretch", lambda t: old(AT + (t - AT) * (OLD - AT) / (8 - AT))),
    "shorter, keep": ("epochs=2 resume_plan=keep", old),
}


@pytest.mark.parametrize(("arguments", "formula"), POLICIES.values(), ids=POLICIES.keys())
def test_changed_plan(
    arguments: str, formula: Callable[[int], float], stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "end=0.1", "epochs=3", batch=AT - 1)
    resumed = command_line(f"resume={folder}", *arguments.split())
    assert resumed.code == 0, resumed.err
    length = {"epochs=2": 8, "epochs=5": NEW}.get(next((w for w in arguments.split() if "epochs" in w), ""), OLD)
    used = [float(row["lr"]) for row in read_csv(folder / "metrics.csv")]
    assert used == pytest.approx([old(t) if t < AT else formula(t) for t in range(length)], rel=0, abs=1e-12)
    assert [step for step, _ in scalars(folder)["lr"]] == list(range(length))
    assert json.loads((folder / "summary.json").read_text())["steps"] == length


def test_plan_changed_twice(stopped: Callable[..., Path], command_line: CommandLine, stop: Stop) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "end=0.1", "epochs=3", batch=AT - 1)
    stop(3, terminate)
    assert command_line(f"resume={folder}", "epochs=5", "resume_plan=stretch").code == INTERRUPTED
    stop.over()
    again = AT + 4
    resumed = command_line(f"resume={folder}", "scheduler=cosine", "epochs=6", "lr=0.03", "resume_plan=append")
    assert resumed.code == 0, resumed.err

    def rate(t: int) -> float:
        if t < AT:
            return old(t)
        if t < again:
            return old(AT + (t - AT) * (OLD - AT) / (NEW - AT))
        return 0.03 * cosine((t - again) / (6 * LENGTH - again))

    used = [float(row["lr"]) for row in read_csv(folder / "metrics.csv")]
    assert used == pytest.approx([rate(t) for t in range(6 * LENGTH)], rel=0, abs=1e-12)


@pytest.mark.parametrize("policy", ["keep", "stretch", "append", "switch"])
def test_groups_follow_the_policy(policy: str, stopped: Callable[..., Path], command_line: CommandLine) -> None:
    """A pattern's rates stay in proportion, and are those of the run but for that; frozen ones are so once."""
    groups = "groups={1.weight:{lr_mult:0.5,frozen:1ep}}"
    folder = stopped(*SMALL, "scheduler=linear", "end=0.1", "epochs=3", groups, batch=AT - 1)
    arguments, formula = POLICIES[policy]
    assert command_line(f"resume={folder}", *arguments.split()).code == 0
    rows = read_csv(folder / "metrics.csv")
    expected = [old(t) if t < AT else formula(t) for t in range(NEW)]
    assert [float(row["lr/rest"]) for row in rows] == pytest.approx(expected, rel=0, abs=1e-12)
    mine = [float(row["lr/1.weight"]) for row in rows]
    assert mine[:LENGTH] == [0] * LENGTH
    assert mine[LENGTH:] == pytest.approx([rate / 2 for rate in expected[LENGTH:]], rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("policy", "position"),
    [
        ("keep", lambda t: min(1, t / OLD)),
        ("stretch", lambda t: (AT + (t - AT) * (OLD - AT) / (NEW - AT)) / OLD),
        ("append", lambda t: (t - AT) / (NEW - AT)),
        ("switch", lambda t: t / NEW),
    ],
)
def test_hyperparameters_follow_the_policy(
    policy: str, position: Callable[[int], float], stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    decay = "hyperparameters={weight_decay:{scheduler:linear,high:0.1,low:0.4}}"
    folder = stopped(*SMALL, "scheduler=constant", "epochs=3", decay, batch=AT - 1)
    lr = ("lr=0.05",) if policy in ("append", "switch") else ()
    assert command_line(f"resume={folder}", "epochs=5", *lr, f"resume_plan={policy}").code == 0
    used = [float(row["weight_decay"]) for row in read_csv(folder / "metrics.csv")]
    expected = [0.1 + 0.3 * (t / OLD if t < AT else position(t)) for t in range(NEW)]
    assert used == pytest.approx(expected, rel=0, abs=1e-12)


def test_changed_plan_is_resumed_exactly(
    train: Train, stopped: Callable[..., Path], command_line: CommandLine, stop: Stop
) -> None:
    """Once decided on, a changed plan is the plan: what goes on with it needs no policy."""
    change = ("epochs=5", "scheduler=plateau", "patience=0", "threshold=0.9", "resume_plan=switch")
    folders = [stopped(*SMALL, "scheduler=linear", "epochs=3", batch=AT - 1) for _ in range(2)]
    assert command_line(f"resume={folders[0]}", *change).code == 0
    stop(7, terminate)
    assert command_line(f"resume={folders[1]}", *change).code == INTERRUPTED
    stop.over()
    resumed = command_line(f"resume={folders[1]}")
    assert resumed.code == 0, resumed.err
    assert_equal(folders[1], folders[0])


CHANGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "length": ("epochs=5", ("epochs 3 -> 5", "keep", "stretch", "append", "switch", "weights_only")),
    "rate": ("lr=0.05", ("lr 0.1 -> 0.05", "append", "switch", "weights_only")),
    "strategy": ("scheduler=cosine", ("scheduler linear -> cosine", "append", "switch", "weights_only")),
    "parameter": ("end=0.5", ("end 0.0 -> 0.5",)),
    "several": ("lr=0.05 warmup=2st epochs=4", ("lr 0.1 -> 0.05", "warmup 0 -> 2st", "epochs 3 -> 4")),
    "data": ("batch_size=16", ("batch_size 32 -> 16", "weights_only")),
    "model": ("model=mlp", ("model.name linear -> mlp", "weights_only")),
    "all to one": ("trainer.val_check_interval=1", ("trainer.val_check_interval 1.0 -> 1", "weights_only")),
    "less than is done": ("epochs=1 resume_plan=keep", ("has done 6 updates", "epochs=1 are 4", "epochs=2 or more")),
    "no room for a warm-up": (
        "epochs=4 warmup=3ep resume_plan=append",
        ("warmup=3ep takes 12 updates", "what is left has 10"),
    ),
    "policy that cannot": ("lr=0.05 resume_plan=keep", ("keep", "lr", "append", "switch")),
    "data under a policy": ("batch_size=16 resume_plan=switch", ("batch_size", "weights_only")),
    "no such policy": ("epochs=5 resume_plan=longer", ("resume_plan", "keep", "stretch", "append", "switch")),
}


def test_change_that_nobody_decided_on(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "epochs=3", batch=AT - 1)
    before = snapshot(folder)
    for what, (arguments, parts) in CHANGES.items():
        resumed = command_line(f"resume={folder}", *arguments.split())
        assert resumed.code == REFUSED, what
        assert len(resumed.err.splitlines()) == 1, f"{what}: {resumed.err}"
        assert all(part in resumed.err for part in parts), f"{what}: {resumed.err}"
        assert snapshot(folder) == before, what
        assert [path.name for path in folder.parent.iterdir()] == [folder.name], what


def test_weights_only(stopped: Callable[..., Path], command_line: CommandLine, stop: Stop, tmp_path: Path) -> None:
    folder = stopped(*SMALL, "epochs=3", batch=AT - 1)
    before, first = snapshot(folder), dict[str, Tensor]()
    stop(0, lambda module: first.update({name: value.clone() for name, value in module.state_dict().items()}))
    begun = tmp_path / "begun"
    arguments = ("lr=0.01", "scheduler=cosine", "epochs=2", "batch_size=16", "resume_plan=weights_only")
    resumed = command_line(f"resume={folder}", *arguments, f"hydra.run.dir={begun}")
    assert resumed.code == 0, resumed.err
    weights = checkpoint(folder)["state_dict"]
    assert first.keys() == weights.keys()
    assert all(torch.equal(first[name], weights[name]) for name in weights)
    assert snapshot(folder) == before
    used = [float(row["lr"]) for row in read_csv(begun / "metrics.csv")]
    assert used == pytest.approx([0.01 * cosine(t / 8) for t in range(8)], rel=0, abs=1e-12)


@pytest.mark.parametrize("written", ["resume_plan='weights_only'", "++resume_plan=weights_only"])
def test_weights_only_however_it_is_written(
    written: str, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    folder = stopped(*SMALL, "epochs=2", batch=AT - 1)
    before = snapshot(folder)
    assert command_line(f"resume={folder}", "lr=0.01", written).code == 0
    assert snapshot(folder) == before
    refused(command_line(f"resume={folder}", written, f"hydra.run.dir={folder}"), "hydra.run.dir")
    assert {name for name in snapshot(folder) if ".hydra" not in name} == {n for n in before if ".hydra" not in n}


def test_data_that_has_grown(stopped: Callable[..., Path], command_line: CommandLine, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{index % 7},{index % 5},{index % 2}\n" for index in range(160)]
    table.write_text("a,b,y\n" + "".join(rows))
    data = ("dataset=csv", f"dataset.file={table}", "dataset.target=y", "trainer.limit_train_batches=1.0")
    folder = stopped(*SMALL, *data, "epochs=3", batch=4)
    table.write_text("a,b,y\n" + "".join(rows * 2))
    before = snapshot(folder)
    refused(command_line(f"resume={folder}"), "had 4 updates", "would have 7", "weights_only")
    assert snapshot(folder) == before
    table.write_text("a,b,y\n" + "".join(rows))
    assert command_line(f"resume={folder}").code == 0


def test_damaged_checkpoint_of_a_changed_plan(
    stopped: Callable[..., Path], command_line: CommandLine, stop: Stop
) -> None:
    """What was decided on after the checkpoint that is left is decided on at that one."""
    folder = stopped(*SMALL, "scheduler=linear", "end=0.1", "epochs=3", "checkpoint_every=2st", batch=AT - 1)
    stop(1, fail)
    assert command_line(f"resume={folder}", "epochs=5", "resume_plan=keep").code == 1
    stop.over()
    truncate(folder / "checkpoints" / "last.ckpt")
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert "update 4" in resumed.out
    used = [float(row["lr"]) for row in read_csv(folder / "metrics.csv")]
    assert used == pytest.approx([old(t) for t in range(NEW)], rel=0, abs=1e-12)


def test_keys_of_a_default_strategy_go_with_it(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "every=1", "gamma=0.9", "feedback=plateau", "patience=0", "epochs=3", batch=AT - 1)
    resumed = command_line(f"resume={folder}", "scheduler=cosine", "feedback=null", "resume_plan=switch")
    assert resumed.code == 0, resumed.err
    used = [float(row["lr"]) for row in read_csv(folder / "metrics.csv")]
    assert used[AT:] == pytest.approx([LR * cosine(t / OLD) for t in range(AT, OLD)], rel=0, abs=1e-12)
