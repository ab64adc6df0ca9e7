"""A table with a row for each run, from any program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lrtrain.records.record import Record, as_value
from lrtrain.run_folder.files import read_table


def read_rows(file: Path) -> Iterator[Record]:
    """The runs of a CSV file, each column a key and, where it holds a number, a metric."""
    for number, row in enumerate(read_table(file), 1):
        values = {key: as_value(text) for key, text in row.items() if text is not None}
        numbers = {key: value for key, value in values.items() if not isinstance(value, str)}
        yield Record(name=f"row {number}", config=values, metrics=numbers)
