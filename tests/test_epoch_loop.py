"""The training loop against Lightning's own: the same bits in the record and in the checkpoint; the end of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from conftest import Train
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lrtrain.training.epoch_loop as epoch_loop
from lrtrain.errors import RequestError
from lrtrain.objectives import Targets, objective
from lrtrain.scheduler import Scheduler
from lrtrain.training.end_of_run import EndOfRun
from lrtrain.training.module import Supervised
from lrtrain.training.private import TrainingLoop, mark_unfinished

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


FEW = ("trainer=cpu", "epochs=3", "batch_size=128", "checkpoint_every=7st", "log_every=3", "model.dropout=0.1")
"""Ten batches an epoch, the last one smaller."""


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

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(("validation_start", (trainer.validating, pl_module.training, torch.is_grad_enabled())))

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(("validation_epoch_start", trainer.global_step))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.calls.append(("validation_epoch_end", trainer.global_step))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.calls.append(("validation_end", (pl_module.training, metrics)))


def observed(train: Train, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> tuple[bytes, dict[str, Any], Seen]:
    """What a run writes, and the hooks that it calls."""
    seen, make = Seen(), pl.Trainer.__init__
    with monkeypatch.context() as patch:
        patch.setattr(
            pl.Trainer, "__init__", lambda self, **kw: make(self, **kw | {"callbacks": [seen, *kw["callbacks"]]})
        )
        run = train(*FEW, *arguments)
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
    monkeypatch.setattr(epoch_loop, "_is_plain", lambda *_, **__: False)
    monkeypatch.setattr("lrtrain.training.session.take_plain_test", lambda *_: False)
    expected_metrics, expected, expected_seen = observed(train, monkeypatch, arguments)
    assert metrics == expected_metrics
    assert seen.calls == expected_seen.calls
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        assert same(checkpoint[part], expected[part]), part
    for part in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"):
        assert checkpoint["loops"]["fit_loop"][part] == expected["loops"]["fit_loop"][part], part


def test_a_hook_of_the_module_is_called(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    class Own(Supervised):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            ended.append(batch_idx)

    monkeypatch.setattr("lrtrain.training.network.Supervised", Own)
    train("trainer=cpu", "model=linear", "epochs=2")
    assert ended == [*range(40), *range(40)]


class Watch(pl.Callback):
    """Has a hook of the batches of a validation, which the plain loops do not call."""

    def on_validation_batch_end(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("watched", [False, True])
def test_who_takes_the_steps(train: Train, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    taken, advance, make = [], TrainingLoop.advance, pl.Trainer.__init__

    def counted(self: TrainingLoop, data_fetcher: Any) -> None:
        advance(self, data_fetcher)
        taken.append(self.batch_idx)

    monkeypatch.setattr(TrainingLoop, "advance", counted)
    if watched:
        monkeypatch.setattr(
            pl.Trainer, "__init__", lambda self, **kw: make(self, **kw | {"callbacks": [Watch(), *kw["callbacks"]]})
        )
    train("trainer=cpu", "model=linear", "epochs=2", "trainer.limit_train_batches=3")
    assert taken == ([*range(3), *range(3)] if watched else [])


class Log(pl.Callback):
    """Lists what happens after which update, and saves a checkpoint as the run ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"
        self.lines: list[str] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.lines.append(f"batch {trainer.global_step}")

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        self.lines.append(f"validation {trainer.global_step}")

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self.lines.append(f"epoch {trainer.global_step}")
        with mark_unfinished(trainer):
            trainer.save_checkpoint(self.path)


def fit(folder: Path, updates: int, plain: bool, resume: bool = False, **settings: Any) -> list[str]:
    """Fit for so many of four updates an epoch, and return what happened."""
    inputs, labels = torch.randn(8, 2, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 2
    batches = 4 * settings.get("accumulate_grad_batches", 1)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=8 // batches)
    model = nn.Linear(2, 2)
    module = Supervised(
        model,
        objective("auto").make(Targets("classification", 2)),
        lambda: torch.optim.SGD(model.parameters(), lr=0.1),
        lambda optimizer: Scheduler(optimizer, lambda _: 1.0, total_steps=updates, steps_per_epoch=4),
        "val_loss",
    )
    log = Log(folder)
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "max_epochs": math.ceil(updates / 4)}
    trainer = pl.Trainer(callbacks=[EndOfRun(), log], **quiet | settings)
    if plain:
        trainer.fit_loop.epoch_loop = epoch_loop.EpochLoop(trainer)
    trainer.fit(module, loader, loader, ckpt_path=str(log.path) if resume else None, weights_only=False)
    assert trainer.global_step == updates
    return log.lines


@pytest.mark.parametrize("plain", [True, False])
def test_run_that_ends_in_mid_epoch(plain: bool, tmp_path: Path) -> None:
    """One validation after the last update, and the epoch's end after it; resumed, it is done, or goes on."""
    first = [*(f"batch {step}" for step in (1, 2, 3, 4)), "validation 4", "epoch 4"]
    assert fit(tmp_path, 6, plain) == [*first, "batch 5", "batch 6", "validation 6", "epoch 6"]
    assert fit(tmp_path, 6, plain, resume=True) == []
    assert fit(tmp_path, 9, plain, resume=True) == [
        *("batch 7", "batch 8", "validation 8", "epoch 8"),
        *("batch 9", "validation 9", "epoch 9"),
    ]
    assert fit(tmp_path, 8, plain)[-4:] == ["batch 7", "batch 8", "validation 8", "epoch 8"]
    assert fit(tmp_path, 3, plain) == ["batch 1", "batch 2", "batch 3", "validation 3", "epoch 3"]
    assert fit(tmp_path, 1, plain) == ["batch 1", "validation 1", "epoch 1"]


@pytest.mark.parametrize("plain", [True, False])
def test_end_in_mid_epoch_under_other_settings(plain: bool, tmp_path: Path) -> None:
    """Accumulated batches end with their update; a validation that is due by itself is not doubled."""
    accumulated = fit(tmp_path, 5, plain, accumulate_grad_batches=2)
    assert accumulated[-4:] == ["batch 4", "batch 5", "validation 5", "epoch 5"]
    assert sum(line.startswith("batch") for line in accumulated) == 10
    often = fit(tmp_path, 6, plain, val_check_interval=2)
    assert [line for line in often if "validation" in line] == [f"validation {step}" for step in (2, 4, 6)]
    assert "validation 4" not in fit(tmp_path, 6, plain, check_val_every_n_epoch=2)
    third = fit(tmp_path, 10, plain, check_val_every_n_epoch=2)
    assert ("validation 10" in third) == plain, "ours measures what a training ends with"


def test_a_layer_that_is_not_in_training_mode_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    class Frozen(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return super().forward(inputs)

    monkeypatch.setattr(nn, "Linear", lambda *sizes: Frozen(*sizes).eval())
    fit(tmp_path, 8, plain=True)
    assert len(modes) > 8
    assert not any(modes)


def test_length_that_is_not_lightnings(tmp_path: Path) -> None:
    for updates, max_epochs in ((4, 2), (9, 2)):
        with pytest.raises(RequestError, match=f"planned for {updates} updates, but Lightning will do 8"):
            fit(tmp_path, updates, plain=True, max_epochs=max_epochs)
