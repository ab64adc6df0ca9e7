"""Splits by shares, and what labels must be; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrtrain.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

MOST_NAMES = 10
"""That are listed in a line."""


def sizes(count: int, *shares: float) -> list[int]:
    """How many of `count` samples each share has, and before them what is left.

    Raises:
        RequestError: A part would be empty.
    """
    held_out = [round(share * count) for share in shares]
    found = [count - sum(held_out), *held_out]
    if min(found) < 1:
        asked = " and ".join(map(str, shares))
        raise RequestError(
            f"{count:,} samples cannot be split into shares of {asked} and a rest: a part would be empty"
        )
    return found


def places(count: int, *shares: float) -> list[NDArray[np.int64]]:
    """Which of `count` samples each share has, and before them what is left: at random, but always the same."""
    import numpy as np

    order = np.random.default_rng(0).permutation(count)
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes(count, *shares))[:-1])]


def labels_and_classes(values: ArrayLike, what: str, known: int | None = None) -> tuple[NDArray[np.int64], int]:
    """Labels as int64, and how many classes there are; false is 0, and true is 1.

    Args:
        values: The labels.
        what: A person's name for them.
        known: How many classes there are; None takes as many as the labels tell.

    Raises:
        RequestError: They are not whole numbers from 0, one a sample, of two classes or more.
    """
    import numpy as np

    labels = np.asarray(values)
    if labels.dtype == bool:
        labels = labels.astype(np.int64)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RequestError(f"{what} must have a whole number for each sample, got {labels.dtype} of {labels.shape}")
    if known and len(labels) and labels.min() >= 0 and labels.max() < known:
        return labels.astype(np.int64), known
    if known and len(labels):
        raise RequestError(f"{what} has labels from {labels.min()} to {labels.max()}, and the run had {known} classes")
    if not len(labels) or labels.min() < 0 or not 1 <= labels.max() < len(labels):
        ends = f"from {labels.min()} to {labels.max()}" if len(labels) else "none"
        raise RequestError(f"{what} must be labels from 0, fewer than there are samples, got {ends}")
    return labels.astype(np.int64), int(labels.max()) + 1


def class_order(names: Sequence[str], known: Sequence[str], what: str) -> NDArray[np.int64]:
    """For each class by name, its label in a run.

    Raises:
        RequestError: The run did not know one of them.
    """
    import numpy as np

    if unknown := [name for name in names if name not in known]:
        raise RequestError(
            f"{what} has the class {unknown[0]!r}, which is not among those that the run was trained on: "
            f"{', '.join(known[:MOST_NAMES])}{', ...' * (len(known) > MOST_NAMES)}"
        )
    return np.array([known.index(name) for name in names], np.int64)
