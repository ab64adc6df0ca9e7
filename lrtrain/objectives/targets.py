"""What is to be told of each sample: as a file holds it, and as an objective has understood it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MOST_NAMES = 10
"""That are listed in a line."""


class Targets(NamedTuple):
    """What a model's outputs are to be.

    Attributes:
        objective: Whose they are.
        outputs: How many numbers a model gives for a sample, or a token: one a class, label or column.
        names: Of these; None where the classes are numbers only.
        standards: Of each column of numbers, in order, the mean and the deviation that it is standardised by.
        counts: Training samples of each class, or with each label; None where that is not known.
        samples: Training samples in all; 0 where that is not known.
        each_token: There is a target for each token, not for each sample.
    """

    objective: str
    outputs: int
    names: tuple[str, ...] | None = None
    standards: Mapping[str, tuple[float, ...]] | None = None
    counts: tuple[int, ...] | None = None
    samples: int = 0
    each_token: bool = False

    @classmethod
    def of_classes(
        cls, classes: int, labels: Tensor, names: tuple[str, ...] | None = None, *, each_token: bool = False
    ) -> Targets:
        """Classes, with the labels of the training split, whole numbers of any shape."""
        counts = tuple(labels.flatten().long().bincount(minlength=classes).tolist())
        return cls("classification", classes, names, None, counts, labels.numel(), each_token)

    def remembering(self, known: Targets | None) -> Targets:
        """These targets, with what a run has counted and measured of its own."""
        if known is None:
            return self
        return self._replace(standards=known.standards, counts=known.counts, samples=known.samples)

    def counted(self, counts: Iterable[float], samples: int) -> Targets:
        """These targets with the counts of a training split, unless a run's are known."""
        return self if self.counts else self._replace(counts=tuple(map(int, counts)), samples=samples)

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, or numbers."""
        return self.names or tuple(map(str, range(self.outputs)))


class Raw(NamedTuple):
    """Targets as a file holds them.

    Attributes:
        what: A person's name for them.
        numbers: Of shape (n, columns), of a type that tells numbers from labels; None where a value is no number.
        texts: The same as they are written, column by column; None where they are stored as numbers.
        names: Of the columns; None where they have none.
        classes: Names of the numbers, in order; None where they have none.
    """

    what: str
    numbers: NDArray[np.generic] | None
    texts: Sequence[Sequence[str]] | None = None
    names: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None

    @property
    def columns(self) -> int:
        """How many there are."""
        if self.texts is not None:
            return len(self.texts)
        return 0 if self.numbers is None else int(self.numbers.shape[1])

    @property
    def are_binary(self) -> bool:
        """All values are 0 or 1."""
        import numpy as np

        return self.numbers is not None and bool(np.isin(self.numbers, (0, 1)).all())

    @property
    def are_whole(self) -> bool:
        """All values are whole numbers."""
        import numpy as np

        return self.numbers is not None and bool((np.asarray(self.numbers, float) % 1 == 0).all())

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns, or their numbers."""
        return self.names or (("target",) if self.columns == 1 else tuple(map(str, range(self.columns))))


Encoded = tuple[Any, Targets]
"""An array with a row for each sample, and what it means."""
