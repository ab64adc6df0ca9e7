"""What an objective has to show of an evaluation and of predictions, as plain values: others draw and write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Confusion(NamedTuple):
    """A picture of how often which class was taken for which.

    Attributes:
        counts: Of shape (classes, classes), the true class first.
        labels: Of the classes.
    """

    counts: NDArray[np.int64]
    labels: Sequence[str]


class Scatter(NamedTuple):
    """A picture of points, with a panel for each column.

    Attributes:
        x: Of shape (n, columns).
        y: Likewise.
        names: Of the columns.
        words: What x and y are.
        line: Where a perfect prediction lies: on the diagonal, or at zero.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    names: Sequence[str]
    words: tuple[str, str]
    line: str


class Bars(NamedTuple):
    """A picture of a bar for each label, beside what chance would give.

    Attributes:
        values: Of shape (labels,), from 0 to 1.
        chance: Likewise.
        labels: Their names.
        words: What the values are, and what the other are.
    """

    values: NDArray[np.float64]
    chance: NDArray[np.float64]
    labels: Sequence[str]
    words: tuple[str, str]


Picture: TypeAlias = Confusion | Scatter | Bars


class Report(NamedTuple):
    """What an evaluation has found.

    Attributes:
        metrics: By name, without the split's.
        support: How many samples, or tokens, were measured.
        headline: For the titles of pictures, such as ``accuracy 97.22%``.
        columns: Of the table that is printed.
        rows: Its rows, the first value a name.
        mean: Its last row, below a line; empty for none.
        lines: Printed around the table: before it, and after it.
        tables: Columns and rows by the name of the file.
        pictures: Likewise.
        extra: Further values for the summary.
    """

    metrics: Mapping[str, float]
    support: int
    headline: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    mean: Sequence[str]
    lines: tuple[Sequence[str], Sequence[str]]
    tables: Mapping[str, tuple[Sequence[str], Iterable[Iterable[Any]]]]
    pictures: Mapping[str, Picture]
    extra: Mapping[str, float] = {}


class Layout(NamedTuple):
    """How predictions are written.

    Attributes:
        columns: Names, after those of the place.
        rows: Given predictions and truths, each of a batch and with a row for each sample or token, their values in
            the order of the columns; the truths have no columns where they are not known.
    """

    columns: Sequence[str]
    rows: Callable[[Tensor, Tensor], Iterable[Iterable[Any]]]


def shortened(name: str, most: int) -> str:
    """A name in one line of at most so many characters."""
    line = " ".join(name.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def shortest(values: Tensor) -> list[Any]:
    """Numbers of single precision, in the fewest digits that tell them apart."""
    return values.cpu().numpy().astype(str).tolist()  # type: ignore[no-any-return]
