"""TensorBoard's event files, whoever wrote them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from lrtrain.records.csv_log import read_hparams
from lrtrain.records.record import Log, as_series
from lrtrain.run_folder.folder import RunFolder

PARTS = ("train", "validation", "test")
"""Folders into which Keras puts the events of one run, by epochs from 0."""
NAMES = {
    "train/epoch_loss": "train_loss",
    "validation/epoch_loss": "val_loss",
    "train/epoch_accuracy": "train_acc",
    "validation/epoch_accuracy": "val_acc",
    "train/epoch_learning_rate": "lr",
}
"""Keras's, and ours for them."""


def find(below: Path) -> Iterator[Path]:
    """The folders of runs."""
    folders = {path.parent for path in below.glob(f"**/{RunFolder.EVENTS}.*")}
    yield from sorted({path.parent if path.name in PARTS and path != below else path for path in folders})


def read(folder: Path) -> Log:
    """The scalars of a run, by the steps that they were logged at."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    points: dict[str, dict[float, float]] = {}
    first, last = math.inf, 0.0
    for part in ("", *PARTS):
        for path in sorted((folder / part).glob(f"{RunFolder.EVENTS}.*")):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == "scalars":
                        tag = f"{part}/{value.tag}" if part else value.tag
                        points.setdefault(tag, {})[event.step + bool(part)] = float(make_ndarray(value.tensor))
                        first, last = min(first, event.wall_time), max(last, event.wall_time)
    series = {tag: as_series(sorted(own), [own[step] for step in sorted(own)]) for tag, own in points.items()}
    epochs = max(points.get("epoch", {}).values(), default=-1.0) + 1
    return Log(series, epochs, max(0.0, last - first), read_hparams(folder))
