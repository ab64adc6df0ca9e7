"""What is trained: one file a model, named as in the configuration, with a function of that name.

The function takes the shape of an input (without the batch), the number of classes, and the model's own parameters.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn


def model(name: str, input_shape: tuple[int, ...], classes: int, **parameters: Any) -> nn.Module:
    """Build a model by its name in the configuration; it maps (n, *input_shape) to (n, classes)."""
    module = importlib.import_module(f"lrtrain.models.{name}")
    return getattr(module, name)(input_shape, classes, **parameters)  # type: ignore[no-any-return]
