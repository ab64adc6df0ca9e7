"""A small convolutional network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, TypeAlias

from lrtrain.models import refuse_tokens
from lrtrain.parameters.rules import Count, ListOf, Number, PositiveCount, Probability

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs

Counts: TypeAlias = Annotated[Sequence[int], ListOf(Number(low=1, integer=True), least=1)]


def cnn(
    inputs: Inputs,
    outputs: int,
    /,
    *,
    channels: Counts = (32, 64),
    kernels: Counts = (3,),
    stride: PositiveCount = 1,
    padding: Count = 1,
    pool: PositiveCount = 2,
    batch_norm: bool = True,
    dropout: Probability = 0.0,
) -> nn.Module:
    """A convolution, batch norm, ReLU and max pooling for each entry of `channels`, then an affine map.

    Args:
        inputs: Pictures (channels, height, width), or series (channels, length).
        channels: output channels of each convolution.
        kernels: width of each convolution; the last entry counts for all that follow.
        stride: of the convolutions.
        padding: zeros on each side before a convolution.
        pool: width and stride of the max pooling after each; 1 for none.
        batch_norm: normalise before each ReLU.
        dropout: probability that an input of the last layer is left out.

    Raises:
        ValueError: The inputs are neither, or too small for so many layers.
    """
    from torch import nn

    from lrtrain.models.layers import convolutional

    refuse_tokens("cnn", inputs)
    incoming, *sides = inputs.shape
    if len(sides) not in (1, 2):
        raise ValueError(
            "model=cnn needs pictures of shape (channels, height, width) or series of shape (channels, length), "
            f"got {inputs.shape}"
        )
    layers: list[nn.Module] = []
    for depth, (before, after) in enumerate(pairwise([incoming, *channels])):
        kernel = kernels[min(depth, len(kernels) - 1)]
        layers += convolutional(len(sides), before, after, kernel, stride, padding, pool, batch_norm)
        sides = [((side + 2 * padding - kernel) // stride + 1) // pool for side in sides]
        if min(sides) < 1:
            raise ValueError(f"model.channels={list(channels)} shrinks inputs of shape {inputs.shape} too often")
    head = nn.Linear(channels[-1] * math.prod(sides), outputs)
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), head)
