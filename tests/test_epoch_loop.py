"""Our training loop against Lightning's own: the same bits, in the record and in the checkpoint."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import Train
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

import lrtrain.training.epoch_loop as epoch_loop
from lrtrain.training.module import Classifier

CASES: list[list[str]] = [
    [],
    ["trainer.accumulate_grad_batches=3"],
    ["trainer.gradient_clip_val=0.1", "scheduler=inverse_time", "decay=0.5"],
    ["trainer.val_check_interval=7", "scheduler=plateau", "patience=0"],
    ["early_stop=1", "lr=1.5"],
    ["model=cnn", "optimizer=adam", "trainer.check_val_every_n_epoch=2"],
    ["trainer.limit_train_batches=1"],
    ["drop_last=true", "trainer.accumulate_grad_batches=7", "warmup=3st"],
]


class Seen(pl.Callback):
    """Counts the calls of each hook of a step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.calls.append(("batch_start", batch_idx))

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.calls.append(("zero_grad", trainer.global_step))

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self.calls.append(("before_backward", float(loss)))

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(("after_backward", float(next(pl_module.parameters()).grad.sum())))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.calls.append(("optimizer_step", trainer.global_step))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.calls.append(("batch_end", (batch_idx, float(outputs["loss"]), trainer.global_step)))


def observed(train: Train, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> tuple[bytes, dict[str, Any], Seen]:
    """What a run writes, and the hooks that it calls."""
    from lrtrain import build

    seen, make = Seen(), build.trainer
    with monkeypatch.context() as patch:
        patch.setattr(build, "trainer", lambda config, folder, callbacks: make(config, folder, [seen, *callbacks]))
        run = train("trainer=cpu", "epochs=3", "checkpoint_every=7st", "log_every=3", "model.dropout=0.1", *arguments)
    checkpoint = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    return (run.folder / "metrics.csv").read_bytes(), checkpoint, seen


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_equals_lightnings_own_loop(train: Train, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    metrics, checkpoint, seen = observed(train, monkeypatch, arguments)
    monkeypatch.setattr(epoch_loop, "_is_plain", lambda *_: False)
    expected_metrics, expected, expected_seen = observed(train, monkeypatch, arguments)
    assert metrics == expected_metrics
    assert seen.calls == expected_seen.calls
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        assert same(checkpoint[part], expected[part]), part
    progress = [state["loops"]["fit_loop"]["epoch_loop.batch_progress"] for state in (checkpoint, expected)]
    assert progress[0] == progress[1]


def test_a_hook_of_the_module_is_called(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    class Own(Classifier):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            ended.append(batch_idx)

    monkeypatch.setattr("lrtrain.training.module.Classifier", Own)
    train("trainer=cpu", "model=linear", "epochs=2")
    assert ended == [*range(40), *range(40)]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("trainer.val_check_interval=1.0", [39]), ("trainer.val_check_interval=7", [6, 13, 20, 27, 34, 39])],
)
def test_lightning_takes_the_steps_that_end_something(
    train: Train, monkeypatch: pytest.MonkeyPatch, argument: str, expected: list[int]
) -> None:
    taken, advance = [], _TrainingEpochLoop.advance

    def counted(self: _TrainingEpochLoop, data_fetcher: Any) -> None:
        advance(self, data_fetcher)
        taken.append(self.batch_idx)

    monkeypatch.setattr(_TrainingEpochLoop, "advance", counted)
    train("trainer=cpu", "model=linear", "epochs=2", argument)
    assert taken == [*expected, *expected]
