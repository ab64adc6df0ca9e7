"""A multilayer perceptron."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lrtrain.datasets import Inputs


def mlp(inputs: Inputs, classes: int, hidden: Sequence[int], dropout: float) -> nn.Module:
    """Hidden layers of `hidden` units with ReLU and dropout, then an affine map to (n, classes)."""
    widths = [math.prod(inputs.shape), *hidden]
    layers = [
        layer
        for incoming, units in pairwise(widths)
        for layer in (nn.Linear(incoming, units), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))
