"""Metrics that torchmetrics does not have as they are needed here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, Metric


class Means(Metric):
    """The means of several values that each sample has.

    Args:
        count: Of the values.
    """

    full_state_update = False
    sums: Tensor
    samples: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(count), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: list[Tensor]) -> None:
        """Add samples: of each value, those of all, (n,)."""
        self.sums = self.sums + torch.stack([each.to(self.dtype).sum() for each in values])
        self.samples = self.samples + len(values[0])

    def compute(self) -> Tensor:
        """Of all samples so far, (count,)."""
        return self.sums / self.samples


class Perplexity(MeanMetric):
    """The exponential of the mean cross-entropy: as many tokens alike would be as hard to tell.

    Torchmetrics' own wants sequences, of which ours are flattened by now.
    """

    higher_is_better = False  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(nan_strategy="disable")

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        """Add logits (n, classes) and labels (n,)."""
        super().update(cross_entropy(logits, labels, reduction="none"))

    def compute(self) -> Tensor:
        """Of all tokens so far."""
        return super().compute().exp()


class Pairs(Metric):
    """All predictions and truths, of shape (2, n, columns)."""

    predicted: list[Tensor]
    true: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("predicted", [], dist_reduce_fx="cat")
        self.add_state("true", [], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        """Add a batch."""
        self.predicted.append(predicted)
        self.true.append(true)

    def compute(self) -> Tensor:
        """All so far."""
        parts = (torch.cat(part) if isinstance(part, list) else part for part in (self.predicted, self.true))
        return torch.stack(tuple(part.double() for part in parts))
