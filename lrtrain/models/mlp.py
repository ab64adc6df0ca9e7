"""A multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from lrtrain.models import refuse_tokens
from lrtrain.parameters.rules import ListOf, Number, Probability

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def mlp(
    inputs: Inputs,
    outputs: int,
    /,
    *,
    hidden: Annotated[Sequence[int], ListOf(Number(low=1, integer=True))] = (512,),
    dropout: Probability = 0.2,
    batch_norm: bool = False,
    residual: bool = False,
) -> nn.Module:
    """A multilayer perceptron on the flattened input: hidden layers with ReLU and dropout, then an affine map.

    Args:
        hidden: units of each hidden layer.
        dropout: probability that a hidden unit is left out.
        batch_norm: normalise before each ReLU.
        residual: add its input to the output of each hidden layer that does not change the width.
    """
    from torch import nn

    from lrtrain.models.layers import Residual, dense

    refuse_tokens("mlp", inputs)
    widths = [math.prod(inputs.shape), *hidden]
    layers: list[nn.Module] = []
    for depth, (incoming, units) in enumerate(pairwise(widths)):
        layer = dense(incoming, units, dropout, batch_norm)
        layers += [Residual(*layer)] if residual and depth and incoming == units else layer
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], outputs))
