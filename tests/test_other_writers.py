"""The scheduler is the one writer of the rate until it is detached: a rate of others is never used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from loops import BASE, COSINE, TOTAL, make, moved, scheduled
from torch import nn
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler
from torch.optim.swa_utils import SWALR

from lrtrain import Scheduler
from lrtrain.schedules import between, constant, cosine, linear

pytestmark = pytest.mark.filterwarnings("ignore")  # what others say of these calls is not looked at


# Taking turns


def test_detached_it_leaves_the_rate_and_the_settings_where_they_are() -> None:
    optimizer = make(AdamW, weight_decay=0.5)
    scheduler = scheduled(
        optimizer, hyperparameters={"weight_decay": linear(), "momentum": between(linear(), 0.9, 0.6)}
    )
    for _ in range(6):
        optimizer.step()
    scheduler.detach()
    scheduler.detach()
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    group = optimizer.param_groups[0]
    assert [group["lr"], group["weight_decay"], group["betas"][0]] == pytest.approx([BASE / 2, 0.5, 0.75])
    group["lr"] = 0.3
    assert Scheduler.of(optimizer) is None
    assert scheduled(optimizer, linear()).base_lrs == [0.3], "what follows begins at the rate that it finds"


def test_another_takes_over_after_detach() -> None:
    optimizer = make()
    scheduler = scheduled(optimizer)
    for _ in range(6):
        optimizer.step()
    scheduler.detach()
    theirs = lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    rates = []
    for _ in range(3):
        rates.append(moved(optimizer))
        theirs.step()
    assert rates == pytest.approx([BASE / 2, BASE / 4, BASE / 8])


def test_a_second_scheduler_is_refused_and_names_the_first() -> None:
    optimizer = make()
    scheduled(optimizer)
    with pytest.raises(RuntimeError, match=r"cosine\(.*at update 0.*detach"):
        scheduled(optimizer, linear())
    assert [moved(optimizer) for _ in range(3)] == pytest.approx(COSINE[:3])


def test_one_that_could_not_be_built_leaves_the_optimizer_free() -> None:
    optimizer = make()
    with pytest.raises(ValueError, match="needs total_steps"):
        Scheduler(optimizer, cosine())
    scheduled(optimizer)


# Other writers

Intruder = Callable[[Optimizer, Scheduler], Callable[[], None]]


def by_hand(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    def write() -> None:
        if scheduler.last_epoch == 3:
            optimizer.param_groups[0]["lr"] = 0.02

    return write


def torch_plateau(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    return lambda: theirs.step(1.0)


def sequential_first(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    return lr_scheduler.SequentialLR(optimizer, [scheduler, lr_scheduler.StepLR(optimizer, 2)], [3]).step


def sequential_last(optimizer: Optimizer, scheduler: Scheduler) -> Callable[[], None]:
    return lr_scheduler.SequentialLR(optimizer, [lr_scheduler.ConstantLR(optimizer, 1.0), scheduler], [3]).step


INTRUDERS: dict[str, Intruder] = {
    "by hand": by_hand,
    "StepLR": lambda optimizer, _: lr_scheduler.StepLR(optimizer, 3).step,
    "LinearLR": lambda optimizer, _: lr_scheduler.LinearLR(optimizer).step,
    "OneCycleLR": lambda optimizer, _: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=99).step,
    "ReduceLROnPlateau": torch_plateau,
    "SWALR": lambda optimizer, _: SWALR(optimizer, 0.05, anneal_epochs=2).step,
    "ChainedScheduler": lambda optimizer, ours: (
        lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(optimizer, 0.9), ours]).step
    ),
    "SequentialLR, ours first": sequential_first,
    "SequentialLR, ours last": sequential_last,
}


@pytest.mark.parametrize("lr", [BASE, torch.tensor(BASE, dtype=torch.float64)], ids=["float", "tensor"])
def test_another_writer_is_refused_before_its_rate_is_used(lr: Any) -> None:
    """Whether ours is stepped in turn with it, or never."""
    for (name, intruder), in_turn in product(INTRUDERS.items(), (True, False)):
        optimizer = make(lr=copy.deepcopy(lr))
        scheduler = scheduled(optimizer)
        rates: list[float] = []
        with pytest.raises(RuntimeError, match=r"detach\(\)|join\(\[first, second\]"):
            train_with(intruder, optimizer, scheduler, rates, in_turn)
        assert rates == pytest.approx(COSINE[: len(rates)], rel=1e-7), f"{name}: until then all rates were ours"


def train_with(intruder: Any, optimizer: Optimizer, scheduler: Scheduler, rates: list[float], in_turn: bool) -> None:
    intrude = intruder(optimizer, scheduler)
    for _ in range(TOTAL):
        rates.append(moved(optimizer))
        intrude()
        if in_turn:
            scheduler.step()


def test_another_writer_of_a_scheduled_setting_is_refused() -> None:
    optimizer = make(SGD, momentum=0.9)
    scheduled(optimizer, hyperparameters={"momentum": linear()})
    optimizer.param_groups[0]["momentum"] = 0.3
    with pytest.raises(RuntimeError, match=r"momentum of group 0 was set to 0\.3 .* at 1"):
        optimizer.step()


def test_the_refusal_names_the_group_and_both_rates() -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups: list[dict[str, Any]] = [{"params": [a], "name": "body"}, {"params": [b], "name": "head", "lr": 0.5}]
    optimizer = SGD(groups, lr=BASE)
    scheduled(optimizer, constant())
    optimizer.param_groups[1]["lr"] = 0.25
    with pytest.raises(RuntimeError, match=r"group 'head' was set to 0\.25 .* at 0\.5: call detach"):
        optimizer.step()
