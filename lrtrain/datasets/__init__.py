"""What is trained on: one file a dataset, named as in the configuration, each with a `load` and a `train_size`.

The keywords of `load` are the dataset's settings, and `train_size` takes the same. `load` returns the three splits, the
same at every call, and imports torch only then. `train_size` tells how many samples there are to train on, without
torch and without more reading than that takes. Both raise ValueError where there can be no such splits.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lrtrain.configs import choices
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import SettingError, bind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Inputs", "Source", "Splits", "dataset", "function", "train_size"]


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

    def describe(self) -> dict[str, Any]:
        """What the data means, as plain values: what a model of it is given, and what its classes are."""
        scale = getattr(self.train, "scale", None)
        return {
            "shape": list(self.train.shape),
            "tokens": self.tokens,
            "classes": self.classes,
            "names": list(self.names) if self.names else None,
            "scale": scale and {"mean": list(scale.mean), "std": list(scale.std)},
            "samples": {part: len(getattr(self, part)) for part in ("train", "validation", "test")},
        }

    def sentence(self) -> str:
        """How many samples there are, of which shape, and whether they are in memory."""
        shape = " x ".join(map(str, self.train.shape))
        kept = "held in memory" if self.train.in_memory else "read from disk as they are needed"
        return (
            f"{len(self.train):,} samples of {shape} to train on, {len(self.validation):,} to validate, "
            f"{len(self.test):,} to test; {kept}"
        )


def function(name: str) -> Callable[..., Any]:
    """The function whose signature declares a dataset's settings, its module's `load`.

    Raises:
        SettingError: There is no such dataset.
    """
    if name not in choices("dataset"):
        raise SettingError("dataset.name", f"must be the name of a dataset, got {name!r}", choices("dataset"), name)
    return importlib.import_module(f"lrtrain.datasets.{name}").load  # type: ignore[no-any-return]


def dataset(name: str, **settings: Any) -> Bound:
    """A dataset with its settings; `make()` loads its `Splits`, and `make(given)` a user's own data module.

    Raises:
        SettingError: There is no such dataset, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, "dataset."))


def train_size(bound: Bound) -> int:
    """Samples in the training split of a dataset of ours; a user's own is asked itself.

    Raises:
        ValueError: There can be no such split; one line says why.
    """
    module = importlib.import_module(f"lrtrain.datasets.{bound.name}")
    return int(module.train_size(**bound.parameters))
