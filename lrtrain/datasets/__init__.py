"""What is trained on: one file a dataset, named as in the configuration, each with a `load` and a `train_size`.

The keywords of `load` are the dataset's settings, and `train_size` takes the same. `load` returns the three splits, the
same at every call, and imports torch only then. Where files of a user's may change what they mean, it takes what a run
knew of them, and reads them so: classes, columns and characters by name, with the scaling of then. `train_size` tells
how many samples there are to train on, without torch and without more reading than that takes. Both raise ValueError
where there can be no such splits.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lrtrain.configs import choices
from lrtrain.datasets.identity import Identity
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import SettingError, bind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Identity", "Inputs", "Source", "Splits", "dataset", "function", "read", "train_size"]

MOST = 0.5
"""A class with more of the labels than that is said."""


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
        labels: Of all samples.
        in_memory: Gathering reads from no file.
    """

    shape: tuple[int, ...]
    labels: Tensor
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
        meaning: Further fields of its `Identity`, by name.
    """

    train: Source
    validation: Source
    test: Source
    classes: int
    tokens: int | None = None
    names: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    meaning: Mapping[str, Any] = MappingProxyType({})

    @property
    def inputs(self) -> Inputs:
        """What a model is given."""
        return Inputs(self.train.shape, self.tokens)

    def means(self) -> Identity:
        """What a model is given, and what its classes are."""
        scale = getattr(self.train, "scale", None)
        own = {"scale": scale and scale._asdict(), **self.meaning}
        return Identity(shape=self.train.shape, tokens=self.tokens, classes=self.classes, names=self.names, **own)

    def identity(self) -> Identity:
        """The same, and which samples there are."""
        from lrtrain.datasets.fingerprint import fingerprint

        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        samples = {name: len(part) for name, part in parts.items()}
        return replace(self.means(), samples=samples, **fingerprint(list(parts.values())))

    def majority(self, part: str = "train") -> tuple[int, float]:
        """The most frequent class of a split, and its share of the labels."""
        counts = getattr(self, part).labels.flatten().long().bincount()
        return int(counts.argmax()), float(counts.max() / counts.sum())

    def warn_of_classes(self) -> list[str]:
        """What an accuracy is to be compared with, where one class makes up most of the samples."""
        most, share = self.majority()
        if share < MOST:
            return []
        name = repr(self.names[most]) if self.names else most
        return [f"{share:.1%} of the training labels are of class {name}: so high an accuracy needs no learning"]

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
    """A dataset with its settings; `read` loads its `Splits`, and `make(given)` a user's own data module.

    Raises:
        SettingError: There is no such dataset, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, "dataset."))


def read(bound: Bound, known: Identity | None = None) -> Splits:
    """The splits of a dataset of ours.

    Args:
        bound: The dataset.
        known: What it meant to the run that comes back to it; None is for a new one.

    Raises:
        ValueError: It cannot be read, or no longer means that.
    """
    maps = any(parameter.kind is parameter.POSITIONAL_ONLY for parameter in _parameters(bound.function))
    splits: Splits = bound.make(known) if maps and known else bound.make()
    if known and (line := known.differs(splits.means())):
        raise RequestError(f"dataset={bound.name} does not mean what it did: {line}")
    return splits


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def train_size(bound: Bound) -> int:
    """Samples in the training split of a dataset of ours; a user's own is asked itself.

    Raises:
        ValueError: There can be no such split; one line says why.
    """
    module = importlib.import_module(f"lrtrain.datasets.{bound.name}")
    return int(module.train_size(**bound.parameters))
