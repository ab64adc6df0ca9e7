"""A table in a CSV file: some columns are told from the others."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from lrtrain import objectives
from lrtrain.datasets import Asked, Identity, Splits
from lrtrain.datasets.files import given, reading, version
from lrtrain.datasets.split import class_sizes, is_number, places, sizes, stratified
from lrtrain.errors import RequestError
from lrtrain.objectives import Raw
from lrtrain.parameters.rules import Either, ListOf, OptionalText, OrNull, Probability, Text
from lrtrain.parameters.signatures import Affects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
MOST_CATEGORIES = 1000
MOST_NAMES = 10
FEW_TEXTS = 10
"""Different texts that a column may have however few rows there are; of more, half of its values are to recur."""
DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_THOUSANDS = {".": ",' \u00a0\u202f", ",": ".' \u00a0\u202f"}
"""What may stand between groups of three digits, by the decimal mark."""
_GROUPED = {
    mark: re.compile(
        rf"[+-]?(?=[{mark}]?\d)(\d{{1,3}}([{between}]\d{{3}})+|\d+)?([{mark}]\d*)?(e[+-]?\d+)?",
        re.ASCII | re.IGNORECASE,
    )
    for mark, between in _THOUSANDS.items()
}
_LARGEST = 1e30  # its square is far from what a float can hold


class Table(NamedTuple):
    """The rows of a file by column; None where a value is missing.

    Attributes:
        numbers: Columns of numbers.
        texts: Columns that hold anything else.
        raw: The columns that are told; None where there are none.
        odd: Of columns that are texts although most of their values are numbers: the first value that is not, and its
            line.
        mark: Between the whole and the decimals of a number.
        grouped: Some numbers have marks between thousands.
    """

    numbers: dict[str, list[float]]
    texts: dict[str, list[str]]
    raw: Raw | None
    odd: dict[str, tuple[str, int]]
    mark: str
    grouped: bool

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
        return f"columns: {', '.join(kinds)}", *self._of_numbers(), *self._missing(), *odd

    def _of_numbers(self) -> Iterator[str]:
        if self.mark == "," or self.grouped:
            groups = f", and marks between thousands such as 1{_THOUSANDS[self.mark][0]}234" * self.grouped
            yield f"numbers have a decimal {'comma' if self.mark == ',' else 'point'}{groups}"
        if self.numbers and all(_NUMBER.fullmatch(name) for name in (*self.numbers, *self.texts)):
            yield "warning: the names of all columns are numbers: is the first line a row, and are the names missing?"
        for name, values in self.numbers.items():
            if len(values) > FEW_TEXTS and all(after - before == 1 for before, after in pairwise(values)):
                yield f"warning: column {name!r} numbers the rows; leave it out by dataset.drop=[{name}]"

    def _missing(self) -> Iterator[str]:
        counts = {name: sum(map(math.isnan, values)) for name, values in self.numbers.items()}
        counts |= {name: values.count("") for name, values in self.texts.items()}
        named = [f"{name} {count:,}" for name, count in counts.items() if count]
        if named:
            more = f" and {len(named) - MOST_NAMES} more" * (len(named) > MOST_NAMES)
            yield f"missing values: {', '.join(named[:MOST_NAMES])}{more}; a number is then the mean, a text a category"


def train_size(
    asked: Asked,
    /,
    file: str | None,
    target: str | Sequence[str] | None,
    drop: Sequence[str],
    validation: float,
    test: float,
) -> int:
    """Samples in the training split."""
    table = _read(file, target, drop)
    assert table.raw is not None, "a target is asked for"
    name, _ = objectives.choose(table.raw, asked.objective)
    labels, targets = objectives.read(name, table.raw)
    if labels.ndim > 1:
        return sizes(len(labels), validation, test)[0]
    counts = [labels.tolist().count(label) for label in range(targets.outputs)]
    return sum(own for own, _, _ in class_sizes(counts, targets.labels, validation, test))


def load(
    asked: Asked = Asked(),  # noqa: B008 - a value
    /,
    *,
    file: Annotated[OptionalText, Affects.NOTHING] = None,
    target: Annotated[str | Sequence[str] | None, OrNull(Either((ListOf(Text(), least=1), Text())))] = None,
    drop: Annotated[Sequence[str], ListOf(Text())] = (),
    validation: Probability = 0.1,
    test: Probability = 0.2,
) -> Splits:
    """The rows in a fixed split, stratified by class where classes are told; inputs have shape (n, features).

    Columns of numbers are standardised, and the others one-hot, both as the training split has them. Nothing, ?, NA,
    N/A, nan, null and none are missing values: a missing number is the training mean; a missing text is a category of
    its own; a category that the training split does not have is all zeros; a row without a target is refused. Where
    some number has a decimal comma, all are read so.

    Texts in the target are classes, and so are up to 20 different whole numbers, where each is there twice on average;
    other numbers are numbers; several targets are labels where they hold zeros and ones only, and else numbers.
    objective= decides otherwise.

    Args:
        asked: Columns and classes of a run are found by the names of then, and numbers scaled as then.
        file: a table with the names of its columns in the first line, separated by commas, semicolons, tabs or bars.
        target: the column that is told from the others, or a list of several.
        drop: columns to leave out.
        validation: share of the rows, or of each class.
        test: share of the rows, or of each class.

    Raises:
        RequestError: The file cannot be read as such a table, the target is not what the objective tells, or a column
            is missing that a run was trained on.
    """
    from lrtrain.datasets.sources import InMemory

    table = _read(file, target, drop)
    assert table.raw is not None, "a target is asked for"
    name, why = objectives.choose(table.raw, asked.objective)
    labels, targets = objectives.read(name, table.raw, asked.targets)
    if labels.ndim > 1:
        parts = places(len(labels), validation, test)
    else:
        parts = stratified(labels, targets.labels, validation, test, bool(asked.known))
    labels, targets = objectives.fit(labels, parts[0], targets)
    numbers, texts = _scaling(table, parts[0], asked)
    said = _unknown(table, numbers, texts) if asked.known else ()
    inputs = encode({**table.numbers, **table.texts}, numbers, texts)
    train, validating, testing = (InMemory(inputs[part], labels[part]) for part in parts)
    return Splits(
        train,
        validating,
        testing,
        targets,
        why=why,
        remarks=(*table.remarks(), *said),
        meaning={"numbers": numbers, "texts": texts},
    )


def unlabelled(known: Identity, file: str, /, **settings: Any) -> Splits:
    """The rows of a table in which only those columns are looked at that the run was trained on."""
    import numpy as np

    from lrtrain.datasets.sources import InMemory

    assert known.numbers is not None, "it is recorded of a table"
    assert known.texts is not None, "likewise"
    assert known.targets is not None, "likewise"
    path = given(file, "predict.file")
    table = _table(path, version(path), (), (), (*known.numbers, *known.texts))
    inputs = encode({**table.numbers, **table.texts}, known.numbers, known.texts)
    rows, meaning = InMemory(inputs, np.empty((len(inputs), 0))), {"numbers": known.numbers, "texts": known.texts}
    remarks = (*table.remarks(), *_unknown(table, known.numbers, known.texts))
    return Splits(rows, rows, rows, known.targets, remarks=remarks, meaning=meaning)


def _scaling(
    table: Table, train: NDArray[np.int64], asked: Asked
) -> tuple[Mapping[str, tuple[float, ...]], Mapping[str, tuple[str, ...]]]:
    """How the columns of numbers are standardised and which categories the others have: as a run had them, or now."""
    known = asked.known
    if known and known.numbers is not None and known.texts is not None:
        return known.numbers, known.texts
    if not known:
        _check_texts(table)
    return _standards(table, train), _categories(table, train)


def encode(
    columns: Mapping[str, Sequence[Any]],
    numbers: Mapping[str, tuple[float, ...]],
    texts: Mapping[str, tuple[str, ...]],
) -> NDArray[np.float32]:
    """The inputs that columns make, of shape (n, features).

    Args:
        columns: Their values by name.
        numbers: Of each column of numbers, mean and deviation; 0 where the training split had none.
        texts: Of each column of texts, its categories.

    Raises:
        RequestError: A column is not there, or holds something else.
    """
    import numpy as np

    if missing := [name for name in (*numbers, *texts) if name not in columns]:
        raise RequestError(
            f"there is no column {missing[0]!r}, which the run was trained on; there are {', '.join(columns)}"
        )
    found: list[NDArray[np.generic]] = []
    for name, (mean, std) in numbers.items():
        try:
            own = columns[name]
            values = np.array([v if isinstance(v, float) else math.nan if _is_missing(v) else float(v) for v in own])
        except (TypeError, ValueError):
            odd = next(value for value in columns[name] if not _is_missing(value) and not is_number(value))
            raise RequestError(f"column {name!r} was of numbers for the run, and has {str(odd)[:30]!r}") from None
        found.append(np.nan_to_num((values - mean) / std)[:, None] if std else np.zeros((len(values), 1)))
    for name, categories in texts.items():
        places = {category: place for place, category in enumerate(categories)}
        rows = [places.get("" if _is_missing(value) else str(value).strip(), -1) for value in columns[name]]
        if all(isinstance(value, float) for value in columns[name]) and not all(map(_is_missing, columns[name])):
            raise RequestError(f"column {name!r} was of texts for the run, and is of numbers")
        found.append(np.array(rows)[:, None] == np.arange(len(categories)))
    return np.concatenate(found, axis=1, dtype=np.float32, casting="unsafe")


def _unknown(table: Table, numbers: Mapping[str, Any], texts: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What a run did not have, in a line each."""
    if left_out := [name for name in (*table.numbers, *table.texts) if name not in numbers and name not in texts]:
        yield f"columns that the run did not have are left out: {', '.join(left_out)}"
    for name, categories in texts.items():
        if new := sorted(set(table.texts.get(name, ())) - set(categories)):
            shown = f"{', '.join(map(repr, new[:MOST_NAMES]))}{', ...' * (len(new) > MOST_NAMES)}"
            yield f"column {name!r} has what was not in the run's training split, and is no category then: {shown}"


def _is_missing(value: Any) -> bool:
    return value is None or str(value).strip().lower() in MISSING


def _standards(table: Table, train: NDArray[np.int64]) -> dict[str, tuple[float, ...]]:
    """The mean and the deviation of each column of numbers in the training split."""
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    if not table.numbers:
        return {}
    numbers = np.array(list(table.numbers.values())).T[train]
    empty = np.isnan(numbers).all(axis=0)
    numbers[:, empty] = 0.0
    fitted = StandardScaler().fit(numbers)
    standards = zip(fitted.mean_.tolist(), np.where(empty, 0.0, fitted.scale_).tolist(), strict=True)
    return dict(zip(table.numbers, standards, strict=True))


def _categories(table: Table, train: NDArray[np.int64]) -> dict[str, tuple[str, ...]]:
    """The texts of each other column in the training split."""
    return {name: tuple(sorted({values[row] for row in train})) for name, values in table.texts.items()}


def _check_texts(table: Table) -> None:
    """Refuse columns of texts that hardly recur: identifiers, dates, or numbers in a form that is not read."""
    found = []
    for name, values in table.texts.items():
        known = [value for value in values if value]
        if FEW_TEXTS < len(set(known)) > len(known) / 2:
            odd = f", as line {table.odd[name][1]} has {table.odd[name][0]!r}" if name in table.odd else ""
            found.append(f"{name!r} ({len(set(known)):,} in {len(known):,} rows, such as {known[0][:30]!r}{odd})")
    if found:
        named = ",".join(name for name in table.texts if any(item.startswith(f"{name!r} (") for item in found))
        raise RequestError(
            f"almost every row has another text in {', '.join(found)}: nothing can be learned of it; leave it out by "
            f"dataset.drop=[{named}]"
        )


def _read(file: str | None, target: str | Sequence[str] | None, drop: Sequence[str]) -> Table:
    path = given(file, "dataset.file")
    if target is None:
        raise RequestError("give dataset.target=COLUMN, the column that is told from the others, or [COLUMN,COLUMN]")
    return _table(path, version(path), (target,) if isinstance(target, str) else tuple(target), tuple(drop))


@lru_cache(maxsize=1)
def _table(
    path: Path,
    version: tuple[int, ...],
    targets: tuple[str, ...],
    drop: tuple[str, ...],
    only: tuple[str, ...] | None = None,
) -> Table:
    """Read a file; `version` makes a changed file another, and `only` leaves out all other columns."""
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
        delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        stream.seek(0)
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(reader, [])]
        _check_names(names, targets, drop)
        if missing := [name for name in only or () if name not in names]:
            raise ValueError(
                f"there is no column {missing[0]!r}, which the run was trained on; there are {', '.join(names)}"
            )
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
        _check_targets({name: by_name[name] for name in targets}, lines)
        used = {name: values for name, values in by_name.items() if name not in drop and name in (only or names)}
        plain = {name for name, values in used.items() if all(_NUMBER.fullmatch(v) or _is_missing(v) for v in values)}
        mark, grouped = _decimal_mark(used, plain, "." if delimiter == "," else ",")
        if mark == ",":
            plain.clear()
        numbers, texts, odd = {}, {}, {}
        for name, values in used.items():
            if name in plain:
                numbers[name] = _numbers(values, name, lines)
                continue
            others = [
                (value[:30], line)
                for value, line in zip(values, lines, strict=True)
                if not _GROUPED[mark].fullmatch(value) and not _is_missing(value)
            ]
            if not others:
                numbers[name] = _numbers(values, name, lines, mark)
                continue
            if len(others) < sum(not _is_missing(value) for value in values) / 2:
                odd[name] = others[0]
            texts[name] = values if name in targets else _texts(values, name, odd.get(name))
    return _split_columns(numbers, texts, by_name, targets, odd, mark, grouped)


def _split_columns(
    numbers: dict[str, list[float]],
    texts: dict[str, list[str]],
    written: Mapping[str, list[str]],
    targets: Sequence[str],
    odd: dict[str, tuple[str, int]],
    mark: str,
    grouped: bool,
) -> Table:
    """The table, with what is told apart from what it is told from."""
    import numpy as np

    raw = None
    if targets:
        what = f"column {targets[0]!r}" if len(targets) == 1 else f"columns {', '.join(map(repr, targets))}"
        told = [numbers.pop(name) for name in targets if name in numbers]
        columns = np.array(told).T if len(told) == len(targets) else None
        raw = Raw(what, columns, [written[name] for name in targets], tuple(targets))
    left = {name: values for name, values in texts.items() if name not in targets}
    return Table(numbers, left, raw, {name: found for name, found in odd.items() if name in left}, mark, grouped)


def _decimal_mark(columns: Mapping[str, Sequence[str]], plain: set[str], usual: str) -> tuple[str, bool]:
    """The decimal mark of a file, and whether there are marks between thousands.

    Columns that can be read in one way only decide; where all can be read in both, as 1,234 can, the `usual` mark does.
    """
    there = {name: [value for value in values if not _is_missing(value)] for name, values in columns.items()}
    fits = {
        name: [mark for mark, pattern in _GROUPED.items() if all(map(pattern.fullmatch, values))]
        for name, values in there.items()
        if name not in plain
    }
    if not any(fits.values()):
        return ".", False
    fits |= {name: [mark for mark, p in _GROUPED.items() if all(map(p.fullmatch, there[name]))] for name in plain}
    only = {marks[0]: name for name, marks in fits.items() if len(marks) == 1}
    seen = {
        mark: name for name, marks in fits.items() if marks for mark in _GROUPED if any(mark in v for v in there[name])
    }
    said = only if only else seen
    if len(said) == 2:
        raise ValueError(
            f"column {said['.']!r} seems to have a decimal point, and column {said[',']!r} a decimal comma: write all "
            "numbers in one way"
        )
    mark = next(iter(only), usual)
    between = _THOUSANDS[mark]
    return mark, any(marks and any(set(between) & set(value) for value in there[name]) for name, marks in fits.items())


def _check_names(names: Sequence[str], targets: Sequence[str], drop: Sequence[str]) -> None:
    if not all(names):
        raise ValueError("the names in its first line must be there for each column")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the names in its first line must differ from each other, and there are two {twice[0]!r}")
    for name in (*targets, *drop):
        if name not in names:
            raise ValueError(
                f"there is no column {name!r}; there are {', '.join(names) or 'none'} (by the first line, which holds "
                "the names)"
            )
    if len(set(targets)) < len(targets):
        raise ValueError(f"dataset.target names a column twice: {', '.join(targets)}")
    if not set(names) - {*targets, *drop}:
        raise ValueError(f"there is no column besides the target {', '.join(map(repr, targets))}")


def _check_targets(columns: Mapping[str, Sequence[str]], lines: Sequence[int]) -> None:
    """Refuse rows that do not say what is to be told."""
    for name, values in columns.items():
        for value, line in zip(values, lines, strict=True):
            if value.lower() in MISSING:
                raise ValueError(f"line {line} has no value for the target {name!r}")


def _numbers(values: Sequence[str], name: str, lines: Sequence[int], mark: str | None = None) -> list[float]:
    """The numbers of a column, with that decimal mark; without one, as Python writes them."""
    plain = values
    if mark:
        leave_out = str.maketrans(dict.fromkeys(_THOUSANDS[mark], ""))
        plain = [value if _is_missing(value) else value.translate(leave_out).replace(mark, ".") for value in values]
    numbers = [math.nan if value.lower() in MISSING else float(value) for value in plain]
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
