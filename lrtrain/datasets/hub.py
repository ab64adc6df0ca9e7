"""Pictures or arrays from a dataset of the Hugging Face hub, a folder of pictures, or a parquet file."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from lrtrain.datasets import Identity, Splits
from lrtrain.datasets.files import reading, version
from lrtrain.datasets.split import class_order, labels_and_classes, places
from lrtrain.errors import RequestError
from lrtrain.parameters.rules import OptionalCount, OptionalFlag, OptionalText, Probability
from lrtrain.parameters.signatures import Affects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VALIDATION, TEST = ("validation", "valid", "val", "dev"), ("test",)
LABELS = ("label", "labels", "fine_label", "target", "class")


class Cells:
    """Reads one column of a table: pictures as bytes (channels, height, width), arrays as float32.

    Args:
        rows: A `datasets.Dataset`.
        column: Which.
        size: Pixels a side to resize pictures to; None leaves them.
    """

    def __init__(self, rows: Any, column: str, size: int | None) -> None:
        import numpy as np

        self.rows, self.column, self.size = rows.select_columns([column]), column, size
        first = self.rows[0][column]
        self.mode = ("L" if first.mode in ("1", "L") else "RGB") if hasattr(first, "mode") else None
        cell = self._cell(first)
        self.shape, self.dtype = cell.shape, np.dtype(np.uint8 if self.mode else np.float32)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.generic]:
        """The cells at `places`."""
        import numpy as np

        cells = [self._cell(cell) for cell in self.rows[places.tolist()][self.column]]
        for cell in cells:
            if cell.shape != self.shape:
                hint = "; give dataset.size=PIXELS" if self.mode else ""
                raise ValueError(f"{self.column} has shapes {self.shape} and {cell.shape}{hint}")
        return np.stack(cells).astype(self.dtype)

    def _cell(self, cell: Any) -> NDArray[np.generic]:
        import numpy as np

        if self.mode is None:
            return np.asarray(cell, np.float32)
        if cell.mode[0] in "IF":
            raise ValueError(
                f"{self.column} has pictures of more than 8 bits a pixel (mode {cell.mode}): store them as of 8 bits, "
                "or as arrays"
            )
        picture = cell.convert(self.mode)
        if self.size:
            picture = picture.resize((self.size, self.size))
        pixels = np.asarray(picture)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


class Part(NamedTuple):
    """Some rows of a table."""

    rows: Any
    places: NDArray[np.int64]


def train_size(path: str | None, config: str | None, validation: float, test: float, **reading: Any) -> int:
    """Samples in the training split."""
    return len(_parts(path, config, validation, test)[0].places)


def load(
    known: Identity | None = None,
    /,
    *,
    path: Annotated[OptionalText, Affects.NOTHING] = None,
    config: OptionalText = None,
    image: OptionalText = None,
    label: OptionalText = None,
    size: OptionalCount = None,
    validation: Probability = 0.1,
    test: Probability = 0.1,
    in_memory: Annotated[OptionalFlag, Affects.NOTHING] = None,
) -> Splits:
    """Its own splits, and a fixed random share of the training split for those that it does not have.

    The data comes from the Hugging Face hub, a folder of pictures, or a parquet file.
    Pictures are grey or in colour as the first of them is, and scaled to [-1, 1]; inputs have shape (n, 1 or 3, height,
    width), or that of the arrays.

    Args:
        known: The classes are those of then.
        path: a dataset of the Hugging Face hub, a folder of pictures, or a parquet file.
        config: which of its configurations, where it has several.
        image: column of the pictures, or of arrays of numbers; null takes the first one of pictures.
        label: column of the classes; null finds it by its kind and name.
        size: resize pictures to so many pixels a side; needed where they differ in size.
        validation: share of the training split, where there is no validation split.
        test: share of the training split, where there is no test split.
        in_memory: true, false, or null: where it takes less than half of the memory that is free.

    Raises:
        RequestError: It cannot be had, or it has no such columns.
    """
    from lrtrain.datasets.sources import Scale, Streamed, placed

    parts = _parts(path, config, validation, test)
    with reading(f"dataset.path={path}"):
        features = parts[0].rows.features
        image = _column(features, image, "image", [name for name, kind in features.items() if _is(kind, "Image")])
        classes = [name for name, kind in features.items() if _is(kind, "ClassLabel")]
        named = [name for name in LABELS if name in features]
        label = _column(features, label, "label", [name for name in named if name in classes] or classes or named)
        labels, count, names = _labels(parts, label, known)
        streams = []
        for part, own in zip(parts, labels, strict=True):
            cells = Cells(part.rows, image, size)
            streams.append(Streamed(cells, part.places, own, Scale() if cells.mode else None))
        if len({stream.shape for stream in streams}) > 1:
            raise ValueError("its splits differ in the size of their pictures; give dataset.size=PIXELS")
        train, validating, testing = streams
        return Splits(*placed((train, validating, testing), in_memory, image), classes=count, names=names)


def _parts(path: str | None, config: str | None, validation: float, test: float) -> list[Part]:
    """What to train on, to validate and to test."""
    import numpy as np

    if path is None:
        raise RequestError("give dataset.path=NAME, of a dataset of the hub, a folder of pictures, or a parquet file")
    tables = _tables(path, config, _version(Path(path).expanduser()))
    train = tables["train"] if "train" in tables else next(iter(tables.values()))
    own = [next((name for name in names if name in tables), None) for names in (VALIDATION, TEST)]
    shares = [share for share, name in zip((validation, test), own, strict=True) if name is None]
    rest, *held_out = places(len(train), *shares)
    parts = [Part(train, rest)]
    for name in own:
        parts.append(Part(tables[name], np.arange(len(tables[name]))) if name else Part(train, held_out.pop(0)))
    return parts


def _version(local: Path) -> int:
    """Tells whether the files of a folder are still the same."""
    with reading(f"dataset.path={local}"):
        files = [local] if local.is_file() else local.rglob("*")
        return hash(frozenset((str(file), version(file)) for file in files))


@lru_cache(maxsize=1)
def _tables(path: str, config: str | None, version: int) -> Mapping[str, Any]:
    """The dataset's own splits by name; code that a dataset comes with is not run."""
    try:
        hub = importlib.import_module("datasets")
    except ImportError:
        raise RequestError('dataset=hub needs another package: pip install "lrtrain[hub]"') from None
    hub.disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what goes wrong, we say ourselves
    with reading(f"dataset.path={path}"):
        local = Path(path).expanduser()
        if local.is_file():
            return hub.load_dataset("parquet", data_files=str(local))  # type: ignore[no-any-return]
        return hub.load_dataset(str(local) if local.is_dir() else path, config)  # type: ignore[no-any-return]


def _is(feature: Any, kind: str) -> bool:
    return type(feature).__name__ == kind


def _column(features: Mapping[str, Any], asked: str | None, key: str, found: Sequence[str]) -> str:
    if asked is None and not found:
        raise ValueError(f"give dataset.{key}=COLUMN; there are {', '.join(features)}")
    name = found[0] if asked is None else str(asked)
    if name not in features:
        raise ValueError(f"dataset.{key}={name}: there is no such column; there are {', '.join(features)}")
    return name


def _labels(
    parts: Sequence[Part], column: str, known: Identity | None
) -> tuple[list[NDArray[np.int64]], int, tuple[str, ...] | None]:
    """The labels of each part, how many classes there are, and their names if they have any."""
    import numpy as np

    found: tuple[str, ...] | None = None
    values = [np.asarray(rows.select_columns([column])[:][column])[chosen] for rows, chosen in parts]
    feature = parts[0].rows.features[column]
    if values[0].dtype.kind == "U":
        found = tuple(sorted(set(values[0].tolist())))
        if known and known.names:
            found = tuple(sorted(set(np.concatenate(values).tolist())))
        elif unknown := set(np.concatenate(values[1:])) - set(found):
            raise ValueError(f"{column} has classes that there is nothing to learn of: {sorted(unknown)[:3]}")
        values, count = [np.searchsorted(np.array(found), part) for part in values], len(found)
    elif _is(feature, "ClassLabel"):
        count, found = int(feature.num_classes), tuple(map(str, feature.names))
    else:
        values = [part.astype(np.int64) if part.dtype.kind == "b" else part for part in values]
        count = labels_and_classes(values[0], column, known.classes if known else None)[1]
    if any(part.dtype.kind not in "iu" or (len(part) and not 0 <= part.min() <= part.max() < count) for part in values):
        raise ValueError(f"{column} must have a class from 0 to {count - 1} in every row of every split")
    if found and known and known.names:
        order = class_order(found, known.names, column)
        values, count, found = [order[part] for part in values], len(known.names), known.names
    return [part.astype(np.int64) for part in values], count, found
