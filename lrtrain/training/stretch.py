"""Updates that something else than Lightning's loop takes, several at a time: what it is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import lightning.pytorch as pl
from torch import Tensor

from lrtrain.training.loader import Batch
from lrtrain.training.measures import Measures


class Stretch(NamedTuple):
    """Updates of one run that nothing happens between.

    Attributes:
        places: Of the samples of all batches in the training data, one after the other.
        sizes: Of the batches.
        values: For each update, what it has to know of each group of the optimizer.
        measured: The updates of it whose sizes are asked for, from 0.
    """

    places: Tensor
    sizes: list[int]
    values: Sequence[Sequence[tuple[float, ...]]]
    measured: Sequence[int]

    def after(self, count: int) -> Stretch:
        """What is left of it when so many updates are taken."""
        left = [number - count for number in self.measured if number >= count]
        return Stretch(self.places[sum(self.sizes[:count]) :], self.sizes[count:], self.values[count:], left)


class Passed(NamedTuple):
    """What a run has used in a stretch.

    Attributes:
        first: The index of the first update.
        rates: Of each group: at the update before the first (empty if there was none), and at each.
        settings: Other hyperparameters on a schedule, at each.
    """

    first: int
    rates: Sequence[Sequence[float]]
    settings: Sequence[Mapping[str, float]]


class Taken(NamedTuple):
    """What was measured of a stretch.

    Attributes:
        losses: Of each batch, before its update.
        norms: Of each whole gradient, before clipping.
        sizes: By update, of those that were asked for, and for each group of the optimizer: the norms of its gradient
            (L2 and L1, before clipping), of the change, and of the weights before it.
    """

    losses: Sequence[float]
    norms: Sequence[float]
    sizes: Mapping[int, Sequence[Sequence[float]]]

    def until(self, count: int) -> Taken:
        """The first updates of it."""
        sizes = {number: sizes for number, sizes in self.sizes.items() if number < count}
        return Taken(self.losses[:count], self.norms[:count], sizes)


class Fault(NamedTuple):
    """Why a stretch should have ended earlier.

    Attributes:
        update: The first that should not have been, from 0.
        error: What ends the run before it.
    """

    update: int
    error: Exception


class Stepper(Protocol):
    """Takes the updates of a run."""

    def begin(self, trainer: pl.Trainer, stretches: bool) -> bool:
        """Take over the weights of the trainer's run; False leaves them to the trainer.

        Args:
            trainer: Of the run.
            stretches: Several updates may be taken at once; if not, it is not asked for any.
        """

    @property
    def most(self) -> float:
        """How many updates it takes at once."""

    def read(self, ahead: int) -> list[tuple[float, ...]]:
        """What an update has to know of the groups of the optimizer as they are now; `ahead` are before it."""

    def take(self, stretch: Stretch) -> Taken:
        """Take the updates."""

    def measure(self, batches: Iterable[Batch], measures: Measures) -> None:
        """Add up what the network says of batches in eval mode."""


class Stretched:
    """A callback whose hooks of a step may be called once for several updates, with the last batch of them."""

    def patience(self, trainer: pl.Trainer) -> float:
        """How many updates may be taken before its hooks are called."""
        return math.inf

    def measured(self, trainer: pl.Trainer, first: int, count: int) -> Sequence[int]:
        """The updates, of so many from the first on, whose sizes it has to know, by their indices in the run."""
        return ()

    def fault(self, trainer: pl.Trainer, passed: Passed, taken: Taken) -> Fault | None:
        """What was wrong with it, if anything: the run ends before that update."""
        return None

    def on_stretch(self, trainer: pl.Trainer, passed: Passed, taken: Taken) -> None:
        """Look at what was taken, before the hooks that follow a batch; the scheduler has counted it."""
