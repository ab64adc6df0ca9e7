"""What is trained: one file a model, named as in the configuration, with a function of that name.

The function takes what the inputs are, the number of classes, and the model's own parameters.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from lrtrain.datasets import Inputs


def model(name: str, inputs: Inputs | None, classes: int | None, **parameters: Any) -> nn.Module:
    """Build a model by its name in the configuration.

    It maps (n, *inputs.shape) to logits of shape (n, classes), or (n, length, classes) for a label a token.

    Raises:
        ValueError: The model cannot take such inputs.
    """
    module = importlib.import_module(f"lrtrain.models.{name}")
    return getattr(module, name)(inputs, classes, **parameters)  # type: ignore[no-any-return]


def refuse_tokens(name: str, inputs: Inputs) -> None:
    """Raise ValueError where the inputs are tokens, for a model that takes numbers."""
    if inputs.tokens is not None:
        raise ValueError(f"model={name} takes numbers, not tokens; use model=transformer or model=gru")
