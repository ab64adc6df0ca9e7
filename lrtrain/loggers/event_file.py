"""`logger=tensorboard`: TensorBoard's event file."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from google.protobuf.message import DecodeError
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.errors import DataLossError
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from lrtrain.loggers import Subject
from lrtrain.loggers.event_records import RecordWriter, scalars
from lrtrain.loggers.run_logger import RunLogger, is_result
from lrtrain.parameters.bound import flat
from lrtrain.run_folder.files import write_bytes
from lrtrain.run_folder.folder import RunFolder

FIRST = "Overview"
"""The group of what the first page shows: capitals are sorted before what else is logged."""
SHOWN = ("lr", "train_loss", "val_loss")
BY = "/by_"
"""Before the name of another axis than the updates."""


class EventFile(RunLogger, TensorBoardLogger):
    """One event file in the run's own folder, for training and testing alike.

    It is opened at the first value. Each log point is in the file when `log_metrics` returns; a full disk raises
    OSError. The rate and the losses stand a second time under `FIRST`, which the viewer sorts before all others, and
    on a page of their own under "Custom Scalars". What a validation measures is there over other axes too, as
    ``val_loss/by_epoch``.

    Args:
        subject: What is logged; its description is written when the file is opened, and a whole place on one of its
            axes has a point.
    """

    def __init__(self, subject: Subject) -> None:
        folder = subject.folder
        super().__init__(folder.path, name="", version="", default_hp_metric=False)
        self._folder, self._description, self._axes = folder, subject.description, subject.axes
        self._events: RecordWriter | None = None
        self._module_writer = _LazyWriter(folder)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """A SummaryWriter for a module's own histograms and images; it has a file of its own, made at the first use."""
        return cast(SummaryWriter, self._module_writer)

    def drop_from(self, step: int, is_new: Callable[[str, int], bool]) -> None:
        """Rewrite the files as of a checkpoint, so that a resumed run draws one curve.

        Drops the points from `step` on, and the results of a finished run, which are measured again.

        Args:
            step: The updates done by the checkpoint.
            is_new: Whether a value of an earlier step was logged after the checkpoint, by its tag and step.
        """

        def goes(event: Event) -> bool:
            tags = [value.tag for value in event.summary.value]
            return event.step >= step or any(is_result(tag) or is_new(tag, event.step) for tag in tags)

        for path in self._folder.events:
            if not path.is_file() or path.is_symlink():  # a pipe would be waited for, and no link is ours
                continue
            kept, dropped = io.BytesIO(), False
            writer = RecordWriter(kept)
            try:
                for record in RawEventFileLoader(str(path)).Load():
                    event = Event.FromString(record)
                    if not any(BY in value.tag for value in event.summary.value):  # else it belongs to the one before
                        dropped = goes(event)
                    if not dropped:
                        writer.write(record)
            except (DataLossError, DecodeError):  # the run was killed while it wrote a record, which is the last
                pass
            write_bytes(path, kept.getvalue())

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the values of one log point, in one event."""
        first = {name.partition("/")[0]: value for name, value in reversed([*metrics.items()]) if _is_first(name)}
        self._write_scalars(int(step or 0), {**metrics, **{f"{FIRST}/{name}": value for name, value in first.items()}})
        measured = {name: value for name, value in metrics.items() if name.startswith("val_")}
        for axis, per_update in self._axes.items() if measured else ():
            place = ((step or 0) + 1) * per_update
            if place.denominator == 1:
                self._write_scalars(int(place), {f"{name}{BY}{axis}": value for name, value in measured.items()})

    @rank_zero_only
    def log_line(self, tag: str, words: str, step: int) -> None:
        """Write a line on what happened at a step."""
        self._write(step, text(tag, words))  # type: ignore[no-untyped-call]

    @rank_zero_only
    def log_result(self, config: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
        """Fill the HParams tab with a finished run's configuration and metrics, and close the file."""
        settings = {key: value for key, value in flat(config, separator="/").items() if value is not None}
        plain = {key: value if isinstance(value, int | float) else str(value) for key, value in settings.items()}
        _, *session = hparams(plain, dict(metrics))  # type: ignore[no-untyped-call]
        self._write_scalars(step, metrics)
        self._write(step, *session)  # which columns there are is for a sweep to say, or TensorBoard
        self._close()

    def save(self) -> None:
        """Flush only: Hydra has saved the configuration."""
        self._module_writer.flush()

    def finalize(self, status: str) -> None:
        """Leave the file open: Lightning calls this after fit, and a test would then open another one."""

    def end(self, status: str) -> None:
        """Close the file."""
        with suppress(OSError):  # the error that ended the run is reported, not that the disk is full
            self._close()

    def _write(self, step: int | None, *summaries: Summary) -> None:
        events = self._opened()
        for summary in summaries:
            events.write(Event(wall_time=time.time(), step=int(step or 0), summary=summary).SerializeToString())
        events.flush()

    def _write_scalars(self, step: int, metrics: Mapping[str, float]) -> None:
        events = self._opened()
        events.write(scalars(metrics, step, time.time()))
        events.flush()

    def _opened(self) -> RecordWriter:
        """The file, which begins with the description."""
        if self._events is None:
            self._events = _open(self._folder)
            if self._description:
                self._write(0, text("schedule", self._description), _layout())  # type: ignore[no-untyped-call]
        return self._events

    def _close(self) -> None:
        self._module_writer.close()
        events, self._events = self._events, None
        if events is not None:
            events.close()


class _LazyWriter:
    """Becomes a SummaryWriter when it is used: Lightning asks each logger for one, whether it is used or not."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # looked up by copy and pickle
            raise AttributeError(name)
        if self._writer is None:
            # By its own count it could take the name of the run's file.
            self._writer = SummaryWriter(str(self._folder.path), filename_suffix=".module")
        return getattr(self._writer, name)

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _open(folder: RunFolder) -> RecordWriter:
    """Begin an event file; a resumed run has several, which TensorBoard reads in the order of their names."""
    folder.path.mkdir(parents=True, exist_ok=True)
    stamps = (path.name.removeprefix(f"{folder.EVENTS}.").partition(".")[0] for path in folder.events)
    began = max([int(time.time()), *(int(stamp) + 1 for stamp in stamps if stamp.isdecimal())])
    events = RecordWriter(
        (folder.path / f"{folder.EVENTS}.{began:010d}.{socket.gethostname()}.{os.getpid()}").open("ab")
    )
    events.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    return events


def _is_first(name: str) -> bool:
    return name in SHOWN or name.startswith("lr/")


def _layout() -> Summary:
    """The page on which the rate and the losses are beside each other, and in one chart."""
    charts = {"rate": ("lr.*",), "loss": SHOWN[1:], "rate and loss": SHOWN}
    charts |= {f"validation loss by {axis}": (f"val_loss{BY}{axis}",) for axis in ("epoch", "samples")}
    page = {title: ["Multiline", [f"^{tag}$" for tag in tags]] for title, tags in charts.items()}
    return cast(Summary, custom_scalars({"learning rate and loss": page}))  # type: ignore[no-untyped-call]
