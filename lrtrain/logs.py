"""The log of a run."""

from __future__ import annotations

import logging
from pathlib import Path


class RunLog(logging.FileHandler):
    """Makes its file with the first line; where that cannot be made or written, the run goes on without.

    The first process of a run may have removed the folder in which another one would still log, and torch logs at exit.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


def close_logs(folder: Path) -> None:
    """Log to the files of a folder no more, which is about to be removed."""
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, RunLog) and Path(handler.baseFilename).parent == folder.absolute():
            logging.getLogger().removeHandler(handler)
            handler.close()
