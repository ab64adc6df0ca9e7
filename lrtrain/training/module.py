"""The LightningModule: a model under an objective and a learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.optim import Optimizer

from lrtrain.objectives import Objective
from lrtrain.scheduler import Scheduler
from lrtrain.training.configure_optimizers import Scheduled
from lrtrain.training.loader import Batch
from lrtrain.training.measures import Measures


class Supervised(Scheduled):
    """Trains a model on the loss of an objective, and measures what the objective does.

    Args:
        model: Maps inputs (n, ...) to outputs (n, objective.targets.outputs), or (n, length, outputs).
        objective: What the outputs are to be.
        make_optimizer: Returns the optimizer of the model's parameters.
        make_scheduler: Given the optimizer, returns its scheduler.
        monitor: The metric that the scheduler's feedback observes.
        mixup: Train on mixtures of two samples each, by a share from Beta(mixup, mixup) for each batch, and on that
            share of their losses; 0 does not (Zhang et al. 2018, arXiv:1710.09412).
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        make_optimizer: Callable[[], Optimizer],
        make_scheduler: Callable[[Optimizer], Scheduler],
        monitor: str,
        mixup: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.make_optimizer = make_optimizer
        self.make_scheduler = make_scheduler
        self.monitor = monitor
        self.mixup = mixup
        self.measured = objective.measures
        self.val, self.test = Measures(objective), Measures(objective)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of shape (n, outputs), or (n, length, outputs) if each token has a target."""
        return self.model(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        inputs, targets = batch
        if not self.mixup:
            return self.objective.loss(self.model(inputs), targets)
        # By the random numbers of the model, which a resumed run goes on with.
        share = float(Beta(self.mixup, self.mixup).sample())
        others = torch.randperm(len(inputs)).to(inputs.device)
        outputs = self.model(torch.lerp(inputs[others], inputs, share))
        return share * self.objective.loss(outputs, targets) + (1 - share) * self.objective.loss(
            outputs, targets[others]
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure a batch."""
        inputs, targets = batch
        self.val.update(self.model(inputs), targets)

    def on_validation_epoch_end(self) -> None:
        """Pass ``val_loss`` and so on to the trainer."""
        self._report("val", self.val)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure a batch."""
        inputs, targets = batch
        self.test.update(self.model(inputs), targets)

    def on_test_epoch_end(self) -> None:
        """Pass ``test_loss`` and so on to the trainer."""
        self._report("test", self.test)

    def _report(self, stage: str, measures: Measures) -> None:
        # Lightning's log takes several times as long as a small validation.
        found = {name: value if value.dim() == 0 else value.mean() for name, value in measures.compute()}
        self.trainer.callback_metrics.update({f"{stage}_{name}": value for name, value in found.items()})
