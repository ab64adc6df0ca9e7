"""A small convolutional network."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lrtrain.datasets import Inputs


def cnn(inputs: Inputs, classes: int, channels: Sequence[int], dropout: float) -> nn.Module:
    """A 3 x 3 convolution, batch norm, ReLU and 2 x 2 max pooling for each entry of `channels`, then (n, classes).

    Raises:
        ValueError: The inputs are not pictures, or too small to be halved so often.
    """
    if len(inputs.shape) != 3:
        raise ValueError(f"model=cnn needs pictures of shape (channels, height, width), got {inputs.shape}")
    height, width = (side >> len(channels) for side in inputs.shape[1:])
    if not height or not width:
        raise ValueError(f"model.channels={list(channels)} halves pictures of {inputs.shape[1:]} pixels too often")
    blocks = [
        layer
        for incoming, outgoing in pairwise([inputs.shape[0], *channels])
        for layer in (
            nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
    ]
    head = nn.Linear(channels[-1] * height * width, classes)
    return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(dropout), head)
