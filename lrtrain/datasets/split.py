"""Splits by shares, and what labels must be; without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrtrain.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


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


def labels_and_classes(values: ArrayLike, what: str) -> tuple[NDArray[np.int64], int]:
    """Labels as int64, and how many classes there are; false is 0, and true is 1.

    Raises:
        RequestError: They are not whole numbers from 0, one a sample, of two classes or more.
    """
    import numpy as np

    labels = np.asarray(values)
    if labels.dtype == bool:
        labels = labels.astype(np.int64)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RequestError(f"{what} must have a whole number for each sample, got {labels.dtype} of {labels.shape}")
    if not len(labels) or labels.min() < 0 or not 1 <= labels.max() < len(labels):
        ends = f"from {labels.min()} to {labels.max()}" if len(labels) else "none"
        raise RequestError(f"{what} must be labels from 0, fewer than there are samples, got {ends}")
    return labels.astype(np.int64), int(labels.max()) + 1
