"""A multilayer perceptron."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from lrtrain.datasets import Inputs
from lrtrain.models import refuse_tokens
from lrtrain.models.residual import Residual


def mlp(
    inputs: Inputs,
    classes: int,
    hidden: Sequence[int],
    dropout: float,
    batch_norm: bool = False,
    residual: bool = False,
) -> nn.Module:
    """Hidden layers of `hidden` units with ReLU and dropout, then an affine map to (n, classes).

    Args:
        inputs: What the model is given; flattened.
        classes: Number of classes.
        hidden: Units of each hidden layer.
        dropout: Probability that a hidden unit is left out.
        batch_norm: Normalise before each ReLU.
        residual: Add its input to the output of each hidden layer that does not change the width.
    """
    refuse_tokens("mlp", inputs)
    widths = [math.prod(inputs.shape), *hidden]
    layers: list[nn.Module] = []
    for depth, (incoming, units) in enumerate(pairwise(widths)):
        layer = _layer(incoming, units, dropout, batch_norm)
        layers += [Residual(*layer)] if residual and depth and incoming == units else layer
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))


def _layer(incoming: int, units: int, dropout: float, batch_norm: bool) -> Iterator[nn.Module]:
    yield nn.Linear(incoming, units)
    if batch_norm:
        yield nn.BatchNorm1d(units)
    yield nn.ReLU()
    yield nn.Dropout(dropout)
