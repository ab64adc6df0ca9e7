"""What is asked of a trained model: how good it is, and what it says of each sample."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl
import numpy as np
from torch import Tensor, nn

from lrtrain.objectives import Objective
from lrtrain.training.data import Data
from lrtrain.training.loader import Batch
from lrtrain.training.measures import Measures, check_single


class Evaluation(pl.LightningModule):
    """Measures a model in the trainer's test loop; several ranks add up what each has seen.

    Args:
        model: Maps inputs (n, ...) to outputs (n, outputs), or (n, length, outputs) for a target a token.
        objective: What the outputs are to be.

    Attributes:
        measured: After the test, the loss, the metrics and the details of the objective, by name.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.measures = Measures(objective, details=True)
        self.measured: dict[str, Tensor] = {}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure a batch."""
        inputs, targets = batch
        self.measures.update(self.model(inputs), targets)

    def on_test_epoch_end(self) -> None:
        """Add up the batches."""
        self.measured = dict(self.measures.compute())


def measure(trainer: pl.Trainer, network: nn.Module, objective: Objective, data: Data) -> dict[str, np.ndarray]:
    """What is measured of a network on the test split, by name.

    Raises:
        RequestError: That is one sample, and too few.
    """
    check_single(objective, "test", data.splits.test)
    evaluation = Evaluation(network, objective)
    trainer.test(evaluation, data, verbose=False)
    return {name: value.double().cpu().numpy() for name, value in evaluation.measured.items()}


class Prediction(pl.LightningModule):
    """Hands on what a model says of each batch of the trainer's test loop.

    Args:
        model: Maps inputs (n, ...) to outputs (n, outputs), or (n, length, outputs) for a target a token.
        objective: What the outputs are to be.
        receive: Given predictions, of the shape of the outputs, and truths.
    """

    def __init__(self, model: nn.Module, objective: Objective, receive: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.receive = receive

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Hand on a batch."""
        inputs, targets = batch
        truths = self.objective.truths(targets) if targets.numel() else targets
        self.receive(self.objective.predictions(self.model(inputs)).cpu(), truths.cpu())
