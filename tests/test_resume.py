"""A run that stopped goes on as if it had not: the same rows, rates and weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, CommandLine, Train, read_csv
from resuming import (
    INTERRUPTED,
    SHORT,
    Stop,
    assert_equal,
    checkpoint,
    fail,
    leaves,
    refused,
    scalars,
    snapshot,
    terminate,
    unfinished,
)
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lrtrain.training.module import Supervised

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
    "3 batches an update": (
        "model=linear batch_size=140 trainer.accumulate_grad_batches=3 warmup=2st",
        [(13, terminate)],
    ),
    "3 batches an update, 1 the last": (
        "model=linear trainer.accumulate_grad_batches=3 checkpoint_every=2st",
        [(28, fail)],
    ),
    "augmented by workers, mixed": (
        "model=linear augment={flip:true,crop:2,cutout:3,mixup:0.2} workers=2 epochs=2",
        [(13, terminate)],
    ),
    "2 workers, classes in balance, error": (
        "workers=2 sampler=balanced checkpoint_every=7st scheduler=cosine_restarts period=1ep",
        [(18, fail)],
    ),
    "adamw, weight decay on a schedule": (
        "model=linear optimizer=adamw lr=0.001 hyperparameters={weight_decay:{scheduler:cosine,high:0.04,low:0.4}}",
        [(16, terminate)],
    ),
    "several validations an epoch, in a batch before one": (
        "trainer.val_check_interval=4 checkpoint_every=3st",
        [(13, terminate), (4, fail)],
    ),
    "a validation every other epoch": ("model=linear trainer.check_val_every_n_epoch=2 epochs=4", [(25, terminate)]),
    "part of the batches": ("model=linear trainer.limit_train_batches=4", [(6, terminate), (3, fail)]),
    "groups, no log, without the last batch": (
        "model=linear drop_last=true logger=none groups={.*bias:{lr_mult:2}}",
        [(11, fail)],
    ),
    "average of weights of 64 bits": ("model=linear ema=0.9 trainer.precision=64-true", [(13, terminate)]),
    "weights of 16 bits": ("model=mlp trainer.precision=bf16-true scheduler=cosine", [(13, terminate)]),
    "a new loader every epoch, error": (
        "model=linear +trainer.reload_dataloaders_every_n_epochs=1 epochs=4",
        [(22, fail)],
    ),
    "log points far apart": ("model=linear log_every=4 checkpoint_every=7st", [(22, fail)]),
    "early stopping": (
        "model=linear early_stop=1 scheduler=constant lr=1.0 epochs=6 checkpoint_every=7st",
        [(17, fail)],
    ),
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
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["steps"], summary["epochs"]) == (7, 1), "an epoch that is not over does not count"
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


def test_what_matters_to_no_rate_may_change(
    train: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    asked = (*SMALL, "epochs=3", "trainer.enable_progress_bar=false")
    expected, folder = train(*asked).folder, stopped(*asked, batch=6)
    resumed = command_line(f"resume={folder}", "workers=2", "checkpoint_every=3st", "trainer.enable_progress_bar=true")
    assert resumed.code == 0, resumed.err
    assert leaves(folder).metrics == leaves(expected).metrics


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


def test_sweep_is_not_resumed(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "epochs=3", batch=6)
    refused(command_line("-m", f"resume={folder}", "seed=1,2"), "-m")


def test_nothing_to_resume(command_line: CommandLine, tmp_path: Path) -> None:
    refused(command_line("resume=last"), "resume")
    refused(command_line("resume=nowhere"), "resume=nowhere: there is no such folder; give the path")
    refused(command_line("resume=lasst"), "did you mean last?")
    refused(command_line("-m", "resume=nowhere"), f"there is no folder {tmp_path / 'nowhere'}")
    (tmp_path / "outputs" / "empty" / "checkpoints").mkdir(parents=True)
    refused(command_line("resume=empty"), "did you mean outputs/empty?")
    refused(command_line("resume=outputs/empty"), "there is no last.ckpt in it")
    (tmp_path / "last.ckpt").touch()
    refused(command_line("resume=last.ckpt"), "is a file: give the folder of the run")
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "last.ckpt"}


def test_a_run_goes_on_in_its_own_folder(trained: Train, command_line: CommandLine, tmp_path: Path) -> None:
    """Where another is asked for, that is said; and where its record is lost."""
    folder = trained(*SMALL, "epochs=2").folder
    (folder / "metrics.csv").unlink()
    again = (f"resume={folder}", "epochs=3", "resume_plan=append")
    result = command_line(*again, f"hydra.run.dir={tmp_path / 'other'}")
    assert result.code == 0
    assert f"warning: {tmp_path / 'other'} is not used: a run goes on in its own folder, {folder}" in result.out
    assert "warning: what was recorded before is lost" in result.out
    assert not (tmp_path / "other").exists()
    assert "is not used" not in command_line(*again[:1], "epochs=4", *again[2:], f"hydra.run.dir={folder}").out


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
