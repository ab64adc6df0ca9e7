"""Equality with torch.optim.lr_scheduler at every update where both follow the same definition."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from lrtrain import schedules as ours
from lrtrain.schedules import Progress, Schedule

BASE = 0.3


def torch_rates(build: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE, momentum=0.9)
    scheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step()
    return rates


def check(build: Callable[[torch.optim.Optimizer], Any], schedule: Schedule, steps: int, total: int) -> None:
    rates = [BASE * schedule(Progress(step, 1, total)) for step in range(steps)]
    assert rates == pytest.approx(torch_rates(build, steps), rel=1e-12, abs=1e-12), schedule


def test_step() -> None:
    for every in (1, 3, 7):
        check(partial(theirs.StepLR, step_size=every, gamma=0.7), ours.step(gamma=0.7, every=every), 200, 50)


def test_multistep() -> None:
    for marks in ((3, 10, 41), (3, 10, 10, 41)):
        build = functools.partial(theirs.MultiStepLR, milestones=marks, gamma=0.2)
        check(build, ours.multistep(gamma=0.2, milestones=marks), 200, 50)


def test_exponential() -> None:
    check(lambda o: theirs.ExponentialLR(o, 0.93), ours.exponential(gamma=0.93), 200, 50)


def test_linear() -> None:
    for end in (0.0, 0.2):
        check(partial(theirs.LinearLR, start_factor=1.0, end_factor=end, total_iters=50), ours.linear(end=end), 200, 50)


def test_cosine_up_to_its_end() -> None:
    # After T_max torch's cosine rises again, and ours does not.
    for end in (0.0, 0.2):
        check(partial(theirs.CosineAnnealingLR, T_max=50, eta_min=end * BASE), ours.cosine(end=end), 51, 50)


def test_polynomial() -> None:
    for power in (0.5, 1.0, 2.0):
        check(partial(theirs.PolynomialLR, total_iters=50, power=power), ours.polynomial(power=power), 200, 50)


def test_one_cycle() -> None:
    for case in itertools.product((3, 10, 47, 100), (False, True), ("cosine", "linear"), (0.3, 0.47)):
        check_one_cycle(*case)


def check_one_cycle(total: int, three_phase: bool, shape: Any, pct_start: float) -> None:
    def build(optimizer: torch.optim.Optimizer) -> theirs.OneCycleLR:
        return theirs.OneCycleLR(
            optimizer,
            max_lr=BASE,
            total_steps=total + 1,
            pct_start=pct_start,
            anneal_strategy="cos" if shape == "cosine" else "linear",
            div_factor=20,
            final_div_factor=300,
            three_phase=three_phase,
        )

    schedule = ours.one_cycle(
        pct_start=pct_start, div_factor=20, final_div_factor=300, shape=shape, three_phase=three_phase
    )
    # torch cannot step past its end.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE, momentum=0.9)
    scheduler = build(optimizer)
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(total):
        optimizer.step()
        scheduler.step()
        rates.append(float(scheduler.get_last_lr()[0]))
    found = [BASE * schedule(Progress(step, 1, total)) for step in range(total + 1)]
    assert found == pytest.approx(rates, rel=1e-12, abs=1e-12), (schedule, total)


def test_cyclic() -> None:
    shapes: Any = ("triangular", "triangular2", "exp_range")
    for shape, (up, down) in itertools.product(shapes, ((5, 5), (8, 24), (16, 4))):
        build = functools.partial(
            theirs.CyclicLR,
            base_lr=0.1 * BASE,
            max_lr=BASE,
            step_size_up=up,
            step_size_down=down,
            mode=shape,
            gamma=0.99,
        )
        check(build, ours.cyclic(low=0.1, up=f"{up}st", down=f"{down}st", shape=shape, gamma=0.99), 200, 50)


def test_cosine_restarts() -> None:
    for period, growth in ((10, 1), (7, 2), (5, 3)):
        build = functools.partial(theirs.CosineAnnealingWarmRestarts, T_0=period, T_mult=growth, eta_min=0.1 * BASE)
        check(build, ours.cosine_restarts(period=f"{period}st", growth=growth, end=0.1), 200, 50)
