"""What is trained on: one file a dataset, named as in the configuration, each with a `load` and a `train_size`.

The keywords of `load` are the dataset's settings, and `train_size` takes the same. `load` returns the three splits, the
same at every call, and imports torch only then. Where files of a user's may change what they mean, it is `Asked` for
them: what a run knew of them, so that classes, columns and characters are found by name, with the scaling of then; and
what is to be told of the samples, where that can be one thing or another. `train_size` tells how many samples there are
to train on, without torch and without more reading than that takes. Both raise ValueError where there can be no such
splits.
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
from lrtrain.objectives import AUTO, Targets
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import bind, check_choice

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Asked", "Identity", "Inputs", "Source", "Splits", "dataset", "function", "read", "train_size", "unlabelled"]


class Asked(NamedTuple):
    """What a dataset is asked for.

    Attributes:
        known: What it meant to the run that comes back to it; None is for a new one.
        objective: What is to be told of its samples; None leaves that to its targets.
    """

    known: Identity | None = None
    objective: str | None = None

    @classmethod
    def by(cls, objective: str, known: Identity | None = None) -> Asked:
        """What the name of an objective asks for; a run that comes back has decided what auto is.

        Raises:
            RequestError: It has decided for another.
        """
        before = known.targets.objective if known and known.targets else None
        if before and objective not in (AUTO, before):
            raise RequestError(f"the run was trained by objective={before}, not by objective={objective}")
        return cls(known, before if objective == AUTO else objective)

    @property
    def targets(self) -> Targets | None:
        """What the targets meant to a run."""
        return self.known.targets if self.known else None


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
        labels: What is to be told of all samples: classes, zeros and ones, or numbers; nothing is known of them where
            there are no columns.
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
            Inputs, float32 of shape (n, *shape) or int64 tokens, and labels, int64 of shape (n,) or (n, length), or
            float32 of shape (n, columns).
        """


class Splits(NamedTuple):
    """Three parts of a dataset.

    Attributes:
        targets: What their labels mean.
        tokens: As in `Inputs`.
        why: They are taken for that, in words, where they could be taken for something else.
        remarks: What a user should know of how the data was read, one line each.
        meaning: Further fields of its `Identity`, by name.
    """

    train: Source
    validation: Source
    test: Source
    targets: Targets
    tokens: int | None = None
    why: str = ""
    remarks: tuple[str, ...] = ()
    meaning: Mapping[str, Any] = MappingProxyType({})

    @property
    def inputs(self) -> Inputs:
        """What a model is given."""
        return Inputs(self.train.shape, self.tokens)

    def means(self) -> Identity:
        """What a model is given, and what it is to tell."""
        scale, targets = getattr(self.train, "scale", None), self.targets
        own = {"scale": scale and scale._asdict(), **self.meaning}
        told: dict[str, Any] = {
            "objective": targets.objective,
            "standards": targets.standards,
            "counts": targets.counts,
        }
        classes = targets.outputs if targets.objective == "classification" else None
        return Identity(shape=self.train.shape, tokens=self.tokens, classes=classes, names=targets.names, **told, **own)

    def identity(self) -> Identity:
        """The same, and which samples there are."""
        from lrtrain.datasets.fingerprint import fingerprint

        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        samples = {name: len(part) for name, part in parts.items()}
        return replace(self.means(), samples=samples, **fingerprint(list(parts.values())))

    def chance(self) -> float | None:
        """The validation's cross-entropy of what only knows how often each class is right; None without classes."""
        if self.targets.objective != "classification":
            return None
        counts = self.validation.labels.flatten().long().bincount().double()
        shares = counts[counts > 0] / counts.sum()
        return -float((shares * shares.log()).sum())

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
    check_choice("dataset", name, choices("dataset"))
    return importlib.import_module(f"lrtrain.datasets.{name}").load  # type: ignore[no-any-return]


def dataset(name: str, **settings: Any) -> Bound:
    """A dataset with its settings; `read` loads its `Splits`, and `make(given)` a user's own data module.

    Raises:
        SettingError: There is no such dataset, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, "dataset."))


def read(bound: Bound, asked: Asked = Asked()) -> Splits:  # noqa: B008 - a value
    """The splits of a dataset of ours.

    Raises:
        ValueError: It cannot be read, has other targets than is asked for, or no longer means what it did.
    """
    splits: Splits = bound.make(asked) if _is_asked(bound.function) else bound.make()
    if asked.objective not in (None, splits.targets.objective):
        raise RequestError(
            f"dataset={bound.name} is for objective={splits.targets.objective}, not for {asked.objective}; csv, npy "
            "and hub read targets of any kind"
        )
    if asked.known and (line := asked.known.differs(splits.means())):
        raise RequestError(f"dataset={bound.name} does not mean what it did: {line}")
    return splits


Read = Callable[[Bound, Asked], Splits]
"""What reads a dataset as `read` does."""


class LastRead:
    """Reads datasets, and keeps the last one for the runs that follow."""

    def __init__(self) -> None:
        self._key: str | None = None
        self._splits: Splits | None = None

    def __call__(self, bound: Bound, asked: Asked) -> Splits:
        """As `read`."""
        key = repr((bound.name, bound.parameters, asked))
        if self._splits is None or self._key != key:
            self._splits = None  # not two at a time
            self._splits, self._key = read(bound, asked), key
        return self._splits


def unlabelled(bound: Bound, known: Identity, file: str) -> Splits:
    """The samples of a file without targets, all in the test split, read as those of a run were.

    Args:
        bound: The run's dataset.
        known: What it meant.
        file: Of the kind that the dataset reads.

    Raises:
        ValueError: It cannot be read, or the dataset reads no such files.
    """
    make = getattr(importlib.import_module(f"lrtrain.datasets.{bound.name}"), "unlabelled", None)
    if make is None or known.targets is None:
        raise RequestError(f"predict.file is for runs on dataset=csv, npy or hub, not on {bound.name}")
    splits: Splits = make(known, file, **bound.parameters)
    if line := known.differs(splits.means()):
        raise RequestError(f"predict.file={file} does not mean what the run's data did: {line}")
    return splits


def _is_asked(function: Callable[..., Any]) -> bool:
    """Whether a function takes what is `Asked`."""
    return any(p.kind is p.POSITIONAL_ONLY for p in inspect.signature(function).parameters.values())


def train_size(bound: Bound, objective: str = AUTO) -> int:
    """Samples in the training split of a dataset of ours; a user's own is asked itself.

    Raises:
        ValueError: There can be no such split; one line says why.
    """
    size = importlib.import_module(f"lrtrain.datasets.{bound.name}").train_size
    return int(size(*[Asked.by(objective)] * _is_asked(size), **bound.parameters))
