"""Linear layers whose gradients come in the layout of their weights."""

from __future__ import annotations

from torch import Tensor, nn


class Columns(nn.Linear):
    """A linear layer that has the samples of a batch as columns.

    With rows, the gradient of a weight that is mapped over runs comes transposed, and is copied.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as torch calls it)
        """Inputs (n, features); others as ever."""
        if input.dim() != 2:
            return super().forward(input)
        columns = self.weight @ input.mT
        return (columns if self.bias is None else columns + self.bias[:, None]).mT


def use_columns(net: nn.Module) -> None:
    """Make `Columns` of the linear layers of a network, in place: parameters and hooks stay what they are."""
    for layer in net.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Columns
