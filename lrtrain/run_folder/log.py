"""The log of a run: what went wrong in it, with the traces."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path


class RunLog(logging.FileHandler):
    """Makes its file with the first line; where that cannot be made or written, the run goes on without.

    No link is followed to it, and no reader of a pipe waited for.
    """

    def _open(self) -> TextIOWrapper:
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK"))
        )
        return os.fdopen(os.open(self.baseFilename, flags, 0o666), "a", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        file = Path(self.baseFilename)
        if file.is_symlink() or (file.exists() and not file.is_file()):  # such as a pipe, which would be waited for
            return
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Log to a file in here; where it cannot be written, go on without a word about that."""
    handler = RunLog(file, delay=True)
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] %(message)s"))
    root = logging.getLogger()
    raises, logging.raiseExceptions = logging.raiseExceptions, False
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with suppress(OSError):  # what a full disk has no room for
            handler.close()
        logging.raiseExceptions = raises
