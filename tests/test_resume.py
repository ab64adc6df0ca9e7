"""A run that stopped goes on as if it had not: the same rows, rates and weights, under a plan that was decided on."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import KEPT, SMALL, CommandLine, Result, Train, copied, read_csv
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util
from torch import Tensor

from lrtrain.training.module import Supervised

INTERRUPTED, REFUSED = 143, 2
SHORT = (
    "trainer=cpu",
    "epochs=3",
    "log_every=1",
    "trainer.enable_progress_bar=false",
    "batch_size=128",
    "checkpoint_every=1ep",
)
"""10 batches an epoch of the built-in data, the last one smaller."""


class Leaves(NamedTuple):
    metrics: str
    scalars: dict[str, list[tuple[int, float]]]
    weights: dict[str, Tensor]


def begun_at(path: Path) -> tuple[int, int]:
    """The second in which an event file was begun, and its number in the process."""
    parts = path.name.split(".")
    return int(parts[3]), int(parts[-1])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar in the order in which it was written, without what TensorBoard does about repeated steps."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=begun_at):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, []).append((event.step, float(tensor_util.make_ndarray(value.tensor))))
    return found


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True))


def leaves(folder: Path) -> Leaves:
    return Leaves((folder / "metrics.csv").read_text(), scalars(folder), checkpoint(folder)["state_dict"])


def assert_equal(run: Path, expected: Path, *, same_words: bool = True) -> None:
    """What two runs have left is the same, to the bit; they were asked for by the same words, in whatever order."""
    ours, theirs = leaves(run), leaves(expected)
    assert ours.metrics == theirs.metrics
    assert ours.scalars == theirs.scalars
    for series in ours.scalars.values():
        steps = [step for step, _ in series]
        assert steps == sorted(set(steps))
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)
    firsts = [checkpoint(folder)["callbacks"]["DivergenceGuard"]["first"] for folder in (run, expected)]
    assert firsts[0] == firsts[1], "the loss that later ones are compared with is the first of the whole run"
    results = [json.loads((folder / "summary.json").read_text()) for folder in (run, expected)]
    compared = [
        {key: value for key, value in result.items() if key not in ("wall_s", "config", "started", "ended")}
        | {"command": sorted((result["command"] or "").split()) if same_words else None}
        for result in results
    ]
    assert compared[0] == compared[1]
    assert compared[0]["status"] == "finished"


class Stop:
    """Acts once, in the training step of one batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, batch: int, act: Callable[[Any], None]) -> None:
        """Let `act` be called with the module before the training step of a batch, counted from 0."""
        seen, original = [0], Supervised.training_step

        def training_step(module: Supervised, data: Any, batch_idx: int) -> Tensor:
            if seen[0] == batch:
                act(module)
            seen[0] += 1
            return original(module, data, batch_idx)

        self.monkeypatch.setattr(Supervised, "training_step", training_step)

    def over(self) -> None:
        self.monkeypatch.setattr(Supervised, "training_step", TRAINING_STEP)


TRAINING_STEP = Supervised.training_step


def terminate(module: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail(module: Any) -> None:
    raise RuntimeError("the machine is on fire")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    return Stop(monkeypatch)


@pytest.fixture
def stopped(train: Train, stop: Stop, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the folder of a run that ended in the step of a batch; each such run is stopped once for all tests."""

    def run(*arguments: str, batch: int, act: Callable[[Any], None] = terminate) -> Path:
        asked = (*arguments, batch, act)
        if asked in KEPT:
            return copied(KEPT[asked], tmp_path).folder
        stop(batch, act)
        ended = train(*arguments, code=INTERRUPTED if act is terminate else 1)
        stop.over()
        KEPT[asked] = copied(ended, tmp_path.with_name(f"{tmp_path.name}_kept"))
        return ended.folder

    return run


EXACTLY: dict[str, tuple[str, list[tuple[int, Callable[[Any], None]]]]] = {
    "first, last of an epoch, amid one, error, last of all": (
        "model=mlp scheduler=cosine",
        [(0, terminate), (8, terminate), (3, terminate), (8, fail), (9, terminate)],
    ),
    "again and again, under a plateau after a warm-up": (
        "model=mlp scheduler=plateau patience=0 threshold=0.9 warmup=5st",
        [(4, terminate)] * 5,
    ),
    "error, saved every 7 updates": ("model=mlp scheduler=one_cycle checkpoint_every=7st", [(24, fail)]),
    "validation_drop": ("model=linear scheduler=validation_drop checkpoint_every=7st", [(24, fail)]),
    "greedy on top of cosine": ("model=linear scheduler=cosine feedback=greedy patience=0", [(22, terminate)]),
    "3 batches an update": ("batch_size=140 trainer.accumulate_grad_batches=3 warmup=2st", [(13, terminate)]),
    "3 batches an update, 1 the last": ("trainer.accumulate_grad_batches=3 checkpoint_every=2st", [(28, fail)]),
    "augmented by workers, mixed": (
        "model=linear augment={flip:true,crop:2,cutout:3,mixup:0.2} workers=2 epochs=2",
        [(13, terminate)],
    ),
    "2 workers, classes in balance, error": (
        "workers=2 sampler=balanced checkpoint_every=7st scheduler=cosine_restarts period=1ep",
        [(18, fail)],
    ),
    "adamw, weight decay on a schedule": (
        "optimizer=adamw lr=0.001 hyperparameters={weight_decay:{scheduler:cosine,high:0.04,low:0.4}}",
        [(16, terminate)],
    ),
    "several validations an epoch, in a batch before one": (
        "trainer.val_check_interval=4 checkpoint_every=3st",
        [(13, terminate), (4, fail)],
    ),
    "a validation every other epoch": ("trainer.check_val_every_n_epoch=2 epochs=4", [(25, terminate)]),
    "part of the batches": ("trainer.limit_train_batches=4", [(6, terminate), (3, fail)]),
    "groups, no log, without the last batch": ("drop_last=true logger=none groups={.*bias:{lr_mult:2}}", [(11, fail)]),
    "average of weights of 64 bits": ("ema=0.9 trainer.precision=64-true", [(13, terminate)]),
    "weights of 16 bits": ("model=mlp trainer.precision=bf16-true scheduler=cosine", [(13, terminate)]),
    "a new loader every epoch, error": ("+trainer.reload_dataloaders_every_n_epochs=1 epochs=4", [(22, fail)]),
    "log points far apart": ("log_every=4 checkpoint_every=7st", [(22, fail)]),
    "early stopping": ("early_stop=1 scheduler=constant lr=1.0 epochs=6 checkpoint_every=7st", [(17, fail)]),
}
"""What is asked for; the batch of each attempt in which the run stops, and how."""


@pytest.mark.parametrize(("arguments", "stops"), EXACTLY.values(), ids=EXACTLY.keys())
def test_goes_on_exactly(
    arguments: str,
    stops: list[tuple[int, Callable[[Any], None]]],
    train: Train,
    stop: Stop,
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    asked = [*SHORT, *arguments.split()]
    expected = train(*asked).folder
    folder = tmp_path / "stopped"
    words = [*asked, f"hydra.run.dir={folder}"]
    for batch, act in stops:
        stop(batch, act)
        assert command_line(*words).code == (INTERRUPTED if act is terminate else 1)
        stop.over()
        status = json.loads((folder / "summary.json").read_text())["status"]
        assert status == ("interrupted" if act is terminate else "failed")
        words = [f"resume={folder}"]
    resumed = command_line(*words)
    assert resumed.code == 0, resumed.err
    assert_equal(folder, expected)


def test_error_after_the_last_update(
    train: Train, trained: Train, monkeypatch: pytest.MonkeyPatch, command_line: CommandLine
) -> None:
    expected = trained(*SMALL, "epochs=2").folder
    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "test_step", lambda module, data, batch_idx: fail(module))
        folder = train(*SMALL, "epochs=2", code=1).folder
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(folder, expected)


def test_last_is_the_newest(command_line: CommandLine, stop: Stop, tmp_path: Path) -> None:
    asked = [*SHORT, "model=linear", "epochs=2"]
    assert command_line(*asked).code == 0
    stop(12, terminate)
    assert command_line(*asked, "seed=1").code == INTERRUPTED
    stop.over()
    assert command_line("resume=last").code == 0
    folders = sorted(path.parent for path in tmp_path.glob("outputs/*/*/summary.json"))
    assert len(folders) == 2, "no folder of its own"
    assert [json.loads((folder / "summary.json").read_text())["status"] for folder in folders] == ["finished"] * 2
    assert [len(read_csv(folder / "metrics.csv")) for folder in folders] == [20, 20]


HOPELESS = (*SHORT, "model=linear", "scheduler=constant", "lr=1e-30", "early_stop=2")
"""Its first validation is its best, and the third ends it."""


def unfinished(folder: Path) -> Path:
    """As if the run had been killed just before its summary was written."""
    (folder / "summary.json").unlink()
    return folder


@pytest.mark.parametrize("every", ["1.0", "4"])
def test_run_that_stopped_early_stays_stopped(every: str, trained: Train, command_line: CommandLine) -> None:
    asked = (*HOPELESS, f"trainer.val_check_interval={every}", "epochs=5")
    expected, folder = trained(*asked).folder, unfinished(trained(*asked).folder)
    weights = (folder / "checkpoints" / "last.ckpt").read_bytes()
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert "only the final test remains" in resumed.out
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == weights
    assert_equal(folder, expected)


@pytest.mark.parametrize(
    ("patience", "every"), [("early_stop=null", "1.0"), ("early_stop=3", "4"), ("early_stop=null", "5")]
)
def test_more_patience(patience: str, every: str, train: Train, trained: Train, command_line: CommandLine) -> None:
    """The run goes on from where it stopped, in mid-epoch or not, as one that had that patience from the start."""
    asked = (*HOPELESS, f"trainer.val_check_interval={every}", "epochs=5")
    expected, folder = train(*asked, patience).folder, unfinished(trained(*asked).folder)
    resumed = command_line(f"resume={folder}", patience)
    assert resumed.code == 0, resumed.err
    assert_equal(folder, expected)


def test_less_patience(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    """Two validations have brought nothing, which is more than is forgiven now."""
    folder = stopped(*HOPELESS, "early_stop=5", "epochs=6", batch=32)
    resumed = command_line(f"resume={folder}", "early_stop=3")
    assert resumed.code == 0, resumed.err
    assert json.loads((folder / "summary.json").read_text())["steps"] == 40


def test_another_plan_after_an_early_stop(trained: Train, command_line: CommandLine) -> None:
    """What the old plan's patience was used up by does not count under the new one."""
    folder = trained(*HOPELESS, "epochs=5").folder
    resumed = command_line(f"resume={folder}", "scheduler=exponential", "lr=1e-29", "resume_plan=append")
    assert resumed.code == 0, resumed.err
    assert json.loads((folder / "summary.json").read_text())["steps"] == 50


def test_run_that_ends_by_itself_has_failed(
    stopped: Callable[..., Path], command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(*SMALL, "epochs=3", batch=6)
    monkeypatch.setattr("lrtrain.training.epoch_loop.EpochLoop.done", property(lambda loop: loop.global_step >= 8))
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 1
    assert "the run ended after 8 of its 12 updates" in resumed.err


def test_another_metric(train: Train, stopped: Callable[..., Path], command_line: CommandLine) -> None:
    """The feedback, the best and the patience of the old metric are not compared with values of the new one."""
    rule = ("scheduler=plateau", "patience=0", "threshold=0.9", "factor=0.5")
    asked = (*SHORT, *rule, "model=linear", "early_stop=9", "epochs=6")
    folder = stopped(*asked, "monitor=val_acc", batch=34)
    before = checkpoint(folder)["lr_schedulers"][0]["feedback"]
    assert (before["scale"], before["bad"]) == (0.25, 0), "two of three validations were bad"
    change = (f"resume={folder}", "monitor=val_loss", "lr=30", "resume_plan=switch")
    preview = command_line(*change, "task=preview")
    assert preview.code == 0, preview.err
    assert "of the curve" not in preview.out
    assert command_line(*change).code == 0
    rows = read_csv(folder / "metrics.csv")
    losses = {int(row["step"]): float(row["val_loss"]) for row in rows if row["val_loss"]}
    after = {step: loss for step, loss in losses.items() if step >= 34}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["best"]["val_loss"] == min(after.values())
    assert checkpoint(folder, "best")["lr_schedulers"][0]["step"] == summary["best"]["step"]
    state = checkpoint(folder)["lr_schedulers"][0]["feedback"]
    assert state["best"] == after[39], "no later loss is below a tenth of it"
    assert [float(rows[step]["lr"]) for step in (0, 34, 35, 40, 49, 50)] == [0.1, 0.025, 30, 30, 30, 15]


def worse(folder: Path) -> tuple[str, ...]:
    """What a run is resumed with so that it ends worse than it was."""
    return (f"resume={folder}", "lr=30", "scheduler=constant", "resume_plan=switch")


def assert_best_agrees(folder: Path) -> None:
    """The summary, the file of the best weights and the table say the same."""
    best, saved = json.loads((folder / "summary.json").read_text())["best"], checkpoint(folder, "best")
    assert saved["lr_schedulers"][0]["step"] == best["step"]
    row = read_csv(folder / "metrics.csv")[int(best["step"]) - 1]
    assert float(row["val_loss"]) == best["val_loss"]
    assert not (folder / "checkpoints" / "best_of_last.ckpt").exists()


@pytest.mark.parametrize(("every", "batch"), [("11st", 31), ("21st", 41)])
def test_best_of_a_future_that_is_abandoned(
    every: str, batch: int, train: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    """The run had better weights after its last checkpoint, once or more often, than it will have again."""
    asked = (*SHORT, "model=linear", "epochs=5", f"checkpoint_every={every}")
    folder = stopped(*asked, batch=batch, act=fail)
    last = checkpoint(folder)
    assert checkpoint(folder, "best")["lr_schedulers"][0]["step"] > last["lr_schedulers"][0]["step"]
    assert command_line(*worse(folder)).code == 0
    assert_best_agrees(folder)
    losses = [float(row["val_loss"]) for row in read_csv(folder / "metrics.csv") if row["val_loss"]]
    assert json.loads((folder / "summary.json").read_text())["best"]["val_loss"] == min(losses)
    # The other way, it is as if nothing had happened.
    folder = stopped(*asked, batch=batch, act=fail)
    assert command_line(f"resume={folder}").code == 0
    expected = train(*asked).folder
    assert_equal(folder, expected)
    ours, theirs = (checkpoint(run, "best")["state_dict"] for run in (folder, expected))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_best_of_a_damaged_last_checkpoint(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    """The best of the one before is gone: that of the file counts."""
    folder = stopped(*SHORT, "model=linear", "epochs=5", "checkpoint_every=11st", batch=35, act=fail)
    truncate(folder / "checkpoints" / "last.ckpt")
    assert command_line(*worse(folder)).code == 0
    best, saved = json.loads((folder / "summary.json").read_text())["best"], checkpoint(folder, "best")
    assert saved["lr_schedulers"][0]["step"] == best["step"]
    assert saved["callbacks"]["LastAndBest"]["best"] == {
        name: best[name] for name in ("epoch", "step", "val_loss", "val_acc")
    }


@pytest.mark.parametrize("remove", [Path.unlink, truncate], ids=["deleted", "damaged"])
def test_best_that_is_gone(
    remove: Callable[[Path], None], stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    """A run that will not be as good again has the best of what it measures."""
    folder = stopped(*SHORT, "model=linear", batch=25)
    remove(folder / "checkpoints" / "best.ckpt")
    resumed = command_line(*worse(folder))
    assert resumed.code == 0, resumed.err
    assert "best-checkpoint tracking restarts" in resumed.out
    assert_best_agrees(folder)


def test_best_that_is_gone_when_all_is_done(trained: Train, command_line: CommandLine) -> None:
    folder = unfinished(trained(*SMALL, "epochs=2").folder)
    (folder / "checkpoints" / "best.ckpt").unlink()
    refused(command_line(f"resume={folder}"), "no update is left", "epochs")
    assert command_line(f"resume={folder}", "epochs=3", "resume_plan=keep").code == 0
    assert_best_agrees(folder)


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


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


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


def test_what_matters_to_no_rate_may_change(
    train: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    asked = (*SMALL, "epochs=3", "trainer.enable_progress_bar=false")
    expected, folder = train(*asked).folder, stopped(*asked, batch=AT)
    resumed = command_line(f"resume={folder}", "workers=2", "checkpoint_every=3st", "trainer.enable_progress_bar=true")
    assert resumed.code == 0, resumed.err
    assert leaves(folder).metrics == leaves(expected).metrics


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


def test_folder_of_any_name(stopped: Callable[..., Path], command_line: CommandLine, tmp_path: Path) -> None:
    for name in ("a\\b", "it's", "ends with \\", "a=b, [c] {d}", "$x $(y)"):
        folder = stopped(*SMALL, "epochs=2", batch=AT - 1)
        (tmp_path / "outputs").mkdir(exist_ok=True)
        moved = folder.rename(tmp_path / "outputs" / name)
        resumed = command_line("resume=last")
        assert resumed.code == 0, f"{name}: {resumed.err}"
        assert json.loads((moved / "summary.json").read_text())["status"] == "finished", name
        shutil.rmtree(moved)


def test_folder_of_a_name_that_hydra_would_interpolate(
    stopped: Callable[..., Path], trained: Train, command_line: CommandLine, tmp_path: Path
) -> None:
    folder = stopped(*SMALL, "epochs=2", batch=AT - 1)
    moved = folder.rename(tmp_path / "${now:x}")
    assert command_line(f"resume={moved}").code == 0
    assert_equal(moved, trained(*SMALL, "epochs=2").folder)


def test_what_was_asked_for_is_found_beside_other_files(
    stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "epochs=3", batch=AT - 1)
    for name in ("resumed_1", "resumed_1 copy"):  # a kill left the first empty
        (folder / ".hydra" / name).mkdir()
        (folder / ".hydra" / name / "overrides.yaml").write_text("")
    assert command_line(f"resume={folder}").code == 0


def test_finished(trained: Train, command_line: CommandLine) -> None:
    folder = trained(*SMALL, "epochs=2").folder
    before = snapshot(folder)
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0
    assert "finished" in resumed.out
    assert snapshot(folder) == before
    longer = command_line(f"resume={folder}", "epochs=3", "resume_plan=keep")
    assert longer.code == 0, longer.err
    assert [int(row["step"]) for row in read_csv(folder / "metrics.csv")] == list(range(12))
    drawn = scalars(folder)
    for name in ("test_loss", "test_acc", "best/val_loss", "best/test_acc"):
        assert [step for step, _ in drawn[name]] == [11], "the result is that of the longer run alone"
    assert hparams(folder) == 1


def hparams(folder: Path) -> int:
    """How many times TensorBoard is told what the run's configuration was."""
    events = [event for path in folder.glob("events.out.tfevents.*") for event in EventFileLoader(str(path)).Load()]
    return sum(value.tag == "_hparams_/session_start_info" for event in events for value in event.summary.value)


def test_killed_before_the_summary(trained: Train, command_line: CommandLine) -> None:
    """What TensorBoard had been told of the result by then is told once."""
    expected, folder = trained(*SMALL, "epochs=2").folder, unfinished(trained(*SMALL, "epochs=2").folder)
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(folder, expected)
    assert hparams(folder) == 1


def flip_a_bit(path: Path) -> None:
    """In the middle of the largest array."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink])
def test_damaged_checkpoint(
    damage: Callable[[Path], None], trained: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    asked = (*SHORT, "model=mlp", "checkpoint_every=5st")
    expected, folder = trained(*asked).folder, stopped(*asked, batch=13)
    damage(folder / "checkpoints" / "last.ckpt")
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert "update 10" in resumed.out
    assert damage is Path.unlink or "damaged" in resumed.out
    assert_equal(folder, expected)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty])
def test_both_checkpoints_damaged(
    damage: Callable[[Path], None], stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    folder = stopped(*SMALL, "epochs=3", "checkpoint_every=2st", batch=AT)
    for name in ("last", "previous"):
        damage(folder / "checkpoints" / f"{name}.ckpt")
    before = {name: content for name, (content, _) in snapshot(folder).items() if ".hydra" not in name}
    resumed = command_line(f"resume={folder}")
    assert resumed.code == REFUSED
    assert "Traceback" not in resumed.err
    assert "best.ckpt" in resumed.err
    after = {name: content for name, (content, _) in snapshot(folder).items() if ".hydra" not in name}
    assert after == before
    assert not (folder / ".hydra" / "resumed_1").exists()


def test_what_was_asked_for_is_kept(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "scheduler=linear", "epochs=3", batch=AT - 1)
    before = {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir()}
    assert command_line(f"resume={folder}", "epochs=4", "resume_plan=keep").code == 0
    after = {path.name: path.read_bytes() for path in (folder / ".hydra").iterdir() if path.is_file()}
    assert after == before
    added = [str(item) for item in OmegaConf.load(folder / ".hydra" / "resumed_1" / "overrides.yaml")]
    assert {"epochs=4", "resume_plan=keep"} <= set(added)
    config = OmegaConf.load(folder / ".hydra" / "resumed_1" / "config.yaml")
    assert (config.epochs, config.scheduler, config.model.name) == (4, "linear", "linear")
    assert json.loads((folder / "summary.json").read_text())["config"]["epochs"] == 4


def refused(result: Result, *parts: str) -> None:
    assert result.code == REFUSED, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert all(part in result.err for part in parts), result.err


def test_sweep_is_not_resumed(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "epochs=3", batch=AT)
    refused(command_line("-m", f"resume={folder}", "seed=1,2"), "-m")


def test_nothing_to_resume(command_line: CommandLine, tmp_path: Path) -> None:
    refused(command_line("resume=last"), "resume")
    refused(command_line("resume=nowhere"), "resume=nowhere", "last.ckpt")
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    refused(command_line("resume=empty"), "resume=empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


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


def test_checkpoint_of_another_version(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "epochs=3", batch=6)
    saved = checkpoint(folder)
    del saved["callbacks"]["LastAndBest"]["monitor"]
    torch.save(saved, folder / "checkpoints" / "last.ckpt")
    refused(
        command_line(f"resume={folder}"), "last.ckpt has no 'monitor'", "another version", "resume_plan=weights_only"
    )


@pytest.mark.parametrize(
    ("words", "batch"),
    [
        (("trainer.accumulate_grad_batches=2", "trainer.val_check_interval=7", "checkpoint_every=10st"), 24),
        (("trainer.accumulate_grad_batches=4", "trainer.val_check_interval=5", "checkpoint_every=4st"), 18),
    ],
)
def test_killed_after_a_validation_inside_a_window(
    words: tuple[str, ...], batch: int, train: Train, stop: Stop, command_line: CommandLine
) -> None:
    """The row that a validation adds to an update of before the checkpoint is there once, with its rate."""
    asked = ("model=linear", "trainer=cpu", "epochs=1", "log_every=10", *words)
    stop(batch, fail)
    run = train(*asked, code=1)
    stop.over()
    assert command_line(f"resume={run.folder}").code == 0
    assert_equal(run.folder, train(*asked).folder)


def test_random_numbers_of_numpy_go_on(train: Train, stop: Stop, command_line: CommandLine) -> None:
    asked = ("model=custom", "model.function=user_code:Noisy", *SMALL[1:], "epochs=2", "checkpoint_every=1st")
    stop(6, fail)
    run = train(*asked, code=1)
    stop.over()
    assert command_line(f"resume={run.folder}", "model.function=user_code:Noisy").code == 0
    assert_equal(run.folder, train(*asked).folder)
