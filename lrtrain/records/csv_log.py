"""CSV files with a row for each log point or epoch, as Lightning's CSVLogger and Keras's write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from lrtrain.parameters.bound import flat
from lrtrain.records.record import Log, as_series
from lrtrain.run_folder.files import read_table, read_text

NAMES = {"loss": "train_loss", "accuracy": "train_acc", "val_accuracy": "val_acc", "learning_rate": "lr"}
"""Keras's, and ours for them."""
HPARAMS = "hparams.yaml"
"""What Lightning's loggers keep of a run's settings, beside its log."""


def find(below: Path) -> Iterator[Path]:
    """The logs in a folder, or a file that is one."""
    files = [below] if below.is_file() else sorted([*below.glob("**/*.csv"), *below.glob("**/*.log")])
    for path in files:
        with suppress(OSError), path.open(errors="replace") as file:
            names = file.readline(10_000).strip().split(",")
            if len(names) > 1 and {"epoch", "step"} & {*names}:
                yield path


def read(path: Path) -> Log:
    """The columns of a log by steps, or where there are none by epochs."""
    rows = read_table(path)
    clock = "step" if rows and "step" in rows[0] else "epoch"
    found = {}
    for name in rows[0] if rows else ():
        own = [row for row in rows if row[name] and row[clock]]
        if own and name not in ("step", "epoch"):
            with suppress(ValueError):  # a column of words
                found[name] = as_series([float(row[clock]) + 1 for row in own], [row[name] for row in own])
    epochs = [float(row["epoch"]) for row in rows if row.get("epoch")]
    return Log(found, max(epochs, default=-1.0) + 1, config=read_hparams(path.parent))


def read_hparams(folder: Path) -> Mapping[str, Any]:
    """The settings that Lightning keeps beside a log; nothing where there are none that are plain."""
    with suppress(OSError, yaml.YAMLError):
        found = yaml.safe_load(read_text(folder / HPARAMS))
        return flat(found) if isinstance(found, dict) else {}
    return {}
