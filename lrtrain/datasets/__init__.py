"""What is trained on: one file a dataset, named as in the configuration, each with a `train_size` and a `load`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Arrays: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int64]]"


class Inputs(NamedTuple):
    """What a model is given.

    Attributes:
        shape: Of one sample: (channels, height, width), (channels, length), (features,), or (length,) of tokens.
        tokens: How many tokens there are, where the inputs are tokens; None where they are numbers.
    """

    shape: tuple[int, ...]
    tokens: int | None = None


class Splits(NamedTuple):
    """Inputs of shape (n, *sample) with labels of shape (n,), or (n, length) for a label a token, three times."""

    train: Arrays
    validation: Arrays
    test: Arrays
    classes: int
    tokens: int | None = None

    @property
    def inputs(self) -> Inputs:
        """What a model is given."""
        return Inputs(self.train[0].shape[1:], self.tokens)


class Dataset(Protocol):
    """What a dataset's module offers."""

    def train_size(self, **parameters: Any) -> int:
        """Samples in the training split, told without loading them."""

    def load(self, **parameters: Any) -> Splits:
        """The three splits, the same at every call."""


def dataset(name: str) -> Dataset:
    """The dataset's module, by its name in the configuration."""
    return cast(Dataset, importlib.import_module(f"lrtrain.datasets.{name}"))
