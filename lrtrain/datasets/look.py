"""What is seen of a user's own data: its length, its first batch, what it is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lrtrain.parameters.bound import Bound
from lrtrain.parameters.places import said_of


class Look(NamedTuple):
    """The training data of a custom LightningDataModule, from its first batch.

    Attributes:
        batches: In an epoch, on one device; None if the loader has no length.
        shape: Of one sample; None if the batch is not a pair of inputs and labels.
        integers: The inputs are integers.
        labels: Of the batch; None if it is not such a pair.
    """

    batches: int | None
    shape: tuple[int, ...] | None
    integers: bool
    labels: Tensor | None


def look_at(dataset: Bound, given: Mapping[str, Any]) -> Look:
    """Make a custom LightningDataModule, and look at its first training batch."""
    return _look_at(dataset, tuple(sorted(given.items())))


@lru_cache(maxsize=8)
def _look_at(dataset: Bound, given: tuple[tuple[str, Any], ...]) -> Look:
    function = dataset.parameters["function"]
    with isolate_rng():
        data = dataset.make(dict(given))
        try:
            data.prepare_data()
            data.setup("fit")
            loader = data.train_dataloader()
            batch = next(iter(loader))
        except Exception as error:  # custom code may raise anything
            raise ValueError(f"dataset.function={function} gives no training batch: {said_of(error)}") from error
    batches = _length(loader)
    is_pair = isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
    if not is_pair:
        return Look(batches, None, integers=False, labels=None)
    inputs, labels = batch
    return Look(batches, tuple(inputs.shape[1:]), integers=not inputs.is_floating_point(), labels=labels)


def measuring_batches(dataset: Bound, given: Mapping[str, Any]) -> dict[str, list[int | None]]:
    """Make a custom LightningDataModule, and count the batches of its other loaders.

    Returns:
        The batches of each loader for ``validation`` and ``test``; None for a loader without a length.
    """
    found: dict[str, list[int | None]] = {}
    function = dataset.parameters["function"]
    with isolate_rng():
        data = dataset.make(given)
        for part, method, stage in (("validation", "val_dataloader", "fit"), ("test", "test_dataloader", "test")):
            if not is_overridden(method, data):
                continue
            try:
                data.prepare_data()
                data.setup(stage)
                found[part] = [sized_len(loader) for loader in _several(getattr(data, method)())]
            except Exception as error:  # custom code may raise anything
                raise ValueError(f"dataset.function={function} gives no {part} batches: {said_of(error)}") from error
    return found


def _several(loaders: Any) -> list[Any]:
    """The loaders that a custom method returns: one, or several in a list or by name."""
    if isinstance(loaders, CombinedLoader):
        return list(loaders.flattened)
    if isinstance(loaders, Mapping):
        return list(loaders.values())
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def _length(loader: Any) -> int | None:
    """The batches of a loader; for several, of the longest, as Lightning restarts the others."""
    if isinstance(loader, Mapping | list | tuple):
        lengths = [_length(part) for part in _several(loader)]
        return None if None in lengths else max(filter(None, lengths), default=None)
    return sized_len(loader)
