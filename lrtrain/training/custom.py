"""A user's own LightningModule and LightningDataModule, in our runs.

Each object keeps its class, with a class of ours in front of it for what has to be ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Optimizer

from lrtrain.imports import call
from lrtrain.scheduler import Scheduler
from lrtrain.training.record import TRAIN
from lrtrain.training.scheduled import Scheduled


def lightning_module(
    network: nn.Module,
    make_optimizer: Callable[[], Optimizer],
    make_scheduler: Callable[[Optimizer], Scheduler],
    monitor: str,
) -> Scheduled:
    """Put a user's LightningModule under our optimizer and schedule; the arguments are those of `Scheduled`.

    Raises:
        ValueError: It is none, or steps its optimizers itself.
    """
    if not isinstance(network, pl.LightningModule):
        raise ValueError(
            f"{_kind(network)} is no lightning.pytorch.LightningModule; use model=custom for a plain module"
        )
    if not network.automatic_optimization:
        raise ValueError(f"{_kind(network)} steps its optimizers itself (automatic_optimization=False)")
    if not is_overridden("validation_step", network):
        raise ValueError(f"{_kind(network)} has no validation_step: nothing would be measured")
    _put_in_front(_Theirs, network)
    assert isinstance(network, Scheduled)
    network.make_optimizer, network.make_scheduler, network.monitor = make_optimizer, make_scheduler, monitor
    return network


class _Theirs(Scheduled):
    """In front of a user's LightningModule."""

    def log(
        self, name: str, value: Any, prog_bar: bool = False, logger: bool | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Log as ever, but for what our record writes: the training loss, and what is measured in validation."""
        recorded = name in TRAIN or not self.trainer.training
        super().log(name, value, prog_bar, False if recorded else logger, *args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what cannot be loaded with ``weights_only=True`` out of the saved hyperparameters."""
        super().on_save_checkpoint(checkpoint)
        hyperparameters = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        plain = {name: value for name, value in hyperparameters.items() if _is_plain(value)}
        if plain != hyperparameters:
            checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = plain


def data_module(function: str, parameters: Mapping[str, Any] | None, **offered: Any) -> pl.LightningDataModule:
    """A user's LightningDataModule, which goes on in mid-epoch where its training loader has a `state_dict`.

    Args:
        function: The place of its class, or of a function that makes one.
        parameters: Arguments by name.
        offered: Further ones, for those names that its signature has.

    Raises:
        ValueError: It cannot be made, or is none.
    """
    data = call("dataset.function", function, parameters, **offered)
    if not isinstance(data, pl.LightningDataModule):
        raise ValueError(f"dataset.function={function} makes no lightning.pytorch.LightningDataModule: {_kind(data)}")
    if not is_overridden("val_dataloader", data):
        raise ValueError(f"dataset.function={function} has no val_dataloader: nothing would be measured")
    _put_in_front(_KeepsPosition, data)
    return data


class _KeepsPosition(pl.LightningDataModule):
    """In front of a user's LightningDataModule.

    Lightning keeps a loader's state too, but has lost it by the time it is due where anything asked for the length of
    the run.
    """

    _position: dict[str, Any] | None = None

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()
        position, self._position = self._position, None
        if position and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(position["state"])
            if position["ended"]:
                next(iter(loader), None)  # nothing is left of that epoch: the next iteration begins another
        return loader

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = super().state_dict()
        loader: Any = self.trainer.train_dataloader if self.trainer else None
        if self.trainer and hasattr(loader, "state_dict"):
            done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
            ended = done >= self.trainer.num_training_batches
            state["train_loader"] = {"state": loader.state_dict(), "ended": ended}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "train_loader"})
        self._position = state_dict.get("train_loader")


class Look(NamedTuple):
    """What is seen of a user's training data.

    Attributes:
        batches: In an epoch, on one device; None where the loader does not say.
        shape: Of one sample; None where a batch is no pair of inputs and labels.
        integers: The inputs are whole numbers.
        labels: Of the first batch; None where it is no such pair.
    """

    batches: int | None
    shape: tuple[int, ...] | None
    integers: bool
    labels: Tensor | None


def look_at(function: str, parameters: Mapping[str, Any] | None, **offered: Any) -> Look:
    """Make a user's LightningDataModule, as `data_module`, and look at its first training batch."""
    return _look_at(function, json.dumps(parameters, sort_keys=True), tuple(sorted(offered.items())))


@lru_cache(maxsize=8)
def _look_at(function: str, parameters: str, offered: tuple[tuple[str, Any], ...]) -> Look:
    with isolate_rng():
        data = data_module(function, json.loads(parameters), **dict(offered))
        try:
            data.prepare_data()
            data.setup("fit")
            loader = data.train_dataloader()
            batch = next(iter(loader))
        except Exception as error:  # whatever calling somebody's code runs into
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"dataset.function={function} gives no training batch: {said}") from error
    batches = _length(loader)
    is_pair = isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
    if not is_pair:
        return Look(batches, None, integers=False, labels=None)
    inputs, labels = batch
    return Look(batches, tuple(inputs.shape[1:]), integers=not inputs.is_floating_point(), labels=labels)


def measuring_batches(
    function: str, parameters: Mapping[str, Any] | None, **offered: Any
) -> dict[str, list[int | None]]:
    """Make a user's LightningDataModule, as `data_module`, and ask what it measures on.

    Returns:
        The batches of each loader for ``validation`` and for ``test``; None of a loader without a length.
    """
    found: dict[str, list[int | None]] = {}
    with isolate_rng():
        data = data_module(function, parameters, **offered)
        for part, method, stage in (("validation", "val_dataloader", "fit"), ("test", "test_dataloader", "test")):
            if not is_overridden(method, data):
                continue
            try:
                data.prepare_data()
                data.setup(stage)
                found[part] = [sized_len(loader) for loader in _several(getattr(data, method)())]
            except Exception as error:  # whatever calling somebody's code runs into
                said = f"{type(error).__name__}: {error}"
                raise ValueError(f"dataset.function={function} gives no {part} batches: {said}") from error
    return found


def _several(loaders: Any) -> list[Any]:
    """The loaders that a user's method gives: one, or several in a list or by name."""
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    if isinstance(loaders, Mapping):
        return list(loaders.values())
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _length(loader: Any) -> int | None:
    """The batches of a loader; of several, which Lightning begins anew until the longest ends, of that."""
    if isinstance(loader, Mapping | list | tuple):
        lengths = [_length(part) for part in _several(loader)]
        return None if None in lengths else max(filter(None, lengths), default=None)
    return sized_len(loader)


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
