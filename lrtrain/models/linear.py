"""Softmax regression."""

import math

from torch import nn


def linear(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """One affine map of the flattened input to (n, classes)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))
