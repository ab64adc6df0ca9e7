"""Splits by shares; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lrtrain.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


def stratified(
    labels: NDArray[np.int64], names: Sequence[str], validation: float, test: float, few: bool = False
) -> list[NDArray[np.int64]]:
    """Which samples are to train on, to validate and to test, with the same shares of each class; always the same.

    Raises:
        RequestError: A class has too few samples for that.
    """
    import numpy as np

    random = np.random.default_rng(0)  # fixed: the split is part of the dataset, not of a run
    pieces: list[list[NDArray[np.int64]]] = [[], [], []]
    counts = np.bincount(labels, minlength=len(names)).tolist()
    for label, (own, held_out, _) in enumerate(class_sizes(counts, names, validation, test, few)):
        places = random.permutation(np.flatnonzero(labels == label))
        for piece, part in zip(pieces, np.split(places, [own, own + held_out]), strict=True):
            piece.append(part)
    return [np.sort(np.concatenate(piece)) for piece in pieces]


def class_sizes(
    counts: Sequence[int], names: Sequence[str], validation: float, test: float, few: bool = False
) -> list[tuple[int, int, int]]:
    """How many samples of each class each split has: at least one, unless there may be too `few`.

    Raises:
        RequestError: There are too few.
    """
    if not names:
        raise RequestError("there are no rows")
    if len(names) < 2:
        raise RequestError(f"the target must have two classes or more, got {list(names)}")
    found = []
    for name, count in zip(names, counts, strict=True):
        validating, testing = max(1, round(validation * count)), max(1, round(test * count))
        if count - validating - testing < 1 and not few:
            instead = (
                "objective=regression takes numbers for numbers" if all(map(is_number, names)) else "leave them out"
            )
            raise RequestError(
                f"class {name!r} has {count} row{'s' * (count != 1)}, too few for three splits by "
                f"dataset.validation={validation} and dataset.test={test}; {instead}"
            )
        testing = min(testing, count)
        validating = min(validating, count - testing)
        found.append((count - validating - testing, validating, testing))
    return found


def is_number(value: Any) -> bool:
    """Whether a text could be a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
