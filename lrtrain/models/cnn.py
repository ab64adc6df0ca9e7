"""A small convolutional network."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def cnn(input_shape: tuple[int, ...], classes: int, channels: Sequence[int], dropout: float) -> nn.Module:
    """A 3 x 3 convolution, batch norm, ReLU and 2 x 2 max pooling for each entry of `channels`, then (n, classes).

    Raises:
        ValueError: The inputs are not pictures, or too small to be halved so often.
    """
    if len(input_shape) != 3:
        raise ValueError(f"model=cnn needs pictures of shape (channels, height, width), got {input_shape}")
    height, width = (side >> len(channels) for side in input_shape[1:])
    if not height or not width:
        raise ValueError(f"model.channels={list(channels)} halves pictures of {input_shape[1:]} pixels too often")
    blocks = [
        layer
        for inputs, outputs in pairwise([input_shape[0], *channels])
        for layer in (
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
    ]
    head = nn.Linear(channels[-1] * height * width, classes)
    return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(dropout), head)
