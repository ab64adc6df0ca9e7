"""The LightningModule: a classifier under a learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lrtrain.scheduler import Scheduler
from lrtrain.training.configure_optimizers import Scheduled
from lrtrain.training.loader import Batch


class Classifier(Scheduled):
    """Trains a model on cross-entropy and measures its accuracy.

    Args:
        model: Maps inputs (n, ...) to logits (n, classes).
        classes: Number of classes.
        make_optimizer: Returns the optimizer of the model's parameters.
        make_scheduler: Given the optimizer, returns its scheduler.
        monitor: The metric that the scheduler's feedback observes.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        make_optimizer: Callable[[], Optimizer],
        make_scheduler: Callable[[Optimizer], Scheduler],
        monitor: str,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_optimizer = make_optimizer
        self.make_scheduler = make_scheduler
        self.monitor = monitor
        # Metrics, not logged means: they add up the samples of all ranks, however unequal their shares.
        self.val_loss, self.test_loss = MeanMetric(), MeanMetric()
        self.val_acc = MulticlassAccuracy(classes, average="micro")
        self.test_acc = MulticlassAccuracy(classes, average="micro")

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of shape (n, classes), or (n, length, classes) if each token has a label."""
        return self.model(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        inputs, targets = batch
        return self.loss(self.model(inputs), targets)

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, a pure function."""
        return cross_entropy(*_rows(outputs, targets))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure `val_loss` and `val_acc`."""
        inputs, targets = batch
        self.measure_validation(self.model(inputs), targets)

    def measure_validation(self, outputs: Tensor, targets: Tensor) -> None:
        """Measure what the model says of a batch."""
        self._measure(self.val_loss, self.val_acc, outputs, targets)

    def on_validation_epoch_end(self) -> None:
        """Pass them to the trainer."""
        self._report("val", self.val_loss, self.val_acc)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure `test_loss` and `test_acc`."""
        inputs, targets = batch
        self._measure(self.test_loss, self.test_acc, self.model(inputs), targets)

    def on_test_epoch_end(self) -> None:
        """Pass them to the trainer."""
        self._report("test", self.test_loss, self.test_acc)

    def _measure(self, loss: MeanMetric, accuracy: MulticlassAccuracy, outputs: Tensor, targets: Tensor) -> None:
        logits, labels = _rows(outputs, targets)
        loss.update(cross_entropy(logits, labels, reduction="none"))
        accuracy.update(logits, labels)

    def _report(self, stage: str, loss: MeanMetric, accuracy: MulticlassAccuracy) -> None:
        # Lightning's log takes several times as long as a small validation.
        for name, metric in (("loss", loss), ("acc", accuracy)):
            self.trainer.callback_metrics[f"{stage}_{name}"] = metric.compute()
            metric.reset()


def _rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels, one row per label: a sequence has one per token."""
    return (logits, labels) if labels.dim() == 1 else (logits.flatten(0, -2), labels.flatten())
