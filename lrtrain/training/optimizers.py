"""The optimizers, by their names in the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import SGD, Adam, AdamW, Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def optimizer(name: str, groups: Sequence[dict[str, Any]], lr: float, **settings: Any) -> Optimizer:
    """Build a torch optimizer of copies of the groups; `settings` are its arguments, a list becomes a tuple."""
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return OPTIMIZERS[name]([dict(group) for group in groups], lr=lr, **settings)  # type: ignore[call-arg]
