"""The scheduler in plain PyTorch and in somebody else's LightningModule."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, TensorDataset

from lrtrain import Scheduler
from lrtrain.schedules import (
    Feedback,
    Observed,
    Progress,
    Schedule,
    constant,
    cosine,
    exponential,
    inverse_time,
    linear,
    multistep,
    plateau,
    step,
    validation_drop,
    warmup,
)

LENGTH, TOTAL = 4, 24
COSINE = [0.1 * (1 + math.cos(math.pi * t / TOTAL)) / 2 for t in range(TOTAL)]

SCHEDULES: dict[str, tuple[Schedule, Feedback | None]] = {
    "constant": (constant(), None),
    "step": (step(gamma=0.3, every="2ep"), None),
    "multistep": (multistep(gamma=0.1, milestones=("2ep", "20st")), None),
    "exponential": (exponential(gamma=0.9, per="step"), None),
    "inverse_time": (inverse_time(decay=0.3), None),
    "linear": (linear(), None),
    "cosine": (cosine(), None),
    "warmup": (warmup(cosine(), "6st"), None),
    "plateau": (warmup(cosine(), "6st"), plateau(factor=0.5, patience=0, cooldown=1, smooth=0.5)),
    "validation_drop": (linear(end=0.1), validation_drop(factor=0.7)),
}


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Whatever torch has to say about the order of calls is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="lightning")
        yield


def weights(rate: Any = 0.1, kind: Callable[..., Optimizer] = SGD) -> Optimizer:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    return kind([weight], lr=rate)


def make(optimizer: Optimizer, schedule: Schedule | None = None, feedback: Feedback | None = None) -> Scheduler:
    return Scheduler(optimizer, schedule or cosine(), total_steps=TOTAL, steps_per_epoch=LENGTH, feedback=feedback)


def rate(optimizer: Optimizer, group: int = 0) -> float:
    return float(optimizer.param_groups[group]["lr"])


def used(optimizer: Optimizer, scheduler: Scheduler, first: int, last: int) -> list[float]:
    """The rates of updates first..last-1; every epoch ends with a validation whose metric goes up and down."""
    rates = []
    for t in range(first, last):
        rates.append(rate(optimizer))
        optimizer.step()
        if scheduler.feedback and (t + 1) % LENGTH == 0:
            scheduler.observe([1.0, 0.5, 0.8, 0.7, 0.4, 0.9][t // LENGTH])
    return rates


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_only_updates_count(calls: int) -> None:
    optimizer = weights()
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(rate(optimizer))
        optimizer.step()
        for _ in range(calls):
            scheduler.step()
            assert scheduler.get_last_lr() == [rate(optimizer)]
        assert scheduler.used_lrs == rates[-1:]
        assert calls or scheduler.get_last_lr() == rates[-1:], "until step() is called it is the rate just used"
    assert rates == pytest.approx(COSINE, rel=1e-15, abs=1e-17)
    assert rate(optimizer) == 0


def test_rate_of_the_first_update_is_there_before_it() -> None:
    optimizer = weights()
    make(optimizer, warmup(constant(), "4st"))
    assert rate(optimizer) == 0.1 / 4


def test_end_is_held() -> None:
    optimizer = weights()
    scheduler = make(optimizer, linear(end=0.25))
    used(optimizer, scheduler, 0, TOTAL)
    for _ in range(3 * TOTAL):
        assert rate(optimizer) == 0.1 * 0.25
        optimizer.step()


def test_is_a_torch_scheduler() -> None:
    scheduler = make(weights())
    assert isinstance(scheduler, LRScheduler)
    assert isinstance(scheduler.get_last_lr(), list)


@pytest.mark.parametrize("fused", [False, True])  # a fused optimizer is called, and skips the update itself
def test_skipped_update_does_not_count(fused: bool) -> None:
    optimizer = weights(kind=partial(SGD, fused=fused))
    make(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    weight = optimizer.param_groups[0]["params"][0]
    rates = []
    for overflow in (True, True, False, False, True, False):
        rates.append(rate(optimizer))
        optimizer.zero_grad()
        scaler.scale((weight * (math.inf if overflow else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    done = [0, 0, 0, 1, 2, 2]
    assert rates == pytest.approx([COSINE[t] for t in done], rel=1e-15)


def test_update_with_a_closure_counts_once() -> None:
    optimizer = weights()
    make(optimizer)
    optimizer.step(lambda: 0.0)
    assert rate(optimizer) == pytest.approx(COSINE[1], rel=1e-15)


def test_tensor_rate_is_changed_in_place() -> None:
    tensor = torch.tensor(0.1, dtype=torch.float64)
    optimizer = weights(tensor, Adam)
    scheduler = make(optimizer)
    assert used(optimizer, scheduler, 0, TOTAL) == pytest.approx(COSINE, rel=1e-7, abs=1e-9)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert float(tensor) == 0


def test_groups_keep_their_ratio() -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = SGD([{"params": [a], "lr": 0.2}, {"params": [b], "lr": 0.01}])
    scheduler = make(optimizer, exponential(gamma=0.5, every="1st", per="step"))
    for _ in range(3):
        optimizer.step()
    assert scheduler.get_lr() == [rate(optimizer, 0), rate(optimizer, 1)] == [0.2 / 8, 0.01 / 8]


def test_group_added_in_the_run_joins_the_schedule() -> None:
    optimizer = weights()
    make(optimizer, exponential(gamma=0.5, every="1st", per="step"))
    for _ in range(2):
        optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.8})
    optimizer.step()
    assert [rate(optimizer, 0), rate(optimizer, 1)] == [0.1 / 8, 0.8 / 8]


@pytest.mark.parametrize(("schedule", "feedback"), SCHEDULES.values(), ids=SCHEDULES.keys())
def test_state_is_small_and_plain(schedule: Schedule, feedback: Feedback | None) -> None:
    optimizer = weights()
    scheduler = make(optimizer, schedule, feedback)
    used(optimizer, scheduler, 0, 9)
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    assert file.tell() < 4096
    file.seek(0)
    assert torch.load(file, weights_only=True) == scheduler.state_dict()


ORDERS = ("optimizer first", "scheduler first")


def test_resumed_is_uninterrupted() -> None:
    """Whichever state is loaded first, and where that of the optimizer is not."""
    for (name, (schedule, feedback)), at, order, dropped in product(
        SCHEDULES.items(), (0, 1, 9, 23), ORDERS, (True, False)
    ):
        optimizer = weights()
        scheduler = make(optimizer, schedule, feedback)
        used(optimizer, scheduler, 0, at)
        saved = optimizer.state_dict(), scheduler.state_dict()
        rest = used(optimizer, scheduler, at, TOTAL)

        optimizer = weights()
        if order == "optimizer first" and not dropped:
            optimizer.load_state_dict(saved[0])
        scheduler = make(optimizer, schedule, feedback)
        scheduler.load_state_dict(saved[1])
        if order == "scheduler first" and not dropped:
            optimizer.load_state_dict(saved[0])
        assert used(optimizer, scheduler, at, TOTAL) == rest, (name, at, order, dropped)


def test_loading_an_optimizer_into_one_that_is_scheduled() -> None:
    optimizer = weights()
    scheduler = make(optimizer)
    used(optimizer, scheduler, 0, 9)
    saved = optimizer.state_dict(), scheduler.state_dict()
    optimizer = weights()
    scheduler = make(optimizer)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    assert used(optimizer, scheduler, 9, TOTAL) == pytest.approx(COSINE[9:], rel=1e-15)


@pytest.mark.parametrize("order", ["optimizer first", "scheduler first"])
def test_what_it_is_built_with_stays(order: str) -> None:
    """A changed plan is used at once: only the position comes from the saved run."""
    optimizer = weights(0.1)
    scheduler = make(optimizer, step(gamma=0.5, every="1ep"))
    used(optimizer, scheduler, 0, 9)
    saved = optimizer.state_dict(), scheduler.state_dict()

    optimizer = weights(0.4)
    scheduler = make(optimizer, step(gamma=0.1, every="1ep"))
    if order == "optimizer first":
        optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    if order == "scheduler first":
        optimizer.load_state_dict(saved[0])
    assert rate(optimizer) == pytest.approx(0.4 * 0.1**2, rel=1e-15)


@pytest.mark.parametrize("length", [{"total_steps": 0}, {"steps_per_epoch": 0}, {"total_steps": -1}])
def test_length_must_be_positive(length: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(length))} must be 1 or more"):
        Scheduler(weights(), constant(), **length)


@pytest.mark.parametrize(
    ("schedule", "missing"),
    [(cosine(), "total_steps"), (step(every="1ep"), "steps_per_epoch"), (warmup(constant(), "10%"), "total_steps")],
    ids=["end", "epochs", "percent"],
)
def test_missing_length_is_named(schedule: Schedule, missing: str) -> None:
    with pytest.raises(ValueError, match=f"needs {missing}"):
        Scheduler(weights(), schedule)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_impossible_rate_is_refused(value: float) -> None:
    def broken(progress: Progress) -> float:
        return value

    with pytest.raises(ValueError, match="finite"):
        Scheduler(weights(), broken)


def test_any_callable_is_a_schedule() -> None:
    optimizer = weights()
    Scheduler(optimizer, lambda progress: 1 / (1 + progress.step))
    optimizer.step()
    assert rate(optimizer) == 0.1 / 2


def test_a_feedback_rule_is_no_schedule() -> None:
    with pytest.raises(ValueError, match=r"feedback=plateau\(\)"):
        Scheduler(weights(), plateau())  # type: ignore[arg-type]


def test_metric_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no feedback rule"):
        make(weights()).observe(1.0)


def test_step_with_a_metric_is_an_observation() -> None:
    optimizer = weights()
    scheduler = make(optimizer, constant(), validation_drop(factor=0.5))
    scheduler.step(2.0)
    scheduler.step(torch.tensor(1.0))
    assert rate(optimizer) == 0.05
    assert scheduler.observe(0.5) == 0.5
    assert scheduler.observe(0.6) == 1


def test_feedback_begins_anew() -> None:
    optimizer = weights()
    scheduler = make(optimizer, constant(), validation_drop(factor=0.5))
    scheduler.step(2.0)
    scheduler.step(1.0)
    scheduler.forget()
    assert rate(optimizer) == 0.1
    scheduler.step(9.0)
    assert rate(optimizer) == 0.1, "the first validation sets the mark"
    scheduler.step(8.0)
    assert rate(optimizer) == 0.05


class Foreign(pl.LightningModule):
    """Somebody else's module, which asks for its scheduler to be called at an interval."""

    def __init__(self, interval: str) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.interval = interval
        self.rates: list[float] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        self.rates.append(rate(self.trainer.optimizers[0]))
        return self.layer(batch[0]).sum()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1)
        return [optimizer], [{"scheduler": make(optimizer, warmup(cosine(), "2st")), "interval": self.interval}]


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_foreign_module(interval: str) -> None:
    module = Foreign(interval)
    trainer = pl.Trainer(
        max_epochs=TOTAL // LENGTH,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(torch.ones(LENGTH, 2))))
    expected = [0.05, 0.1] + [0.1 * (1 + math.cos(math.pi * t / 22)) / 2 for t in range(22)]
    assert module.rates == pytest.approx(expected, rel=1e-14)


def test_feedback_reduces_to_no_less_than_the_least_rate_and_raises_nothing_to_it() -> None:
    optimizer = weights(1.0)
    scheduler = Scheduler(
        optimizer, warmup(constant(), "4st"), feedback=plateau(factor=0.5, patience=0, threshold=9), min_factor=0.6
    )
    scheduler.observe(1.0)
    scheduler.observe(1.0)
    rates = []
    for _ in range(5):
        rates.append(rate(optimizer))
        optimizer.step()
    assert scheduler.state.scale == 0.5
    assert rates == [0.25, 0.5, 0.6, 0.6, 0.6], "below the least rate the warm-up is what it was"


@pytest.mark.parametrize("rule", [validation_drop(factor=0.7), None], ids=["another", "none"])
def test_state_of_another_rule_is_not_taken_over(rule: Feedback | None) -> None:
    saved = make(weights(), constant(), plateau(factor=0.5, patience=0, threshold=9))
    saved.observe(1.0)
    saved.observe(1.0)
    assert saved.state.scale == 0.5
    optimizer = weights()
    resumed = make(optimizer, constant(), rule)
    resumed.load_state_dict(saved.state_dict())
    assert resumed.state == Observed()
    assert rate(optimizer) == 0.1
    again = make(weights(), constant(), plateau(factor=0.9, patience=7))
    again.load_state_dict(saved.state_dict())
    assert again.state == saved.state, "the same rule goes on, whatever its settings are now"
