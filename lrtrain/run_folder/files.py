"""Files that a crash leaves whole: replaced in one step, or grown by whole rows."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

MOST_JSON, MOST_ROWS = 2**24, 2**30
"""Bytes above which a file is not what we have written."""


def read_text(path: Path, most: int = MOST_JSON) -> str:
    """The text of a file; a pipe is not waited for.

    Raises:
        OSError: It is not there, no file, or larger than `most`.
    """
    wait_not = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | wait_not)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise OSError(errno.EFBIG, "no file, or too large", str(path))
        return file.read().decode(errors="replace")


def read_words(path: Path) -> list[str]:
    """The words in a YAML file; none where it is not a list of texts, or not there."""
    try:
        found = yaml.load(read_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - is safe
    except (OSError, yaml.YAMLError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else []


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, or a crash, sees the old version or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.unlink(missing_ok=True)
        with scratch.open("xb") as file:  # which follows no link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            scratch.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace a file by plain JSON."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Plain JSON, in which a number that is not finite is null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def as_yaml(value: Any) -> str:
    """Plain YAML, its keys in their order."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(value, Dumper=dumper, sort_keys=False, default_flow_style=None))


class Table:
    """A CSV file that grows by whole rows; numbers keep full precision, and what is missing stays empty.

    Args:
        path: Of the file.
        columns: Their names.
        keep: Which rows of a file that is there already stay; None begins anew.

    """

    def __init__(
        self, path: Path, columns: Iterable[str], keep: Callable[[dict[str, str]], bool] | None = None
    ) -> None:
        self.columns = list(columns)
        kept = [row for row in read_table(path) if keep(row)] if keep and path.is_file() else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        write_text(path, text.getvalue())
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, self.columns, restval="")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; raises ValueError for a value whose column the table does not have."""
        self._writer.writerow(row)
        self._file.flush()

    def extend(self, rows: Iterable[Iterable[Any]]) -> None:
        """Append rows of values in the order of the columns."""
        self._writer.writer.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text; a last row that was not written to its end is left out.

    What follows a row that cannot be read is left out too.
    """
    whole, _, _ = read_text(path, MOST_ROWS).rpartition("\n")
    rows: list[dict[str, str]] = []
    with suppress(csv.Error):
        for row in csv.DictReader(io.StringIO(whole, newline="")):
            row.pop(None, None)  # more values than columns
            rows.append(row)
    return rows


def _finite(value: Any) -> Any:
    """Plain JSON: a float that is not finite is null, a path its text."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, str | int) else str(value)
