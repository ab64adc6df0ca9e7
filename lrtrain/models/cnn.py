"""A small convolutional network."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from lrtrain.datasets import Inputs
from lrtrain.models import refuse_tokens

_CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


def cnn(
    inputs: Inputs,
    classes: int,
    channels: Sequence[int],
    dropout: float,
    kernels: Sequence[int] = (3,),
    stride: int = 1,
    padding: int = 1,
    pool: int = 2,
    batch_norm: bool = True,
) -> nn.Module:
    """A convolution, batch norm, ReLU and max pooling for each entry of `channels`, then (n, classes).

    Args:
        inputs: Pictures (channels, height, width), or series (channels, length).
        classes: Number of classes.
        channels: Of each convolution's output.
        dropout: Probability that an input of the last layer is left out.
        kernels: Width of each convolution; the last entry counts for all that follow.
        stride: Of the convolutions.
        padding: Zeros on each side before a convolution.
        pool: Width and stride of the max pooling; 1 for none.
        batch_norm: Normalise before each ReLU.

    Raises:
        ValueError: The inputs are neither, or too small for so many layers.
    """
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
        layers += _layer(len(sides), before, after, kernel, stride, padding, pool, batch_norm)
        sides = [((side + 2 * padding - kernel) // stride + 1) // pool for side in sides]
        if min(sides) < 1:
            raise ValueError(f"model.channels={list(channels)} shrinks inputs of shape {inputs.shape} too often")
    head = nn.Linear(channels[-1] * math.prod(sides), classes)
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), head)


def _layer(
    dimensions: int, incoming: int, channels: int, kernel: int, stride: int, padding: int, pool: int, batch_norm: bool
) -> Iterator[nn.Module]:
    yield _CONVOLUTION[dimensions](incoming, channels, kernel, stride, padding, bias=not batch_norm)
    if batch_norm:
        yield _NORM[dimensions](channels)
    yield nn.ReLU()
    if pool > 1:
        yield _POOL[dimensions](pool)
