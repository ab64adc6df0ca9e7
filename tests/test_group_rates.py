"""Each parameter group has its own curve, floor and base rate, also one that comes later."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import BASE, make, rate, scheduled
from torch import nn
from torch.optim import SGD, lr_scheduler

from lrtrain.schedules import between, constant, exponential, linear, plateau, step

pytestmark = pytest.mark.filterwarnings("ignore")  # what others say of these calls is not looked at


# By group


def test_settings_have_curves_by_group_and_the_others_keep_theirs() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "name": name} for name in ("body", "head")]
    optimizer = SGD(groups, lr=BASE, momentum=0.9, weight_decay=0.5)
    curves = {"momentum": {"head": between(linear(), 0.8, 0.2)}, "weight_decay": linear()}
    scheduled(optimizer, hyperparameters=curves)
    for _ in range(6):
        optimizer.step()
    found = [group[name] for group in optimizer.param_groups for name in ("momentum", "weight_decay")]
    assert found == pytest.approx([0.9, 0.5, 0.5, 0.5])


def test_plateau_has_the_floors_of_torch_by_group() -> None:
    def groups() -> list[dict[str, Any]]:
        rates = {"body": 0.2, "head": 0.1}
        return [{"params": [nn.Parameter(torch.ones(1))], "name": name, "lr": lr} for name, lr in rates.items()]

    theirs = SGD(groups())
    oracle = lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=0, min_lr=[0.04, 0.02])
    optimizer = SGD(groups())
    rule = plateau(factor=0.5, patience=0)
    scheduler = scheduled(optimizer, constant(), feedback=rule, min_lr={"body": 0.04, "head": 0.02})
    for _ in range(6):
        oracle.step(1.0)
        scheduler.observe(1.0)
        assert [rate(optimizer, n) for n in (0, 1)] == pytest.approx([rate(theirs, n) for n in (0, 1)])


# Groups that come later


def test_a_group_added_at_its_own_rate_has_that_as_its_base_rate() -> None:
    optimizer = make()
    scheduled(optimizer, exponential(gamma=0.5, every="1st", per="step"))
    optimizer.step()
    for settings in ({"lr": 0.8}, {}, {"lr": 0.025, "initial_lr": 0.4}):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], **settings})
    optimizer.step()
    assert [rate(optimizer, group) for group in range(4)] == [BASE / 4, 0.8 / 4, BASE / 4, 0.4 / 4]


def test_a_group_added_at_a_part_of_a_present_rate_stays_that_part() -> None:
    optimizer = make()
    scheduled(optimizer)
    for _ in range(4):
        optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": rate(optimizer) / 10})
    for _ in range(4):
        optimizer.step()
        assert rate(optimizer, 1) == pytest.approx(rate(optimizer) / 10)


def test_a_group_is_refused_whose_rate_may_be_its_own_or_a_part_of_a_present_one() -> None:
    optimizer = make()
    scheduled(optimizer, step(gamma=0.5, every="1st"))
    optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.005})
    with pytest.raises(RuntimeError, match=r"initial_lr=0\.01 for 0\.1 times the other's rates, or initial_lr=0\.005"):
        optimizer.step()
