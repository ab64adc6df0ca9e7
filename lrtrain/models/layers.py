"""What the models are made of."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu, scaled_dot_product_attention

STD = 0.02
"""Of the transformer's weights before training."""

_CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


def convolutional(
    dimensions: int, incoming: int, channels: int, kernel: int, stride: int, padding: int, pool: int, batch_norm: bool
) -> Iterator[nn.Module]:
    """A layer of `cnn`."""
    yield _CONVOLUTION[dimensions](incoming, channels, kernel, stride, padding, bias=not batch_norm)
    if batch_norm:
        yield _NORM[dimensions](channels)
    yield nn.ReLU()
    if pool > 1:
        yield _POOL[dimensions](pool)


def dense(incoming: int, units: int, dropout: float, batch_norm: bool) -> Iterator[nn.Module]:
    """A hidden layer of `mlp`."""
    yield nn.Linear(incoming, units)
    if batch_norm:
        yield nn.BatchNorm1d(units)
    yield nn.ReLU()
    yield nn.Dropout(dropout)


class Residual(nn.Module):
    """Layers one after another, whose output is added to their input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs and outputs have one shape."""
        return inputs + self.layers(inputs)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two convolutions of `resnet` beside a shortcut without parameters (option A of the paper).

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
            convolution(incoming, channels, stride),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            convolution(channels, channels),
            last_norm,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Pictures (n, incoming, height, width) to (n, channels, height / stride, width / stride)."""
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        shortcut = pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before))
        return relu(shortcut + self.residual(inputs))


def convolution(incoming: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of `resnet`, with the weights that the paper begins with."""
    made = nn.Conv2d(incoming, channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(made.weight)
    return made


class Steps(nn.Module):
    """Series (n, channels, length) to steps (n, length, channels)."""

    def forward(self, series: Tensor) -> Tensor:
        """Swap the last two dimensions."""
        return series.transpose(1, 2)


class States(nn.Module):
    """The state of the last layer of `gru` at each step, (n, length, width), twice as wide when bidirectional."""

    def __init__(self, features: int, width: int, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(features, width, layers, batch_first=True, bidirectional=bidirectional, dropout=dropout)

    def forward(self, steps: Tensor) -> Tensor:
        """Steps (n, length, features)."""
        states, _ = self.gru(steps)
        return states  # type: ignore[no-any-return]


class Embedding(nn.Module):
    """A vector for each token and one for its position, added."""

    def __init__(self, tokens: int, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(length, width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=STD)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, length) to (n, length, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.dropout(self.tokens(tokens) + self.positions(places))  # type: ignore[no-any-return]


class Block(nn.Sequential):
    """Attention and a two-layer perceptron, each added to what came in; `std` is that of their last weights."""

    def __init__(self, heads: int, width: int, dropout: float, bias: bool, std: float) -> None:
        super().__init__(
            Residual(nn.LayerNorm(width, bias=bias), Attention(heads, width, dropout, bias, std), nn.Dropout(dropout)),
            Residual(
                nn.LayerNorm(width, bias=bias),
                affine(width, 4 * width, bias),
                nn.GELU(),
                affine(4 * width, width, bias, std),
                nn.Dropout(dropout),
            ),
        )


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, heads: int, width: int, dropout: float, bias: bool, std: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.project = affine(width, 3 * width, bias)
        self.out = affine(width, width, bias, std)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs and outputs are (n, length, width)."""
        n, length, width = inputs.shape
        projected = self.project(inputs).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))  # type: ignore[no-any-return]


def affine(incoming: int, outgoing: int, bias: bool, std: float = STD) -> nn.Linear:
    """An affine map of the transformer, with the weights that GPT-2 begins with."""
    made = nn.Linear(incoming, outgoing, bias)
    nn.init.normal_(made.weight, std=std)
    if bias:
        nn.init.zeros_(made.bias)
    return made
