"""Pictures or arrays from a dataset of the Hugging Face hub, a folder of pictures, or a parquet file."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from lrtrain import objectives
from lrtrain.datasets import Asked, Identity, Splits
from lrtrain.datasets.files import reading, version
from lrtrain.datasets.split import places
from lrtrain.errors import RequestError
from lrtrain.objectives import Raw, Targets
from lrtrain.parameters.rules import (
    Either,
    ListOf,
    OptionalCount,
    OptionalFlag,
    OptionalText,
    OrNull,
    Probability,
    Text,
)
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
    asked: Asked = Asked(),  # noqa: B008 - a value
    /,
    *,
    path: Annotated[OptionalText, Affects.NOTHING] = None,
    config: OptionalText = None,
    image: OptionalText = None,
    label: Annotated[str | Sequence[str] | None, OrNull(Either((ListOf(Text(), least=1), Text())))] = None,
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
        asked: The classes, labels or columns of a run are those of then.
        path: a dataset of the Hugging Face hub, a folder of pictures, or a parquet file.
        config: which of its configurations, where it has several.
        image: column of the pictures, or of arrays of numbers; null takes the first one of pictures.
        label: column of what is told, or a list of several; null finds one of classes by its kind and name.
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
        usual = [name for name in named if name in classes] or classes or named
        columns = [label] if isinstance(label, str) or label is None else label
        raw = _targets(parts, [_column(features, name, "label", usual) for name in columns])
        name, why = objectives.choose(raw, asked.objective)
        labels, targets = _encoded(name, raw, parts, asked.targets)
        streams = []
        for part, own in zip(parts, labels, strict=True):
            cells = Cells(part.rows, image, size)
            streams.append(Streamed(cells, part.places, own, Scale() if cells.mode else None))
        if len({stream.shape for stream in streams}) > 1:
            raise ValueError("its splits differ in the size of their pictures; give dataset.size=PIXELS")
        train, validating, testing = streams
        return Splits(*placed((train, validating, testing), in_memory, image), targets, why=why)


def unlabelled(known: Identity, file: str, /, *, image: str | None, size: int | None, **settings: Any) -> Splits:
    """The pictures, or arrays, of a folder or a parquet file."""
    import numpy as np

    from lrtrain.datasets.sources import Scale, Streamed

    assert known.targets is not None, "it is recorded"
    tables = _tables(file, None, _version(Path(file).expanduser()))
    rows = next(iter(tables.values()))
    with reading(f"predict.file={file}"):
        pictures = [name for name, kind in rows.features.items() if _is(kind, "Image")]
        cells = Cells(rows, _column(rows.features, image, "image", pictures), size)
        nothing, scale = np.empty((len(rows), 0), np.float32), Scale() if cells.mode else None
        samples = Streamed(cells, np.arange(len(rows)), nothing, scale)
        return Splits(samples, samples, samples, known.targets)


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


def _targets(parts: Sequence[Part], columns: Sequence[str]) -> Raw:
    """What is told of the samples of all parts, one part after the other."""
    import numpy as np

    what = f"column {columns[0]!r}" if len(columns) == 1 else f"columns {', '.join(map(repr, columns))}"
    features = parts[0].rows.features
    found = [_values(parts, name) for name in columns]
    if len(columns) > 1:
        if texts := [name for name, values in zip(columns, found, strict=True) if values.dtype.kind not in "buif"]:
            raise ValueError(f"{what}: several must all be numbers, or zeros and ones, and {texts[0]} is not")
        return Raw(what, np.stack(found, axis=1), names=tuple(columns))
    [values], [name] = found, columns
    if values.dtype.kind == "U":
        return Raw(what, None, [values.tolist()])
    if values.ndim > 1:
        return Raw(what, values.reshape(len(values), -1), names=_inner_names(features[name]))
    names = tuple(map(str, features[name].names)) if _is(features[name], "ClassLabel") else None
    return Raw(what, values[:, None], classes=names, names=None if names else (name,))


def _values(parts: Sequence[Part], column: str) -> NDArray[Any]:
    """The values of a column; lists of classes, such as a text's topics, become zeros and ones."""
    import numpy as np

    feature = parts[0].rows.features[column]
    tables = {id(rows): rows.select_columns([column])[:][column] for rows, _ in parts}
    cells = [tables[id(rows)][place] for rows, chosen in parts for place in chosen.tolist()]
    if names := _inner_names(feature):
        values = np.zeros((len(cells), len(names)), np.int64)
        for row, cell in zip(values, cells, strict=True):
            row[cell] = 1
        return values
    if any(cell is None for cell in cells):
        raise ValueError(f"{column} has no value in some rows")
    return np.asarray(cells)


def _inner_names(feature: Any) -> tuple[str, ...] | None:
    """The names of the classes that each cell has a list of."""
    inner: Any = getattr(feature, "feature", None)
    return tuple(map(str, inner.names)) if _is(inner, "ClassLabel") else None


def _encoded(
    objective: str, raw: Raw, parts: Sequence[Part], known: Targets | None
) -> tuple[list[NDArray[Any]], Targets]:
    """The targets of each part, and what they mean.

    Raises:
        ValueError: Another part than the training split has classes that there is nothing to learn of.
    """
    import numpy as np

    ends = np.cumsum([len(part.places) for part in parts])
    if known is None and raw.texts is not None:
        [texts] = raw.texts
        if unknown := set(texts[ends[0] :]) - set(texts[: ends[0]]):
            raise ValueError(f"{raw.what} has classes that there is nothing to learn of: {sorted(unknown)[:3]}")
    values, targets = objectives.read(objective, raw, known)
    values, targets = objectives.fit(values, np.arange(ends[0]), targets)
    return np.split(values, ends[:-1]), targets
