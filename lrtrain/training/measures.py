"""The loss and the metrics of an objective, added up over the batches of a split."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torchmetrics import MeanMetric

from lrtrain.objectives import Objective


class Measures(nn.Module):
    """Metrics, not logged means: they add up the samples of all ranks, however unequal their shares.

    Args:
        objective: Whose.
        details: Measure what an evaluation does, too.
    """

    def __init__(self, objective: Objective, *, details: bool = False) -> None:
        super().__init__()
        makers = {**objective.metrics, **(objective.details if details else {})}
        self.objective = objective
        self.loss = MeanMetric(nan_strategy="disable")  # else it leaves out the losses that are NaN
        self.metrics = nn.ModuleDict({name: make() for name, make in makers.items()})

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        objective = self.objective
        self.loss.update(objective.losses(outputs, targets))
        outputs, targets = objective.rows(outputs, targets)
        scores, truths = (objective.scores or objective.predictions)(outputs), objective.truths(targets)
        for metric in self.metrics.values():
            metric.update(scores, truths)  # type: ignore[operator]

    def compute(self) -> Iterator[tuple[str, Tensor]]:
        """What has been measured, by name, the loss first; then begin anew."""
        for name, metric in (("loss", self.loss), *self.metrics.items()):
            yield name, metric.compute()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
