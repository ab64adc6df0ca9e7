"""`logger=mlflow`: a run in MLflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from lightning.pytorch.loggers import MLFlowLogger

from lrtrain.loggers import Subject
from lrtrain.loggers.run_logger import RunLogger, keep_id, known_id, refused_as
from lrtrain.run_folder.summary import GOOD

STATUS = {**dict.fromkeys(GOOD, "FINISHED"), "failed": "FAILED", "diverged": "FAILED", "paused": "RUNNING"}
"""MLflow's word for how a run ended; that of all others is KILLED."""


class MLFlowRun(RunLogger, MLFlowLogger):
    """Lightning's MLFlowLogger, in a database in the run's folder if nothing else is said.

    Values are written in a thread, and are there whenever a checkpoint is. A run that goes on goes on in the same run
    there; what was logged after its checkpoint cannot be taken back, and stands twice in a metric's history. Its
    parameters stay those that it was begun with.

    Args:
        subject: What is logged.
        experiment: Of the run.
        tracking_uri: Of the store; None for the run's own.
    """

    def __init__(self, subject: Subject, experiment: str, tracking_uri: str | None) -> None:
        folder, sweep, known = subject.folder, subject.folder.sweep, known_id(subject.folder, "mlflow")
        folder.path.mkdir(parents=True, exist_ok=True)
        self.tracking_uri = tracking_uri or f"sqlite:///{folder.mlflow.absolute()}"
        tags = {**dict.fromkeys(subject.tags, "true"), "mlflow.note.content": subject.description}
        with refused_as("mlflow"), _quiet(), _kept_uri():
            super().__init__(
                experiment,
                subject.name,
                self.tracking_uri,
                tags | ({"sweep": sweep.name} if sweep else {}),
                artifact_location=None if tracking_uri else folder.artifacts.absolute().as_uri(),
                run_id=known,
                synchronous=False,
            )
            keep_id(folder, "mlflow", str(self.run_id))
            if known is None:
                self.log_hyperparams(dict(subject.config))

    def save(self) -> None:
        """Wait until all is written."""
        with _kept_uri():
            mlflow.set_tracking_uri(self.tracking_uri)  # of the store that this waits for
            mlflow.flush_async_logging()

    def finalize(self, status: str = "success") -> None:
        """Leave the run open: Lightning calls this after fit, and a test follows."""

    def end(self, status: str) -> None:
        """Write what is left, and say how the run ended."""
        self.save()
        self.experiment.set_terminated(str(self.run_id), STATUS.get(status, "KILLED"))


@contextmanager
def _kept_uri() -> Iterator[None]:
    """Leave the process's own tracking store what it is: Lightning and MLflow set it by the way."""
    own = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    known = "MLFLOW_TRACKING_URI" in os.environ
    try:
        yield
    finally:
        mlflow.set_tracking_uri(own)
        if not known:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what is said of new tables and experiments out of the user's sight."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "lightning.pytorch.loggers.mlflow")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
