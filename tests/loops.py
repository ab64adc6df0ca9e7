"""An optimizer and its scheduler in a loop of twelve updates, four an epoch, on a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from lrtrain import Scheduler
from lrtrain.schedules import Schedule, cosine

BASE, TOTAL, LENGTH = 0.1, 12, 4
COSINE = [BASE * (1 + math.cos(math.pi * t / TOTAL)) / 2 for t in range(TOTAL + 1)]


def make(kind: Callable[..., Optimizer] = SGD, lr: Any = BASE, **settings: Any) -> Optimizer:
    weight = nn.Parameter(torch.ones(2, dtype=torch.float64))
    weight.grad = torch.ones(2, dtype=torch.float64)
    return kind([weight], lr=lr, **settings)


def scheduled(optimizer: Optimizer, schedule: Schedule | None = None, **settings: Any) -> Scheduler:
    return Scheduler(optimizer, schedule or cosine(), total_steps=TOTAL, steps_per_epoch=LENGTH, **settings)


def rate(optimizer: Optimizer, group: int = 0) -> float:
    return float(optimizer.param_groups[group]["lr"])


def moved(optimizer: Optimizer) -> float:
    """The rate that an update of SGD really had: how far it moves a weight whose gradient is 1."""
    weight = optimizer.param_groups[0]["params"][0]
    before = weight.detach().clone()
    optimizer.step()
    return float((before - weight.detach())[0])
