"""The optimizers, by their names in the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def optimizer(name: str, parameters: Iterable[torch.nn.Parameter], lr: float, **settings: Any) -> Optimizer:
    """Build a torch optimizer; `settings` are its own arguments, a list among them becomes a tuple."""
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return OPTIMIZERS[name](parameters, lr=lr, **settings)  # type: ignore[call-arg]
