"""Softmax regression."""

import math

from torch import nn

from lrtrain.datasets import Inputs
from lrtrain.models import refuse_tokens


def linear(inputs: Inputs, classes: int) -> nn.Module:
    """One affine map of the flattened input to (n, classes)."""
    refuse_tokens("linear", inputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(inputs.shape), classes))
