"""Finding a rate: what ramps say, what a search leaves as it was, and what a run makes of it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from conftest import Train, requested, said_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrtrain import find_lr
from lrtrain.errors import RequestError
from lrtrain.evidence.range_test import Ramp, Shape, budget, find_rate, fit, judge

PLAIN = ("model=linear", "trainer=cpu", "log_every=1")
SCALES = ("model=custom", "model.function=user_code:Scales")

Take = Callable[[float, float, int, int], Ramp]


def descending(curvature: float, noise: float = 0.3) -> Take:
    """Ramps of noisy gradient descent on ``1 + curvature x^2 / 2``, which diverges above ``2 / curvature``."""

    def take(low: float, high: float, updates: int, number: int) -> Ramp:
        rng, x, losses = np.random.default_rng(number), 1 / math.sqrt(curvature), []
        rates = [low * (high / low) ** ((step + 1) / updates) for step in range(updates)]
        for rate in rates:
            losses.append(1 + curvature * x * x / 2)
            x -= rate * (curvature * x + noise * math.sqrt(curvature) * rng.standard_normal())
        return Ramp(rates, losses)

    return take


@pytest.mark.parametrize("curvature", [0.5, 10.0, 1000.0])
def test_the_suggestion_is_stable_and_not_far_below_the_edge(curvature: float) -> None:
    found = find_rate(descending(curvature), 300)
    edge = 2 / curvature
    assert found.suggestion is not None
    assert edge / 20 < found.suggestion < edge / 2
    assert edge < found.shape.edge < 4 * edge  # it takes some updates to come back up
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.suggestion <= found.high < 2 * edge
    assert found.error is not None
    assert 1 <= found.error < 2
    assert found.updates <= 300


def test_the_suggestion_is_not_above_the_rate_of_the_least_loss() -> None:
    """Where a loss rises slowly beyond its least value, the edge alone says too little."""
    of = partial(Shape, rates=np.ones(1), losses=np.ones(1), start=2.0, steepest=0.1, edge=10.0)
    assert of(least=1.0).suggestion == pytest.approx((0.1 * 1.5**2) ** (1 / 3)), "between the fall and the edge's share"
    assert of(least=0.2).suggestion == 0.2


def test_ramps_begin_below_the_first_fall_where_no_rate_diverges() -> None:
    """As where an optimizer bounds its updates: the highest rate then says nothing of the lowest that is of use."""

    def take(low: float, high: float, updates: int, number: int) -> Ramp:
        rates = np.geomspace(low, high, updates)
        return Ramp(list(rates), list(4.2 + 0.3 * np.exp(-np.cumsum(rates) / 0.02)))

    found = find_rate(take, 300)
    assert found.suggestion is not None
    assert found.shape.start == pytest.approx(4.5, rel=0.01)


@pytest.mark.parametrize(
    ("losses", "reason"),
    [([2.3 + 0.01 * (-1) ** step for step in range(60)], "falls at no rate"), ([math.nan] * 60, "not finite")],
)
def test_nothing_is_suggested_where_no_rate_does_any_good(losses: list[float], reason: str) -> None:
    found = judge([Ramp(list(np.geomspace(1e-6, 10, 60)), losses)] * 3, 180)
    assert found.suggestion is None
    assert reason in found.reason


def test_what_one_ramp_of_three_does_alone_counts_for_nothing() -> None:
    ramps = [descending(10.0)(1e-3, 10.0, 80, number) for number in range(3)]
    spoilt = [ramps[0], ramps[1], ramps[2]._replace(losses=ramps[2].losses[:30])]  # it diverged early
    assert fit(spoilt).suggestion == pytest.approx(fit(ramps).suggestion, rel=0.01)


def test_the_ramps_cost_300_updates_or_a_tenth_of_the_run() -> None:
    assert [budget(total) for total in (40, 3000, 50_000)] == [300, 300, 5000]


class Regression(pl.LightningModule):
    """A module of a user's own, with dropout, and a schedule that would write the rate."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
        self.fails = fails

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.fails and batch_idx == 3:
            raise ZeroDivisionError("in a step")
        inputs, targets = batch
        loss = nn.functional.mse_loss(self.net(inputs)[:, 0], targets)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        weights = [{"params": self.net[0].parameters(), "lr": 1e-4}, {"params": self.net[3].parameters(), "lr": 1e-3}]
        optimizer = torch.optim.SGD(weights, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def loader() -> DataLoader[Any]:
    inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    own = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(inputs, inputs.sum(dim=1)), 16, shuffle=True, generator=own)


def drawn() -> tuple[Any, ...]:
    """What all sources of random numbers give next."""
    return random.random(), np.random.rand(), torch.rand(2).tolist()


def seed() -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)


@pytest.mark.parametrize("fails", [False, True])
def test_a_search_leaves_module_data_and_random_numbers_as_they_were(fails: bool) -> None:
    seed()
    expected, order = drawn(), [batch[1] for batch in loader()]
    module, data = Regression(fails), loader()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    seed()
    if fails:
        with pytest.raises(ZeroDivisionError):
            find_lr(module, data, updates=50)
    else:
        assert find_lr(module, data).suggestion is not None
    assert drawn() == expected
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert module.training
    assert module._trainer is None
    assert all(torch.equal(batch[1], known) for batch, known in zip(data, order, strict=True))


def test_groups_of_a_module_keep_the_ratio_of_their_rates() -> None:
    used = []

    class Watched(Regression):
        def on_train_batch_end(self, *_: Any) -> None:
            used.append([group["lr"] for group in self.optimizers().param_groups])  # type: ignore[union-attr]

    find_lr(Watched(), loader(), updates=30)
    assert [second / first for first, second in used] == pytest.approx([10.0] * len(used))


def test_a_module_with_two_optimizers_is_refused() -> None:
    class Two(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]

    assert "one optimizer" in said_of(lambda: find_lr(Two(), loader()))


@pytest.mark.usefixtures("rendered")
def test_the_task_writes_what_it_found_and_a_run_with_auto_uses_it(train: Train) -> None:
    task = train("task=find_lr", *PLAIN)
    found = json.loads((task.folder / "lr_find.json").read_text())
    assert {"suggestion", "low", "high", "error", "reason"} <= found.keys()
    assert (task.folder / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    assert f"lr={found['suggestion']:g}\n" in task.result.out
    assert not (task.folder / "checkpoints").exists()

    run = train("lr=auto", *PLAIN, "epochs=4st")
    assert run.summary["config"]["lr"] == found["suggestion"]
    assert run.series("lr")[0] == found["suggestion"]
    train("lr=auto", f"resume={run.folder}", "epochs=6st", "resume_plan=stretch", *PLAIN)
    assert run.summary["steps"] == 6
    assert run.series("lr")[4] == found["suggestion"]


def test_each_group_has_the_rate_of_its_scale(train: Train, command_line: Any, tmp_path: Path) -> None:
    """Of weights that begin at 0, ten times the output is the same training at a rate lower by ten squared."""
    run = train("task=find_lr", "by_group=true", "trainer=cpu", *SCALES, "groups={large.*:1}")
    found = json.loads((run.folder / "lr_find.json").read_text())["groups"]
    assert found[".*"]["suggestion"] / found["large.*"]["suggestion"] == pytest.approx(100, rel=0.5)
    refused = command_line("task=find_lr", "by_group=true", *PLAIN, f"hydra.run.dir={tmp_path / 'none'}")
    assert refused.code == 2, "no groups are named"


def test_where_no_rate_does_any_good_the_task_fails_and_says_why(command_line: Any, tmp_path: Path) -> None:
    still = ("groups={.*:0}", *PLAIN)
    result = command_line("task=find_lr", *still, f"hydra.run.dir={tmp_path / 'found'}")
    assert result.code == 1
    assert "falls at no rate" in result.err
    assert json.loads((tmp_path / "found" / "lr_find.json").read_text())["suggestion"] is None
    result = command_line("lr=auto", *still, f"hydra.run.dir={tmp_path / 'run'}")
    assert result.code == 1
    assert "lr=NUMBER" in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lr=auto", "task=preview"), "task=find_lr first"),
        (("lr=automatic",), "lr must be"),
    ],
)
def test_auto_is_a_rate_of_what_trains_only(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        requested(*words)


def test_several_devices_are_refused(command_line: Any, tmp_path: Path) -> None:
    result = command_line("task=find_lr", "trainer=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'found'}")
    assert result.code == 2
    assert "one device" in result.err
    assert not (tmp_path / "found").exists()
