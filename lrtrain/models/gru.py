"""A recurrent network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrtrain.parameters.rules import PositiveCount, Probability

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def gru(
    inputs: Inputs,
    outputs: int,
    /,
    *,
    width: PositiveCount = 128,
    layers: PositiveCount = 1,
    bidirectional: bool = False,
    dropout: Probability = 0.0,
) -> nn.Module:
    """A recurrent network of gated units: for tokens logits from the state at each, for series from all states.

    Source: Cho et al. 2014, arXiv:1406.1078.

    Args:
        inputs: Tokens (length,), or series (channels, length).
        width: of the state, and of the embedding of tokens.
        layers: one on top of the other.
        bidirectional: read series from both ends.
        dropout: probability that an output of a layer is left out.

    Raises:
        ValueError: The inputs are neither, or tokens would be read backwards, which tells what is to be predicted.
    """
    from torch import nn

    from lrtrain.models.layers import States, Steps

    if inputs.tokens is None and len(inputs.shape) != 2:
        raise ValueError(f"model=gru needs tokens, or series of shape (channels, length), got {inputs.shape}")
    if inputs.tokens is not None and bidirectional:
        raise ValueError("model.bidirectional=true is for series: with tokens it would read those to be predicted")
    into = Steps() if inputs.tokens is None else nn.Embedding(inputs.tokens, width)
    features = inputs.shape[0] if inputs.tokens is None else width
    states = States(features, width, layers, bidirectional, dropout if layers > 1 else 0.0)
    wide = width * (2 if bidirectional else 1)
    if inputs.tokens is not None:
        return nn.Sequential(into, states, nn.Dropout(dropout), nn.Linear(wide, outputs))
    flat = wide * inputs.shape[1]
    return nn.Sequential(into, states, nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, outputs))
