"""A small GPT, as nanoGPT trains it (Radford et al. 2019; github.com/karpathy/nanoGPT)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lrtrain.datasets import Inputs
from lrtrain.models.residual import Residual

STD = 0.02
"""Of the weights before training."""


def transformer(
    inputs: Inputs, classes: int, layers: int, heads: int, width: int, dropout: float, bias: bool
) -> nn.Module:
    """Logits (n, length, classes), each from the tokens up to its own; shorter sequences are taken too.

    Where the classes are the tokens, as in a language model, the embedding is also the last layer's weight.

    Args:
        inputs: Tokens (length,).
        classes: Number of classes.
        layers: Blocks of attention and a two-layer perceptron, normalised before each.
        heads: Of the attention.
        width: Of what is passed from block to block.
        dropout: Probability, of attention, and of what is added in a block.
        bias: Of the affine maps and normalisations.

    Raises:
        ValueError: The inputs are not tokens, or the heads do not share the width evenly.
    """
    if inputs.tokens is None:
        raise ValueError(f"model=transformer takes tokens, got numbers of shape {inputs.shape}; use another model")
    if width % heads:
        raise ValueError(f"model.width={width} cannot be shared by model.heads={heads} evenly")
    embedding = _Embedding(inputs.tokens, inputs.shape[0], width, dropout)
    blocks = [_Block(heads, width, dropout, bias, STD / math.sqrt(2 * layers)) for _ in range(layers)]
    head = _linear(width, classes, bias=False)
    if classes == inputs.tokens:
        head.weight = embedding.tokens.weight
    return nn.Sequential(embedding, *blocks, nn.LayerNorm(width, bias=bias), head)


class _Embedding(nn.Module):
    """A vector for each token and one for its position, added."""

    def __init__(self, tokens: int, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(length, width)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=STD)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.dropout(self.tokens(tokens) + self.positions(places))  # type: ignore[no-any-return]


class _Block(nn.Sequential):
    """Attention and a two-layer perceptron, each added to what came in; `std` is that of their last weights."""

    def __init__(self, heads: int, width: int, dropout: float, bias: bool, std: float) -> None:
        super().__init__(
            Residual(nn.LayerNorm(width, bias=bias), _Attention(heads, width, dropout, bias, std), nn.Dropout(dropout)),
            Residual(
                nn.LayerNorm(width, bias=bias),
                _linear(width, 4 * width, bias),
                nn.GELU(),
                _linear(4 * width, width, bias, std),
                nn.Dropout(dropout),
            ),
        )


class _Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, heads: int, width: int, dropout: float, bias: bool, std: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.project = _linear(width, 3 * width, bias)
        self.out = _linear(width, width, bias, std)

    def forward(self, inputs: Tensor) -> Tensor:
        n, length, width = inputs.shape
        projected = self.project(inputs).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))  # type: ignore[no-any-return]


def _linear(incoming: int, outgoing: int, bias: bool, std: float = STD) -> nn.Linear:
    layer = nn.Linear(incoming, outgoing, bias)
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
