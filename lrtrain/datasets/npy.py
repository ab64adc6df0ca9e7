"""Arrays in two ``.npy`` files, which may be larger than the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrtrain.datasets import Splits
from lrtrain.datasets.files import given, reading
from lrtrain.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Rows:
    """Reads rows of an array from its file; a process that it is handed to opens the file anew.

    Args:
        path: Of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        array = self._open()
        self.shape, self.dtype = array.shape[1:], array.dtype

    def read(self, places: NDArray[np.int64]) -> NDArray[np.generic]:
        """The rows at `places`."""
        return self._array[places]  # type: ignore[no-any-return]

    def _open(self) -> NDArray[np.generic]:
        import numpy as np

        self._array: Any = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return self._array  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_array"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def train_size(
    inputs: str | None, labels: str | None, validation: float, test: float, in_memory: bool | None
) -> int:
    """Samples in the training split."""
    from lrtrain.datasets.split import held_out

    return len(held_out(len(_open(inputs, "dataset.inputs")), validation, test)[0])


def load(
    inputs: str | None, labels: str | None, validation: float, test: float, in_memory: bool | None
) -> Splits:
    """Rows of an array with their labels, in a fixed random split; inputs have the shape of the array.

    Args:
        inputs: Array of shape (n, ...): bytes, which are scaled to [-1, 1], or other numbers, which are taken as they are.
        labels: Array of n whole numbers from 0.
        validation: Share of the rows.
        test: Share of the rows.
        in_memory: None decides by the size and the memory that is free.

    Raises:
        RequestError: The files are not such arrays.
    """
