"""A recurrent network of gated units (Cho et al. 2014, arXiv:1406.1078)."""

from torch import Tensor, nn

from lrtrain.datasets import Inputs


def gru(inputs: Inputs, classes: int, width: int, layers: int, bidirectional: bool, dropout: float) -> nn.Module:
    """For tokens, logits (n, length, classes) from the state at each; for series, (n, classes) from all states.

    Args:
        inputs: Tokens (length,), or series (channels, length).
        classes: Number of classes.
        width: Of the state, and of the embedding of the tokens.
        layers: One on top of the other.
        bidirectional: Read series from both ends.
        dropout: Probability that an output of a layer is left out.

    Raises:
        ValueError: The inputs are neither, or tokens would be read backwards, which tells what is to be predicted.
    """
    if inputs.tokens is None and len(inputs.shape) != 2:
        raise ValueError(f"model=gru needs tokens, or series of shape (channels, length), got {inputs.shape}")
    if inputs.tokens is not None and bidirectional:
        raise ValueError("model.bidirectional=true is for series: with tokens it would read those to be predicted")
    into = _Steps() if inputs.tokens is None else nn.Embedding(inputs.tokens, width)
    features = inputs.shape[0] if inputs.tokens is None else width
    states = _States(features, width, layers, bidirectional, dropout if layers > 1 else 0.0)
    outputs = width * (2 if bidirectional else 1)
    if inputs.tokens is not None:
        return nn.Sequential(into, states, nn.Dropout(dropout), nn.Linear(outputs, classes))
    flat = outputs * inputs.shape[1]
    return nn.Sequential(into, states, nn.Flatten(), nn.Dropout(dropout), nn.Linear(flat, classes))


class _Steps(nn.Module):
    """Series (n, channels, length) to steps (n, length, channels)."""

    def forward(self, series: Tensor) -> Tensor:
        return series.transpose(1, 2)


class _States(nn.Module):
    """The state of the last layer at each step, (n, length, width), twice as wide when bidirectional."""

    def __init__(self, features: int, width: int, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(features, width, layers, batch_first=True, bidirectional=bidirectional, dropout=dropout)

    def forward(self, steps: Tensor) -> Tensor:
        states, _ = self.gru(steps)
        return states  # type: ignore[no-any-return]
