"""Custom LightningModules and LightningDataModules.

Each object keeps its class, behind one of this module that overrides what lrtrain does itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torch.optim import Optimizer

from lrtrain.callbacks import check_callbacks
from lrtrain.parameters.bound import Bound
from lrtrain.scheduler import Scheduler
from lrtrain.training.configure_optimizers import Scheduled
from lrtrain.training.private import count_batches
from lrtrain.training.record import TRAIN


def lightning_module(
    network: nn.Module,
    make_optimizer: Callable[[], Optimizer],
    make_scheduler: Callable[[Optimizer], Scheduler],
    monitor: str,
) -> Scheduled:
    """Put a custom LightningModule under lrtrain's optimizer and schedule; see `Scheduled` for the arguments.

    Raises:
        ValueError: It is not a LightningModule, has no validation, or steps its optimizers itself.
        RequestError: It brings a callback that would do what only the run itself does.
    """
    if not isinstance(network, pl.LightningModule):
        raise ValueError(
            f"{_kind(network)} is not a lightning.pytorch.LightningModule; use model=custom for a plain module"
        )
    if not network.automatic_optimization:
        raise ValueError(f"{_kind(network)} steps its optimizers itself (automatic_optimization=False)")
    if not is_overridden("validation_step", network):
        raise ValueError(f"{_kind(network)} has no validation_step: no validation would run")
    theirs = network.configure_callbacks()
    check_callbacks(theirs if isinstance(theirs, Sequence) else [theirs])
    _put_in_front(_Theirs, network)
    assert isinstance(network, Scheduled)
    network.make_optimizer, network.make_scheduler, network.monitor = make_optimizer, make_scheduler, monitor
    return network


class _Theirs(Scheduled):
    """In front of a custom LightningModule."""

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Log as usual, except what `Record` writes: the training loss, and the metrics of the validation."""
        recorded = name in TRAIN or not self.trainer.training
        super().log(name, value, prog_bar, False if recorded else logger, *args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save only hyperparameters that can be loaded with ``weights_only=True``."""
        super().on_save_checkpoint(checkpoint)
        hyperparameters = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        plain = {name: value for name, value in hyperparameters.items() if _is_plain(value)}
        if plain != hyperparameters:
            checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = plain


def data_module(dataset: Bound, given: Mapping[str, Any]) -> pl.LightningDataModule:
    """Make a custom LightningDataModule; it resumes in mid-epoch if its training loader has a `state_dict`.

    Args:
        dataset: The place of its class, with its arguments.
        given: Further ones, passed if the signature has their names.

    Raises:
        ValueError: It cannot be made, or has no validation.
    """
    data: pl.LightningDataModule = dataset.make(given)
    _put_in_front(_KeepsPosition, data)
    return data


class _KeepsPosition(pl.LightningDataModule):
    """In front of a custom LightningDataModule.

    Lightning saves a loader's state too, but loses it on loading if the run's length is asked for first.
    """

    _position: dict[str, Any] | None = None

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()
        position, self._position = self._position, None
        if position and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(position["state"])
            if position["ended"]:
                next(iter(loader), None)  # that epoch is over: the next iteration starts another
        return loader

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict()
        loader: Any = self.trainer.train_dataloader if self.trainer else None
        if self.trainer and hasattr(loader, "state_dict"):
            ended = count_batches(self.trainer) >= self.trainer.num_training_batches
            state["train_loader"] = {"state": loader.state_dict(), "ended": ended}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "train_loader"})
        self._position = state_dict.get("train_loader")


def _put_in_front(front: type, instance: object) -> None:
    kind = type(instance)
    instance.__class__ = type(kind.__name__, (front, kind), {"__module__": kind.__module__})


def _kind(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__name__}"


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str)
