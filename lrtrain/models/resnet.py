"""The residual network for small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrtrain.parameters.rules import PositiveCount

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def resnet(
    inputs: Inputs, outputs: int, /, *, depth: PositiveCount = 20, width: PositiveCount = 16, zero_init: bool = False
) -> nn.Module:
    """The residual network for small pictures: three stages of residual blocks, and global average pooling.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2.

    Args:
        inputs: Pictures (channels, height, width).
        depth: layers with weights, 6n + 2 for n blocks a stage: 20, 32, 44, 56, 110.
        width: channels of the first of three stages; each has twice as many as the one before.
        zero_init: let each block begin as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).

    Raises:
        ValueError: The inputs are not pictures, or there is no such depth.
    """
    from torch import nn

    from lrtrain.models.layers import ResidualBlock, convolution

    if len(inputs.shape) != 3:
        raise ValueError(f"model=resnet needs pictures of shape (channels, height, width), got {inputs.shape}")
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"model.depth must be 6n + 2, such as 20, 32 or 56, got {depth}")
    stages = [(width * 2**stage, 2 if stage and not block else 1) for stage in range(3) for block in range(blocks)]
    layers, incoming = [convolution(inputs.shape[0], width), nn.BatchNorm2d(width), nn.ReLU()], width
    for channels, stride in stages:
        layers.append(ResidualBlock(incoming, channels, stride, zero_init))
        incoming = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(incoming, outputs))
