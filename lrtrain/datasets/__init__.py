"""What is trained on: one file a dataset, named as in the configuration, each with a `train_size` and a `load`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int64]]"


class Splits(NamedTuple):
    """Inputs of shape (n, channels, height, width) or (n, features) with labels of shape (n,), three times."""

    train: Arrays
    validation: Arrays
    test: Arrays
    classes: int


class Dataset(Protocol):
    """What a dataset's module offers."""

    def train_size(self, **parameters: Any) -> int:
        """Samples in the training split, told without loading them."""

    def load(self, **parameters: Any) -> Splits:
        """The three splits, the same at every call."""


def dataset(name: str) -> Dataset:
    """The dataset's module, by its name in the configuration."""
    return cast(Dataset, importlib.import_module(f"lrtrain.datasets.{name}"))
