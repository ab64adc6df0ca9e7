"""A small language model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lrtrain.parameters.rules import PositiveCount, Probability

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def transformer(
    inputs: Inputs,
    outputs: int,
    /,
    *,
    layers: PositiveCount = 4,
    heads: PositiveCount = 4,
    width: PositiveCount = 128,
    dropout: Probability = 0.0,
    bias: bool = False,
) -> nn.Module:
    """A small GPT, as nanoGPT trains it: logits for each token from the tokens up to it.

    Shorter sequences are taken too. Where the classes are the tokens, as in a language model, the embedding is also
    the last layer's weight.

    Source: Radford et al. 2019; github.com/karpathy/nanoGPT.

    Args:
        inputs: Tokens (length,).
        layers: blocks of attention and a two-layer perceptron, normalised before each.
        heads: of the attention.
        width: of what is passed from block to block.
        dropout: probability, of attention, and of what is added in a block.
        bias: of the affine maps and normalisations.

    Raises:
        ValueError: The inputs are not tokens, or the heads do not share the width evenly.
    """
    from torch import nn

    from lrtrain.models.layers import STD, Block, Embedding, affine

    if inputs.tokens is None:
        raise ValueError(f"model=transformer takes tokens, got numbers of shape {inputs.shape}; use another model")
    if width % heads:
        raise ValueError(f"model.width={width} cannot be shared by model.heads={heads} evenly")
    embedding = Embedding(inputs.tokens, inputs.shape[0], width, dropout)
    blocks = [Block(heads, width, dropout, bias, STD / math.sqrt(2 * layers)) for _ in range(layers)]
    head = affine(width, outputs, bias=False)
    if outputs == inputs.tokens:
        head.weight = embedding.tokens.weight
    return nn.Sequential(embedding, *blocks, nn.LayerNorm(width, bias=bias), head)
