"""A table in a CSV file: a class is told from the other columns."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from lrtrain.datasets import Splits
from lrtrain.datasets.files import given, reading, version
from lrtrain.errors import RequestError
from lrtrain.parameters.rules import ListOf, OptionalText, Probability, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
MOST_CATEGORIES = 1000
MOST_NAMES = 10
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_LARGEST = 1e30  # its square is far from what a float can hold


class Table(NamedTuple):
    """The rows of a file by column; None where a value is missing.

    Attributes:
        numbers: Columns of numbers.
        texts: Columns that hold anything else.
        labels: Each row's class, from 0.
        classes: Their names.
        odd: Of columns that are texts although most of their values are numbers: the first value that is not, and its
            line.
    """

    numbers: dict[str, list[float]]
    texts: dict[str, list[str]]
    labels: list[int]
    classes: list[str]
    odd: dict[str, tuple[str, int]]

    def remarks(self) -> tuple[str, ...]:
        """What the columns are taken for, one line each."""
        texts = list(self.texts)
        shown = ", ".join(texts[:MOST_NAMES]) + (f" and {len(texts) - MOST_NAMES} more" * (len(texts) > MOST_NAMES))
        kinds = [f"{len(self.numbers)} of numbers"] * bool(self.numbers) + [f"{len(texts)} of texts: {shown}"] * bool(
            texts
        )
        odd = (
            f"warning: column {name!r} is taken for texts, as line {line} has {value!r}; most of its values are numbers"
            for name, (value, line) in self.odd.items()
        )
        return f"columns: {', '.join(kinds)}", *odd


def train_size(file: str | None, target: str | None, drop: Sequence[str], validation: float, test: float) -> int:
    """Samples in the training split."""
    return sum(own for own, _, _ in _shares(_read(file, target, drop), validation, test))


def load(
    *,
    file: OptionalText = None,
    target: OptionalText = None,
    drop: Annotated[Sequence[str], ListOf(Text())] = (),
    validation: Probability = 0.1,
    test: Probability = 0.2,
) -> Splits:
    """The rows in a fixed, stratified split; inputs have shape (n, features).

    Columns of numbers are standardised, and the others one-hot, both as the training split has them. A missing number
    is the training mean; a missing text is a category of its own; a category that the training split does not have is
    all zeros.

    Args:
        file: a table with the names of its columns in the first line, separated by commas, semicolons, tabs or bars.
        target: the column that holds the class.
        drop: columns to leave out.
        validation: share of each class.
        test: share of each class.

    Raises:
        RequestError: The file cannot be read as such a table, or the target is not a class.
    """
    import numpy as np

    from lrtrain.datasets.sources import InMemory

    table = _read(file, target, drop)
    labels = np.array(table.labels)
    random = np.random.default_rng(0)  # fixed: the split is part of the dataset, not of a run
    pieces: list[list[NDArray[np.int64]]] = [[], [], []]
    for label, (own, held_out, _) in enumerate(_shares(table, validation, test)):
        places = random.permutation(np.flatnonzero(labels == label))
        for piece, part in zip(pieces, np.split(places, [own, own + held_out]), strict=True):
            piece.append(part)
    parts = [np.sort(np.concatenate(piece)) for piece in pieces]
    inputs = _features(table, parts[0])
    train, validating, testing = (InMemory(inputs[part], labels[part]) for part in parts)
    return Splits(
        train,
        validating,
        testing,
        classes=len(table.classes),
        names=tuple(table.classes),
        remarks=table.remarks(),
    )


def _features(table: Table, train: NDArray[np.int64]) -> NDArray[np.float32]:
    import numpy as np
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    found = []
    if table.numbers:
        numbers = np.array(list(table.numbers.values())).T
        empty = np.isnan(numbers[train]).all(axis=0)
        numbers[:, empty] = 0.0
        found.append(np.nan_to_num(StandardScaler().fit(numbers[train]).transform(numbers)))
    if table.texts:
        texts = np.array(list(table.texts.values()), dtype=object).T
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        found.append(encoder.fit(texts[train]).transform(texts))
    return np.concatenate(found, axis=1, dtype=np.float32, casting="same_kind")


def _shares(table: Table, validation: float, test: float) -> list[tuple[int, int, int]]:
    """How many samples of each class each split has; at least one."""
    counts = [0] * len(table.classes)
    for label in table.labels:
        counts[label] += 1
    found = []
    for name, count in zip(table.classes, counts, strict=True):
        validating, testing = max(1, round(validation * count)), max(1, round(test * count))
        if count - validating - testing < 1:
            raise RequestError(
                f"class {name!r} has {count} rows, too few for three splits by dataset.validation={validation} and "
                f"dataset.test={test}; a target with many values is for regression, which lrtrain does not do"
            )
        found.append((count - validating - testing, validating, testing))
    return found


def _read(file: str | None, target: str | None, drop: Sequence[str]) -> Table:
    path = given(file, "dataset.file")
    if target is None:
        raise RequestError("give dataset.target=COLUMN, the column that holds the class")
    return _table(path, version(path), target, tuple(drop))


@lru_cache(maxsize=1)
def _table(path: Path, version: tuple[int, ...], target: str, drop: tuple[str, ...]) -> Table:
    """Read a file; `version` makes a changed file another."""
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
        delimiter = max(",;\t|", key=first.count)
        stream.seek(0)
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(reader, [])]
        _check_names(names, target, drop)
        columns: list[list[str]] = [[] for _ in names]
        lines = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise ValueError(f"line {reader.line_num} has {len(row)} values, the first line {len(names)} names")
            lines.append(reader.line_num)
            for column, value in zip(columns, row, strict=True):
                column.append(value.strip())
        by_name = dict(zip(names, columns, strict=True))
        labels, classes = _classes(by_name.pop(target), target, lines)
        numbers, texts, odd = {}, {}, {}
        for name, values in by_name.items():
            if name in drop:
                continue
            others = [
                (value[:30], line)
                for value, line in zip(values, lines, strict=True)
                if not _NUMBER.fullmatch(value) and value.lower() not in MISSING
            ]
            if not others:
                numbers[name] = _numbers(values, name, lines)
                continue
            if len(others) < sum(value.lower() not in MISSING for value in values) / 2:
                odd[name] = others[0]
            texts[name] = _texts(values, name, odd.get(name))
    return Table(numbers, texts, labels, classes, odd)


def _check_names(names: Sequence[str], target: str, drop: Sequence[str]) -> None:
    if len(set(names)) < len(names) or not all(names):
        raise ValueError("the names in its first line must be there and differ from each other")
    for name in (target, *drop):
        if name not in names:
            raise ValueError(f"there is no column {name!r}; there are {', '.join(names) or 'none'}")
    if not set(names) - {target, *drop}:
        raise ValueError(f"there is no column besides the target {target!r}")


def _classes(values: Sequence[str], target: str, lines: Sequence[int]) -> tuple[list[int], list[str]]:
    """The rows' labels and the names of the classes, in the order of numbers where they are."""
    for value, line in zip(values, lines, strict=True):
        if value.lower() in MISSING:
            raise ValueError(f"line {line} has no value for the target {target!r}")
    names = sorted(set(values))
    if all(_NUMBER.fullmatch(name) for name in names):
        names.sort(key=float)
        if any(not float(name).is_integer() for name in names):
            raise ValueError(
                f"the target {target!r} holds numbers such as {_fraction(names)}: lrtrain tells classes only"
            )
    if len(names) < 2:
        raise ValueError(f"the target {target!r} must have two classes or more, got {names}")
    places = {name: label for label, name in enumerate(names)}
    return [places[value] for value in values], names


def _fraction(names: Sequence[str]) -> str:
    return next(name for name in names if not float(name).is_integer())[:30]


def _numbers(values: Sequence[str], name: str, lines: Sequence[int]) -> list[float]:
    numbers = [math.nan if value.lower() in MISSING else float(value) for value in values]
    for number, value, line in zip(numbers, values, lines, strict=True):
        if abs(number) > _LARGEST:
            raise ValueError(f"line {line}, column {name!r}: {value[:30]} is too large")
    return numbers


def _texts(values: Sequence[str], name: str, odd: tuple[str, int] | None) -> list[str]:
    texts = ["" if value.lower() in MISSING else value for value in values]
    if (count := len(set(texts))) > MOST_CATEGORIES:
        why = f", as line {odd[1]} has {odd[0]!r}, which is not a number" if odd else ""
        raise ValueError(f"column {name!r} has {count:,} different texts{why}; leave it out by dataset.drop=[...]")
    return texts
