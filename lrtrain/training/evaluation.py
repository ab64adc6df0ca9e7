"""What is asked of a trained model: how good it is, and what it says of each sample."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl
import numpy as np
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from lrtrain.training.data import Data
from lrtrain.training.loader import Batch

BY_CLASS = {"precision": MulticlassPrecision, "recall": MulticlassRecall, "f1": MulticlassF1Score}


class Evaluation(pl.LightningModule):
    """Measures a model in the trainer's test loop; several ranks add up what each has seen.

    Args:
        model: Maps inputs (n, ...) to logits (n, classes), or (n, length, classes) for a label a token.
        classes: Number of classes.

    Attributes:
        tokens: A label belongs to a token, not to a sample; known after the test.
        measured: After the test, by name: ``loss`` and ``acc``; ``precision``, ``recall`` and ``f1``, their means over
            the classes that occur; the same with ``_by_class``, of shape (classes,); and ``confusion``, how many
            samples of the class in the row were taken for the class in the column.
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model = model
        self.tokens = False
        self.measured: dict[str, Tensor] = {}
        self.loss = MeanMetric()
        self.metrics = MetricCollection(
            {
                "acc": MulticlassAccuracy(classes, average="micro"),
                "confusion": MulticlassConfusionMatrix(classes),
                **{name: metric(classes, average="macro") for name, metric in BY_CLASS.items()},
                **{f"{name}_by_class": metric(classes, average="none") for name, metric in BY_CLASS.items()},
            }
        )

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure a batch."""
        inputs, labels = batch
        self.tokens = labels.ndim > 1
        logits, labels = self.model(inputs).flatten(0, -2), labels.flatten()
        self.loss.update(cross_entropy(logits, labels, reduction="none"))
        self.metrics.update(logits, labels)

    def on_test_epoch_end(self) -> None:
        """Add up the batches."""
        self.measured = {"loss": self.loss.compute(), **self.metrics.compute()}


def measure(trainer: pl.Trainer, network: nn.Module, data: Data) -> tuple[dict[str, np.ndarray], bool]:
    """What is measured of a network on the test split, by name; and whether a label belongs to a token."""
    evaluation = Evaluation(network, data.splits.classes)
    trainer.test(evaluation, data, verbose=False)
    return {name: value.double().cpu().numpy() for name, value in evaluation.measured.items()}, evaluation.tokens


class Prediction(pl.LightningModule):
    """Hands on what a model says of each batch of the trainer's test loop.

    Args:
        model: Maps inputs (n, ...) to logits (n, classes), or (n, length, classes) for a label a token.
        receive: Given the probabilities, of shape (n, classes) or (n, length, classes), and the labels.
    """

    def __init__(self, model: nn.Module, receive: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.model = model
        self.receive = receive

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Hand on a batch."""
        inputs, labels = batch
        self.receive(self.model(inputs).float().softmax(-1).cpu(), labels.cpu())
