"""`logger=csv`: the log points in the file of Lightning's CSVLogger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger

from lrtrain.loggers import Subject
from lrtrain.loggers.run_logger import RunLogger, is_result
from lrtrain.run_folder.files import read_table


class CSVFile(RunLogger, CSVLogger):
    """Lightning's CSVLogger, in a folder of the run's own; each log point is in the file when `log_metrics` returns.

    Args:
        subject: What is logged.
    """

    def __init__(self, subject: Subject) -> None:
        folder = subject.folder.csv
        super().__init__(folder.parent, name=folder.name, version="", flush_logs_every_n_steps=1)
        table = Path(self.log_dir) / "metrics.csv"
        self._rows = read_table(table) if table.is_file() else []
        table.unlink(missing_ok=True)  # Lightning would warn of it, and do the same
        self.log_hyperparams(dict(subject.config))

    def drop_from(self, step: int, is_new: Callable[[str, int], bool]) -> None:
        """Write again what was logged until a checkpoint."""
        for row in self._rows:
            at = row.pop("step", "")
            if at.isdecimal() and int(at) < step:
                known = [name for name, text in row.items() if text and not is_result(name)]
                texts: dict[str, Any] = {name: row[name] for name in known if not is_new(name, int(at))}
                self.log_metrics(texts, int(at))
