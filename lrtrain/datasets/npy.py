"""Arrays in two ``.npy`` files, which may be larger than the memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lrtrain import objectives
from lrtrain.datasets import Asked, Identity, Splits
from lrtrain.datasets.files import given, reading
from lrtrain.datasets.split import places, sizes
from lrtrain.errors import RequestError
from lrtrain.objectives import Raw
from lrtrain.parameters.rules import OptionalFlag, OptionalText, Probability
from lrtrain.parameters.signatures import Affects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = "buif"
"""NumPy's letters for booleans, whole numbers and floats."""


CHANNELS = (1, 3, 4)
"""How many a picture usually has."""
SMALLEST = 8
"""Pixels a side of what is taken for a picture without channels."""


class Rows:
    """Reads rows of an array from its file, with the channels first; a process that it is handed to opens it anew.

    Args:
        file: An ``.npy`` file.
        layout: Of its axes.
    """

    def __init__(self, file: Path, layout: str = "channels_first") -> None:
        self.file, self.layout = file, layout
        self._array = _open(file)
        self.shape, self.dtype = self._shape(), self._array.dtype

    def _shape(self) -> tuple[int, ...]:
        stored: tuple[int, ...] = self._array.shape[1:]
        if self.layout == "channels_last":
            return stored[-1], *stored[:-1]
        return (1, *stored) if self.layout == "no_channels" else stored

    def read(self, places: NDArray[np.int64]) -> NDArray[np.generic]:
        """The rows at `places`."""
        import numpy as np

        rows = self._array[places]
        if self.layout == "channels_last":
            return np.ascontiguousarray(np.moveaxis(rows, -1, 1))
        return rows[:, None] if self.layout == "no_channels" else rows  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[type[Rows], tuple[Path, str]]:
        return Rows, (self.file, self.layout)


def train_size(inputs: str | None, validation: float, test: float, **reading: Any) -> int:
    """Samples in the training split."""
    return sizes(len(_inputs(inputs)), validation, test)[0]


def load(
    asked: Asked = Asked(),  # noqa: B008 - a value
    /,
    *,
    inputs: Annotated[OptionalText, Affects.NOTHING] = None,
    labels: Annotated[OptionalText, Affects.NOTHING] = None,
    layout: Literal["auto", "channels_first", "channels_last", "no_channels"] = "auto",
    validation: Probability = 0.1,
    test: Probability = 0.1,
    in_memory: Annotated[OptionalFlag, Affects.NOTHING] = None,
) -> Splits:
    """Rows of an array with their labels, in a fixed random split; inputs have the shape of a row, channels first.

    Whole numbers of shape (n,) are classes from 0, and booleans too; several columns of zeros and ones are labels;
    all else is numbers. objective= decides otherwise.

    Args:
        asked: A run had as many classes, labels or columns; pictures whose layout is not clear have that of then.
        inputs: .npy file, (n, ...): bytes are scaled to [-1, 1], other numbers are taken as they are.
        labels: .npy file, (n,) or (n, columns): whole numbers from 0, zeros and ones, or numbers.
        layout: channels_first for (n, channels, height, width) and (n, channels, length), channels_last for (n, height,
            width, channels) and (n, length, channels), no_channels for grey pictures (n, height, width); auto tells
            pictures by their channels, which are 1, 3 or 4, or by their sides, and refuses what is not clear.
        validation: share of the rows.
        test: share of the rows.
        in_memory: true, false, or null: where it takes less than half of the memory that is free.

    Raises:
        RequestError: The files are not such arrays.
    """
    import numpy as np

    from lrtrain.datasets.sources import Scale, Streamed, placed

    array = _inputs(inputs)
    raw = _targets(np.array(_open(given(labels, "dataset.labels"))))
    name, why = objectives.choose(raw, asked.objective)
    told, targets = objectives.read(name, raw, asked.targets)
    if len(told) != len(array):
        raise RequestError(f"there are {len(array):,} inputs, but {len(told):,} labels")
    chosen = places(len(array), validation, test)
    told, targets = objectives.fit(told, chosen[0], targets)
    found, said = _layout(array, layout, asked.known)
    rows, scale = Rows(given(inputs, "dataset.inputs"), found), Scale() if array.dtype == np.uint8 else None
    train, validating, testing = (Streamed(rows, part, told[part], scale) for part in chosen)
    parts = placed((train, validating, testing), in_memory, "dataset.inputs")
    return Splits(*parts, targets, why=why, remarks=said, meaning={"layout": found})


def unlabelled(known: Identity, file: str, /, **settings: Any) -> Splits:
    """The rows of an array, with the axes of the run's."""
    import numpy as np

    from lrtrain.datasets.sources import Scale, Streamed

    assert known.targets is not None, "it is recorded of arrays"
    array, path = _inputs(file, "predict.file"), given(file, "predict.file")
    rows, scale = Rows(path, known.layout or "channels_first"), Scale() if array.dtype == np.uint8 else None
    samples = Streamed(rows, np.arange(len(array)), np.empty((len(array), 0), np.float32), scale)
    return Splits(samples, samples, samples, known.targets, meaning={"layout": known.layout})


def _targets(labels: NDArray[Any]) -> Raw:
    if labels.ndim not in (1, 2) or not labels.size:
        raise RequestError(
            f"dataset.labels must have a number for each sample, or a row of numbers, got {labels.dtype} of "
            f"{labels.shape}"
        )
    return Raw("dataset.labels", labels if labels.ndim == 2 else labels[:, None])


def _layout(array: Any, asked: str, known: Identity | None) -> tuple[str, tuple[str, ...]]:
    """The layout of the inputs, and what there is to say of it."""
    shape, words = array.shape[1:], " x ".join(map(str, array.shape[1:]))
    if asked != "auto":
        if len(shape) < 2 or (asked == "no_channels" and len(shape) > 2):
            raise RequestError(f"dataset.layout={asked}: the inputs have samples of {words}; leave it out")
        return asked, ()
    if known and not known.layout:  # as a version did that knew of no layout
        return "channels_first", ()
    if len(shape) == 2:
        return _layout_of_two(array, words)
    if len(shape) != 3:
        return "channels_first", ()
    is_last, is_first = shape[2] in CHANNELS, shape[0] in CHANNELS
    if is_last == is_first:
        is_last, is_first = shape[0] == shape[1], shape[1] == shape[2]
    if is_last == is_first and known:
        return str(known.layout), ()
    if is_last == is_first:
        raise RequestError(
            f"which axis of the inputs' {words} has the channels is not clear: give dataset.layout=channels_first or "
            "dataset.layout=channels_last"
        )
    if is_first:
        return "channels_first", ()
    return "channels_last", (f"inputs of {words} have their channels last and are transposed (dataset.layout)",)


def _layout_of_two(array: Any, words: str) -> tuple[str, tuple[str, ...]]:
    first, second = array.shape[1:]
    if array.dtype.kind == "u" and array.dtype.itemsize == 1 and min(first, second) >= SMALLEST:
        return "no_channels", (f"inputs of {words} bytes are taken for grey pictures (dataset.layout)",)
    if first < second:
        return "channels_first", ()
    return "channels_first", (
        f"inputs of {words} are taken for {first} channels of {second} values; dataset.layout=channels_last takes them "
        "the other way, dataset.layout=no_channels for pictures",
    )


def _inputs(path: str | None, key: str = "dataset.inputs") -> Any:
    array = _open(given(path, key))
    if array.ndim < 2 or not array.size:
        raise RequestError(f"{key}={path} must have a row of numbers for each sample, got {array.shape}")
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
