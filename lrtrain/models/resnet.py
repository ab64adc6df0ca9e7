"""The residual network for small pictures (He et al. 2016, arXiv:1512.03385, section 4.2)."""

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from lrtrain.datasets import Inputs


def resnet(inputs: Inputs, classes: int, depth: int, width: int, zero_init: bool) -> nn.Module:
    """A convolution, three stages of residual blocks, global average pooling, then (n, classes).

    Args:
        inputs: Pictures (channels, height, width).
        classes: Number of classes.
        depth: Layers with weights, 6n + 2 for n blocks a stage: 20, 32, 44, 56, 110.
        width: Channels of the first stage; the second has twice, the third four times as many.
        zero_init: Let each block begin as the identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).

    Raises:
        ValueError: The inputs are not pictures, or there is no such depth.
    """
    if len(inputs.shape) != 3:
        raise ValueError(f"model=resnet needs pictures of shape (channels, height, width), got {inputs.shape}")
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"model.depth must be 6n + 2, such as 20, 32 or 56, got {depth}")
    stages = [(width * 2**stage, 2 if stage and not block else 1) for stage in range(3) for block in range(blocks)]
    layers, incoming = [_convolution(inputs.shape[0], width), nn.BatchNorm2d(width), nn.ReLU()], width
    for channels, stride in stages:
        layers.append(_Block(incoming, channels, stride, zero_init))
        incoming = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(incoming, classes))


class _Block(nn.Module):
    """Two convolutions beside a shortcut without parameters (option A of the paper).

    The shortcut keeps every `stride`-th pixel and fills the new channels with zeros.
    """

    def __init__(self, incoming: int, channels: int, stride: int, zero_init: bool) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = channels - incoming
        last_norm = nn.BatchNorm2d(channels)
        if zero_init:
            nn.init.zeros_(last_norm.weight)
        self.residual = nn.Sequential(
            _convolution(incoming, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            _convolution(channels, channels),
            last_norm,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        shortcut = pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before))
        return relu(shortcut + self.residual(inputs))


def _convolution(incoming: int, channels: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(incoming, channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution
