"""What is trained on: one file a dataset, named as in the configuration, each with a `train_size` and a `load`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor


class Inputs(NamedTuple):
    """What a model is given.

    Attributes:
        shape: Of one sample: (channels, height, width), (channels, length), (features,), or (length,) of tokens.
        tokens: How many tokens there are, where the inputs are tokens; None where they are numbers.
    """

    shape: tuple[int, ...]
    tokens: int | None = None


class Source(Protocol):
    """Samples that are gathered into batches by their places; `lrtrain.datasets.sources` has the kinds.

    Attributes:
        shape: Of one sample's inputs.
        in_memory: Gathering reads from no file.
    """

    shape: tuple[int, ...]
    in_memory: bool

    def __len__(self) -> int:
        """How many samples there are."""

    def gather(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at `places`, int64 of shape (n,).

        Returns:
            Inputs, float32 of shape (n, *shape) or int64 tokens, and labels, int64 of shape (n,) or (n, length).
        """


class Splits(NamedTuple):
    """Three parts of a dataset.

    Attributes:
        classes: How many labels there are.
        tokens: As in `Inputs`.
        names: Of the classes; None where they are numbers only.
        remarks: What a user should know of how the data was read, one line each.
    """

    train: Source
    validation: Source
    test: Source
    classes: int
    tokens: int | None = None
    names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def inputs(self) -> Inputs:
        """What a model is given."""
        return Inputs(self.train.shape, self.tokens)

    def sentence(self) -> str:
        """How many samples there are, of which shape, and whether they are in memory."""
        shape = " x ".join(map(str, self.train.shape))
        kept = "held in memory" if self.train.in_memory else "read from disk as they are needed"
        return (
            f"{len(self.train):,} samples of {shape} to train on, {len(self.validation):,} to validate, "
            f"{len(self.test):,} to test; {kept}"
        )


class Dataset(Protocol):
    """What a dataset's module offers."""

    def train_size(self, **parameters: Any) -> int:
        """Samples in the training split, told without torch and without more reading than that takes.

        Raises:
            ValueError: There can be no such split; one line says why.
        """

    def load(self, **parameters: Any) -> Splits:
        """The three splits, the same at every call; raises ValueError where they cannot be read."""


def dataset(name: str) -> Dataset:
    """The dataset's module, by its name in the configuration."""
    return cast(Dataset, importlib.import_module(f"lrtrain.datasets.{name}"))
