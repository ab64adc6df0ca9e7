"""Runs that train one set of weights and validate an average of them.

The average is in the model during validation and once training has ended. In a checkpoint it is the ``state_dict``;
the training weights are beside it, as ``current_model_state``.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lrtrain.optimizers import averages_weights
from lrtrain.parameters.bound import Bound
from lrtrain.training.private import AveragingCallback
from lrtrain.training.progress_bar import tell
from lrtrain.training.stretch import Passed, Stretched, Taken

BATCH_NORM = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm


def build_averaging(optimizer: Bound, decay: float) -> list[pl.Callback]:
    """What keeps an average of the weights, where one is kept.

    Args:
        optimizer: That may average them itself.
        decay: Of a moving average; 0 keeps none.

    Raises:
        ValueError: There would be two of them, or the optimizer's class cannot be had.
    """
    if not averages_weights(optimizer):
        return [MovingAverage(decay)] if decay else []
    if decay:
        raise ValueError(f"optimizer={optimizer.name} averages the weights itself: leave out ema")
    return [ScheduleFree()]


class MovingAverage(Stretched, AveragingCallback):
    """Keeps an exponential moving average of the weights and buffers, which starts as the weights of the first update.

    Whoever takes several updates at once averages their weights, too.

    Args:
        decay: Share of the old average that is kept at each update.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.decay = decay

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have the average beside the weights, which Lightning moves to their device only after it was made."""
        self.average.to(pl_module.device)

    def on_stretch(self, trainer: pl.Trainer, passed: Passed, taken: Taken) -> None:
        """Count the updates whose weights are averaged."""
        self.skip_updates(passed.first + len(taken.losses))


class ScheduleFree(pl.Callback):
    """Switches an optimizer that averages the weights itself to its average, and back exactly.

    Such optimizers (Defazio et al. 2024, arXiv:2405.15682) have the methods `train` and `eval`. A validation does
    not change the training: the weights are restored from a copy, not computed back.
    """

    def __init__(self) -> None:
        self._weights: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Switch to the training weights, and warn of what has no average."""
        _switch(trainer, "train")
        if any(isinstance(layer, BATCH_NORM) for layer in pl_module.modules()):
            tell(trainer, "warning: batch norm's statistics are those of the training weights, not of their average")

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        if trainer.state.fn == "fit":
            self._show(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the training weights."""
        if trainer.state.fn == "fit":
            self._hide(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the model."""
        _switch(trainer, "eval")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average, and the training weights beside it."""
        current = checkpoint["state_dict"]
        self._show(trainer, pl_module)
        checkpoint["state_dict"] = {name: value.clone() for name, value in current.items()}
        self._hide(trainer, pl_module)
        checkpoint["current_model_state"] = current

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load the training weights."""
        pl_module.load_state_dict(checkpoint["current_model_state"])

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._weights = [parameter.detach().clone() for parameter in pl_module.parameters()]
        _switch(trainer, "eval")

    def _hide(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _switch(trainer, "train")
        for parameter, weight in zip(pl_module.parameters(), self._weights, strict=True):
            parameter.data.copy_(weight)
        self._weights = []


def _switch(trainer: pl.Trainer, mode: str) -> None:
    getattr(trainer.optimizers[0], mode)()
