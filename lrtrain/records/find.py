"""All runs of a folder or file."""

from __future__ import annotations

from pathlib import Path

from lrtrain.errors import RequestError
from lrtrain.records import csv_log
from lrtrain.records.elsewhere import Conventions, read_logs
from lrtrain.records.folders import read_folders
from lrtrain.records.record import Record
from lrtrain.records.table import read_rows


def find_records(place: Path, how: Conventions) -> list[Record]:
    """The runs of this program below a folder, else those that others have logged there, or the rows of a table.

    Raises:
        RequestError: There is no such place, or a log is damaged.
    """
    if place.is_file():
        return list(read_logs(place, how) if any(csv_log.find(place)) else read_rows(place))
    if not place.is_dir():
        raise RequestError(f"runs={place}: there is no such folder or file")
    return list(read_folders(place)) or list(read_logs(place, how))
