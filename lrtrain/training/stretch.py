"""Updates that something else than Lightning's loop takes, several at a time: what it is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import lightning.pytorch as pl
from torch import Tensor


class Stretch(NamedTuple):
    """Updates of one run that nothing happens between.

    Attributes:
        places: Of the samples of all batches in the training data, one after the other.
        sizes: Of the batches.
        values: For each update, what it has to know of each group of the optimizer.
        measures: Whether the sizes of the last update are asked for.
    """

    places: Tensor
    sizes: list[int]
    values: Sequence[Sequence[tuple[float, ...]]]
    measures: bool


class Passed(NamedTuple):
    """What a run has used in a stretch.

    Attributes:
        first: The index of the first update.
        rates: Of each group: at the update before the first (empty if there was none), and at each.
        settings: Other hyperparameters on a schedule, at the last.
    """

    first: int
    rates: Sequence[Sequence[float]]
    settings: Mapping[str, float]


class Taken(NamedTuple):
    """What was measured of a stretch.

    Attributes:
        losses: Of each batch, before its update.
        norms: Of each whole gradient, before clipping.
        sizes: Of the last update, for each group of the optimizer: the norms of its gradient (L2 and L1, before
            clipping), of the change, and of the weights before it; empty where they were not asked for.
    """

    losses: Sequence[float]
    norms: Sequence[float]
    sizes: Sequence[Sequence[float]]


class Stepper(Protocol):
    """Takes the updates of a run."""

    def begin(self, trainer: pl.Trainer, stretches: bool) -> bool:
        """Take over the weights of the trainer's run; False leaves them to the trainer.

        Args:
            trainer: Of the run.
            stretches: Several updates may be taken at once; if not, it is not asked for any.
        """

    def read(self, ahead: int) -> list[tuple[float, ...]]:
        """What an update has to know of the groups of the optimizer as they are now; `ahead` are before it."""

    def take(self, stretch: Stretch) -> Taken:
        """Take the updates."""

    def outputs(self, inputs: Tensor) -> Tensor:
        """What the network says of a batch in eval mode."""


class Stretched:
    """A callback whose hooks of a step may be called once for several updates, with the last batch of them."""

    def patience(self, trainer: pl.Trainer) -> float:
        """How many updates may be taken before its hooks are called."""
        return math.inf

    def measures(self, trainer: pl.Trainer, step: int) -> bool:
        """Whether it has to know the sizes of an update, by its index."""
        return False

    def on_stretch(self, trainer: pl.Trainer, passed: Passed, taken: Taken) -> None:
        """Look at what was taken, before the hooks that follow a batch; the scheduler has counted it."""
