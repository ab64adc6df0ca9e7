"""Moving averages of the weights and buffers of many runs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Average(NamedTuple):
    """A moving average of the weights and buffers of a run, as torch's `AveragedModel` keeps it.

    Attributes:
        net: That has it in the place of its own; changed in place.
        updates: How many it is of, changed in place.
        decay: Share of it that is kept at each update.
    """

    net: nn.Module
    updates: Tensor
    decay: float


class Averages(NamedTuple):
    """Those of many runs.

    Attributes:
        weights: Of each of the optimizer's groups, (runs, numbers).
        fixed: Of the other parameters, and the buffers; the first dimension is the runs.
        counts: How many updates they are of, (runs,).
        shares: What the weights after an update count in them, (runs,).
    """

    weights: list[Tensor]
    fixed: dict[str, Tensor]
    counts: Tensor
    shares: Tensor

    def add(self, weights: Sequence[Tensor], fixed: Mapping[str, Tensor]) -> None:
        """Add the weights and buffers after an update, in place; the first of a run are copied."""
        shares = torch.where(self.counts > 0, self.shares, 1.0)
        pairs = [*zip(self.weights, weights, strict=True), *((own, fixed[name]) for name, own in self.fixed.items())]
        for own, new in pairs:
            share = shares.view(-1, *[1] * (own.dim() - 1))
            if own.is_floating_point():
                own.lerp_(new, share.to(own.dtype))
            else:  # in 32 bits, as torch does
                own.copy_(own * (1 - share).float() + new * share.float())
        self.counts.add_(1)
