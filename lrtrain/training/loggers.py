"""The TensorBoard log of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.errors import DataLossError
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from lrtrain.runs import RunFolder, write_bytes
from lrtrain.training.record import TEST


def drop_events_from(folder: RunFolder, step: int) -> None:
    """Rewrite a run's event files as of a checkpoint, so that a resumed run draws one curve.

    Left out are the points of `step` and later, and the results of a run that had come to its end, which are measured
    again.
    """
    for path in folder.path.glob("events.out.tfevents.*"):
        kept = io.BytesIO()
        writer = RecordWriter(kept)
        try:
            for record in RawEventFileLoader(str(path)).Load():
                event = Event.FromString(record)
                if event.step < step and not any(_is_result(value.tag) for value in event.summary.value):
                    writer.write(record)
        except (DataLossError, DecodeError):  # the kill came in the middle of a record, which is the last
            pass
        write_bytes(path, kept.getvalue())


def _is_result(tag: str) -> bool:
    return tag in TEST or tag.startswith(("best/", "_hparams_/"))


class EventFile(TensorBoardLogger):
    """One event file in the run's own folder, for training and testing alike.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder.path, name="", version="", default_hp_metric=False)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer, whose events are in the file as soon as they are added."""
        begins, writer = self._experiment is None, super().experiment
        if begins:
            events = writer._get_file_writer().event_writer
            events._async_writer.close()
            events._async_writer = _WritesAtOnce(Path(events._file_name))
        return writer  # type: ignore[no-any-return]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the values of one log point, in one event."""
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self.experiment._get_file_writer().add_summary(Summary(value=values), step)

    def finalize(self, status: str) -> None:
        """Close after a failure only: Lightning calls this after fit too, and a test would then begin another file."""
        if status != "failed" or self._experiment is None:
            return
        with suppress(OSError):  # why it failed is known, and a disk that is full must not be what is said instead
            self.experiment.close()

    def save(self) -> None:
        """Flush only: the configuration is kept by Hydra, in one place."""
        if self._experiment is not None:
            self.experiment.flush()

    @rank_zero_only
    def log_result(self, config: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
        """Fill the HParams tab with what the run's configuration says and what was measured, and close the file."""
        self.log_hyperparams({key: value for key, value in config.items() if value is not None}, dict(metrics), step)
        self.experiment.close()


class _WritesAtOnce:
    """Takes the place of TensorBoard's thread that writes events.

    To wake that up takes longer than to write, and it has nobody to tell that the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._records = RecordWriter(self._file)

    def write(self, record: bytes) -> None:
        self._records.write(record)
        self._file.flush()

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
