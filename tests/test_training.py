"""Training: what is trained, on what, how it ends, and that it is the same each time."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import SMALL, Train, settings_of
from loops import make, scheduled
from torch.optim import Optimizer

from lrtrain.datasets import Inputs, dataset
from lrtrain.objectives import Targets, objective
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.run_folder.folder import RunFolder
from lrtrain.training.data import build_data
from lrtrain.training.guard import DivergenceGuard, Gradients
from lrtrain.training.measures import Measures
from lrtrain.training.network import build_module
from lrtrain.training.record import Record
from lrtrain.training.stretch import Passed, Taken


def test_defaults_are_good(train: Train) -> None:
    run = train()
    assert run.summary["final"]["test_acc"] >= 0.96
    assert run.summary["best"]["test_acc"] >= 0.96
    assert run.summary["seed"] == 0


def test_same_seed_is_the_same_run(train: Train) -> None:
    runs = [train(f"seed={seed}", "model.dropout=0.2", *SMALL[1:], "epochs=2") for seed in (1, 1, 2)]
    first, again, other = [(run.folder / "metrics.csv").read_bytes() for run in runs]
    assert first == again
    assert first != other


@pytest.mark.parametrize("choice", ["model=cnn", "optimizer=adam", "optimizer=adamw", "dropout", "clipped", "no log"])
def test_choices_train(choice: str, train: Train) -> None:
    arguments = {
        "dropout": ("model.dropout=0.5",),
        "clipped": ("trainer.gradient_clip_val=0.5",),
        "no log": ("logger=none",),
    }.get(choice, (choice,))
    run = train(*arguments, "lr=0.003", "trainer=cpu", "epochs=2")
    losses = list(run.series("train_loss").values())
    assert losses[-1] < losses[0]
    assert bool(list(run.folder.glob("*tfevents*"))) == (choice != "no log")


def test_divergence(train: Train) -> None:
    run = train("lr=1e6", *SMALL, "epochs=2", code=1)
    assert run.summary["status"] == "diverged"
    assert run.summary["steps"] < 4
    assert len(run.result.err.splitlines()) == 1, "one line, no traceback"
    assert run.result.err.startswith("lrtrain: ")
    assert "learning rate 1e+06" in run.result.err
    assert "update 1 " in run.result.err
    assert run.summary["error"] in run.result.err


def test_divergence_leaves_the_best_alone(train: Train) -> None:
    run = train("scheduler=multistep", "gamma=1e8", "milestones=[1ep]", *SMALL, "epochs=3", code=1)
    assert run.summary["status"] == "diverged"
    assert "epoch 1" in run.result.err
    assert "learning rate 1e+07" in run.result.err
    checkpoint = torch.load(run.folder / run.summary["checkpoints"]["best"], weights_only=True)
    assert checkpoint["lr_schedulers"][0]["step"] == 4
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())
    assert run.summary["best"]["val_loss"] == run.series("val_loss")[3]


GATED = ("model=custom", "model.function=user_code:Saturating", *SMALL[1:], "epochs=3")
"""A model whose loss stays finite, whatever its gate is; four updates an epoch."""


@pytest.mark.parametrize("at", [2, 3, 6])
def test_gradient_that_is_not_finite(at: int, train: Train) -> None:
    """It does not reach the weights, at a log point or between them, before a validation or not."""
    run = train(*GATED, f"model.parameters={{gradient_at: {at}}}", "log_every=5", code=1)
    assert run.summary["status"] == "diverged"
    assert len(run.result.err.splitlines()) == 1
    assert f"the gradient is not finite at update {at} " in run.result.err
    assert run.summary["steps"] == at
    assert list(run.series("val_loss")) == ([3] if at > 3 else [])
    assert (run.folder / "checkpoints").exists() == (at > 3)


@pytest.mark.parametrize(("first", "most"), [(1e-6, 1e4), (5.0, 5e4)])
def test_a_loss_has_exploded_above_ten_thousand_times_the_first_one_or_1(first: float, most: float) -> None:
    guard, passed = DivergenceGuard("val_loss"), Passed(0, [[0.1]] * 4, [])
    trainer: Any = SimpleNamespace(current_epoch=0, lr_scheduler_configs=[SimpleNamespace(scheduler=scheduled(make()))])
    assert guard.fault(trainer, passed, Taken([first, 0.9 * most, most], [1.0] * 3, {})) is None
    assert guard.first == first
    for losses, norms, said in (
        ([first, -1.1 * most], [1.0, 1.0], f"train_loss is {-1.1 * most:.4g} at update 1 "),
        ([first, first], [1.0, math.inf], "the gradient is not finite at update 1 "),
    ):
        fault = guard.fault(trainer, passed, Taken(losses, norms, {}))
        assert fault
        assert fault.update == 1
        assert str(fault.error).startswith(said)


def test_checked_one_update_later_as_on_an_accelerator(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same update is named, nothing of a validation or checkpoint after it is kept, and a good run is the same."""
    cases = {
        "an exploding loss": ("lr=1e6", *SMALL, "epochs=2"),
        "a gradient in mid-epoch": (*GATED, "model.parameters={gradient_at: 6}", "checkpoint_every=1st"),
        "a gradient before a validation": (*GATED, "model.parameters={gradient_at: 3}"),
        "accumulated batches": (*GATED, "model.parameters={gradient_at: 6}", "trainer.accumulate_grad_batches=2"),
    }
    at_once = {name: train(*words, code=1) for name, words in cases.items()}
    good = train(*SMALL, "epochs=2")
    monkeypatch.setattr("lrtrain.training.guard.reads_late", lambda device: True)
    for name, words in cases.items():
        late, expected = train(*words, code=1), at_once[name]
        assert late.summary["error"] == expected.summary["error"], name
        assert late.series("val_loss") == expected.series("val_loss"), name
        for path in (late.folder / "checkpoints").glob("*.ckpt"):
            saved = torch.load(path, weights_only=True)
            assert saved["lr_schedulers"][0]["step"] <= expected.summary["steps"], (name, path)
    assert train(*SMALL, "epochs=2").series("train_loss") == good.series("train_loss")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_gradients_of_every_kind_are_looked_at(place: int, bad: float) -> None:
    kinds = (torch.float32, torch.bfloat16, torch.float64, torch.complex64)
    parameters = [torch.nn.Parameter(torch.ones(3, dtype=kind)) for kind in kinds]
    gradients = Gradients(parameters)
    assert gradients.are_finite(), "there is none"
    for parameter in parameters:
        parameter.grad = torch.full((3,), 3e38).to(parameter.dtype)  # whose squares no float32 can hold
    before = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    assert gradients.are_finite()
    assert all(torch.equal(a, b.grad) for a, b in zip(before, parameters, strict=True) if b.grad is not None)
    chosen = parameters[place].grad
    assert chosen is not None
    chosen[1] = bad
    assert not gradients.are_finite()


@pytest.mark.parametrize(
    ("setting", "name", "average"),
    [
        ("weight_at", "model.gate", "ema=0"),
        ("buffer_at", "model.seen", "ema=0"),
        ("buffer_at", "model.seen", "ema=0.5"),
        ("buffer_at", "model.seen", "optimizer=schedulefree_sgd"),
    ],
)
def test_weights_that_are_not_finite_are_not_the_best(setting: str, name: str, average: str, train: Train) -> None:
    run = train(*GATED, "scheduler=constant", f"model.parameters={{{setting}: 6}}", average, code=1)
    assert run.summary["status"] == "diverged"
    assert f"{name} is not finite at update 8 " in run.result.err
    assert run.summary["best"]["step"] == 4
    best = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["lr_schedulers"][0]["step"] == 4
    infinite = {key for key, value in best["state_dict"].items() if not torch.isfinite(value).all()}
    assert infinite == {"model.mask"}, "which is meant to be"


def test_a_loss_that_is_not_a_number_is_not_left_out_of_a_mean() -> None:
    """As that of one sample of a validation, the others of which are fine."""
    measures = Measures(objective("classification").make(Targets("classification", 2)))
    measures.update(torch.tensor([[0.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 1]))
    assert math.isnan(dict(measures.compute())["loss"])


def test_rollback_from_a_gradient_that_is_not_finite(train: Train) -> None:
    """The model is built anew, so that it happens again, six updates after the last checkpoint of then."""
    back = ("on_nonfinite=rollback", "rollbacks=2", "rollback_factor=0.5", "scheduler=constant", "lr=0.1")
    run = train(*GATED, "model.parameters={gradient_at: 6}", *back)
    assert run.summary["status"] == "finished"
    assert list(run.series("lr").values()) == [0.1] * 4 + [0.05] * 4 + [0.025] * 4


def test_best_after_a_rollback(train: Train) -> None:
    """The best weights of the attempt that diverged are those of its last checkpoint, or of what came after."""
    spike = ("scheduler=piecewise", "points=[[7st,1e15],[8st,1e-15]]", "on_nonfinite=rollback", *SMALL, "epochs=4")
    run = train(*spike, "trainer.val_check_interval=2", "rollback_factor=1e-30", "optimizer.momentum=0")
    best = run.summary["best"]
    checkpoint = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["step"] == best["step"] == 4
    assert run.series("val_loss")[3] == best["val_loss"]


def test_only_the_rates_of_the_run_matter(train: Train) -> None:
    """Far beyond the end of this run, its curve is above what a float can hold."""
    run = train("scheduler=exponential", "gamma=1e8", "lr=1e-9", *SMALL, "epochs=2")
    assert list(run.series("lr").values()) == pytest.approx([1e-9] * 4 + [0.1] * 4, rel=1e-15)


def test_run_that_measures_nothing_failed(train: Train) -> None:
    run = train(*SMALL, "epochs=1", "+trainer.max_time=00:00:00:00", code=1)
    assert run.summary["status"] == "failed"
    assert "before its first validation" in run.result.err


SPIKE = ("scheduler=piecewise", "points=[[6st,1e15],[7st,1]]", "on_nonfinite=rollback", *SMALL, "epochs=3")
"""One update of the second epoch has a rate that no network survives."""


def test_rollback_goes_back_and_on_at_lower_rates(train: Train) -> None:
    run = train(*SPIKE, "rollback_factor=1e-15")
    assert run.summary["status"] == "finished"
    assert run.result.out.count("rolling back (1 of 3): rates times 1e-15") == 1
    expected = [0.1] * 4 + [1e-16, 1e-16, 0.1] + [1e-16] * 5
    assert list(run.series("lr").values()) == pytest.approx(expected, rel=1e-12)


def test_rollback_gives_up(train: Train) -> None:
    run = train(*SPIKE, "rollback_factor=0.9", "rollbacks=2", code=1)
    assert run.summary["status"] == "diverged"
    assert run.result.out.count("rolling back") == 2


def test_best_is_of_the_best_epoch(train: Train) -> None:
    run = train("scheduler=exponential", "gamma=20", "lr=0.05", *SMALL, "epochs=3")  # it ends at 20, far too high
    losses = run.series("val_loss")
    step = min(losses, key=lambda t: losses[t])
    assert step != max(losses), "the best of this run is not its last"
    best = run.summary["best"]
    assert (best["step"], best["epoch"], best["val_loss"]) == (step + 1, step // 4, losses[step])
    assert best["test_loss"] != run.summary["final"]["test_loss"]
    checkpoint = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["step"] == step + 1


def test_log_points(train: Train) -> None:
    run = train(*(argument for argument in SMALL if "log_every" not in argument), "log_every=3", "epochs=3")
    # Every third update, and the last one of each epoch of four.
    assert list(run.series("lr")) == list(run.series("train_loss")) == [0, 3, 6, 7, 9, 11]
    assert list(run.series("val_loss")) == [3, 7, 11]


def test_loss_of_accumulated_batches_is_that_of_the_last_one(train: Train) -> None:
    """Not its share in the update; the rate is next to nothing, so that the batches are those of the other run."""
    asked = ("lr=1e-20", "epochs=2", *SMALL)
    alone = list(train(*asked).series("train_loss").values())
    together = train(*asked, "trainer.accumulate_grad_batches=2").series("train_loss")
    assert list(together.values()) == pytest.approx(alone[1::2], rel=1e-6)


class Norms(pl.Callback):
    """The norms of the weights and the gradient before each update."""

    def __init__(self) -> None:
        self.weights: list[float] = []
        self.gradients: list[float] = []
        self.absolute: list[float] = []

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        for norms, values in (
            (self.weights, [w.detach().flatten() for w in pl_module.parameters()]),
            (self.gradients, [w.grad.flatten() for w in pl_module.parameters() if w.grad is not None]),
        ):
            norms.append(float(torch.cat(values).double().norm()))
        self.absolute.append(sum(float(w.grad.abs().sum()) for w in pl_module.parameters() if w.grad is not None))


def test_update_ratio_is_rate_times_gradient_over_weights(tmp_path: Path) -> None:
    settings = settings_of("scheduler=inverse_time", "decay=0.5", "optimizer.momentum=0", "epochs=2", *SMALL)
    plan, norms = plan_run([Segment(settings, steps_per_epoch(settings))]), Norms()
    record = Record(RunFolder(tmp_path), every=1)
    module = build_module(settings, plan, Inputs((1, 8, 8)), Targets("classification", 10))
    trainer = pl.Trainer(
        max_epochs=2,
        limit_train_batches=4,
        accelerator="cpu",
        logger=False,
        callbacks=[record, norms],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, build_data(settings))
    record.close()
    rows = np.genfromtxt(tmp_path / "metrics.csv", delimiter=",", names=True)
    rates = [0.1] * 4 + [0.1 / 1.5] * 4
    assert rows["grad_norm"] == pytest.approx(norms.gradients, rel=1e-5)
    expected = [r * g / w for r, g, w in zip(rates, norms.gradients, norms.weights, strict=True)]
    assert rows["update_ratio"] == pytest.approx(expected, rel=1e-4)
    moved = [r * g for r, g in zip(rates, norms.gradients, strict=True)]
    assert rows["update_norm"] == pytest.approx(moved, rel=1e-4)
    assert rows["grad_norm_l1"] == pytest.approx(norms.absolute, rel=1e-5)


def test_each_group_has_its_own_update_sizes(train: Train) -> None:
    run = train("groups={.*bias:0.1}", "optimizer.momentum=0", "epochs=1", *SMALL)
    for row in run.rows:
        value = {name: float(text) for name, text in row.items() if text}
        for group in ("rest", ".*bias"):
            assert value[f"update_norm/{group}"] == pytest.approx(
                value[f"lr/{group}"] * value[f"grad_norm/{group}"], rel=1e-4
            )
        for size in ("grad_norm", "update_norm"):
            assert value[size] == pytest.approx(math.hypot(value[f"{size}/rest"], value[f"{size}/.*bias"]), rel=1e-5)
        both = value["grad_norm_l1/rest"] + value["grad_norm_l1/.*bias"]
        assert value["grad_norm_l1"] == pytest.approx(both, rel=1e-5)


def test_order_of_the_samples() -> None:
    source = dataset("digits").make().train
    inputs, _ = source.gather(torch.arange(len(source)))
    for shuffle in ("true", "false"):
        batches = build_data(settings_of(f"shuffle={shuffle}", "batch_size=100")).train_dataloader()
        seen = [torch.cat([batch[0] for batch in batches]) for _ in range(2)]
        assert torch.equal(seen[0], seen[1]) == (shuffle == "false")
        assert torch.equal(seen[0], inputs) == (shuffle == "false")


def test_network_that_cannot_be_built_is_a_wrong_request(train: Train, tmp_path: Path) -> None:
    run = train("model=cnn", "model.channels=[8,8,8,8]", "trainer=cpu", code=2)
    assert "too often" in run.result.err
    assert len(run.result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
