"""The loss and the metrics of an objective, added up over the batches of a split."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lrtrain.datasets import Source
from lrtrain.errors import RequestError, first_line
from lrtrain.objectives import Objective
from lrtrain.objectives.own_metrics import Means


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
        self.means = Means(1 + len(objective.averaged))
        self.metrics = nn.ModuleDict({name: make() for name, make in makers.items()})

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        objective = self.objective
        losses = objective.losses(outputs, targets)
        outputs, targets = objective.rows(outputs, targets)
        self.means.update([losses, *(value(outputs, targets) for value in objective.averaged.values())])
        if self.metrics:
            scores, truths = (objective.scores or objective.predictions)(outputs), objective.truths(targets)
            for metric in self.metrics.values():
                metric.update(scores, truths)  # type: ignore[operator]

    def compute(self) -> Iterator[tuple[str, Tensor]]:
        """What has been measured, by name, the loss first; then begin anew."""
        means = self.means.compute().view(-1)  # torchmetrics makes a number of a single one
        yield from zip(("loss", *self.objective.averaged), means.unbind(), strict=True)
        self.means.reset()
        for name, metric in self.metrics.items():
            yield name, metric.compute()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]


def check_single(objective: Objective, part: str, source: Source) -> None:
    """Refuse a split of one sample that cannot be measured, as R2 is of two or more.

    Args:
        objective: That measures it.
        part: Its name, for people.
        source: Its samples.

    Raises:
        RequestError: It has one, and that is too few.
    """
    if len(source) != 1 or objective.targets.each_token:
        return
    measures = Measures(objective)
    _, targets = source.gather(torch.zeros(1, dtype=torch.int64))
    try:
        measures.update(torch.zeros(1, objective.targets.outputs), targets)
        list(measures.compute())
    except ValueError as error:  # torchmetrics'
        raise RequestError(f"the {part} split has one sample: {first_line(error)} Give it more") from error
