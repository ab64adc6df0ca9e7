"""Arrays in two ``.npy`` files, which may be larger than the memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lrtrain.datasets import Splits
from lrtrain.datasets.files import given, reading
from lrtrain.datasets.split import labels_and_classes, places, sizes
from lrtrain.errors import RequestError
from lrtrain.parameters.rules import OptionalFlag, OptionalText, Probability
from lrtrain.parameters.signatures import Affects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = "buif"
"""NumPy's letters for booleans, whole numbers and floats."""


class Rows:
    """Reads rows of an array from its file; a process that it is handed to opens the file anew.

    Args:
        file: An ``.npy`` file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._array = _open(file)
        self.shape, self.dtype = self._array.shape[1:], self._array.dtype

    def read(self, places: NDArray[np.int64]) -> NDArray[np.generic]:
        """The rows at `places`."""
        return self._array[places]  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[type[Rows], tuple[Path]]:
        return Rows, (self.file,)


def train_size(inputs: str | None, labels: str | None, validation: float, test: float, in_memory: bool | None) -> int:
    """Samples in the training split."""
    return sizes(len(_inputs(inputs)), validation, test)[0]


def load(
    *,
    inputs: OptionalText = None,
    labels: OptionalText = None,
    validation: Probability = 0.1,
    test: Probability = 0.1,
    in_memory: Annotated[OptionalFlag, Affects.NOTHING] = None,
) -> Splits:
    """Rows of an array with their labels, in a fixed random split; inputs have the shape of a row.

    Args:
        inputs: .npy file, (n, ...): bytes are scaled to [-1, 1], other numbers are taken as they are.
        labels: .npy file, n whole numbers from 0, or booleans.
        validation: share of the rows.
        test: share of the rows.
        in_memory: true, false, or null: where it takes less than half of the memory that is free.

    Raises:
        RequestError: The files are not such arrays.
    """
    import numpy as np

    from lrtrain.datasets.sources import Scale, Streamed, placed

    array = _inputs(inputs)
    classes, count = labels_and_classes(np.array(_open(given(labels, "dataset.labels"))), "dataset.labels")
    if len(classes) != len(array):
        raise RequestError(f"there are {len(array):,} inputs, but {len(classes):,} labels")
    rows, scale = Rows(given(inputs, "dataset.inputs")), Scale() if array.dtype == np.uint8 else None
    train, validating, testing = (
        Streamed(rows, part, classes[part], scale) for part in places(len(array), validation, test)
    )
    return Splits(*placed((train, validating, testing), in_memory, "dataset.inputs"), classes=count)


def _inputs(path: str | None) -> Any:
    array = _open(given(path, "dataset.inputs"))
    if array.ndim < 2 or not array.size:
        raise RequestError(f"dataset.inputs={path} must have a row of numbers for each sample, got {array.shape}")
    return array


def _open(file: Path) -> Any:
    """The array in a file, which stays there until it is asked for."""
    import numpy as np

    with reading(file):
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap) or array.dtype.kind not in KINDS or array.dtype.itemsize > 8:
            raise ValueError("it must be an .npy file of numbers")
        if not array.dtype.isnative:
            raise ValueError("its numbers are in the byte order of another machine")
    return array
