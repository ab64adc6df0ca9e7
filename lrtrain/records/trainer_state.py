"""`trainer_state.json` of Hugging Face's Trainer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lrtrain.errors import RequestError
from lrtrain.records.record import Log, as_series
from lrtrain.run_folder.files import MOST_ROWS, read_text

FILE = "trainer_state.json"
NAMES = {"loss": "train_loss", "eval_loss": "val_loss", "eval_accuracy": "val_acc", "learning_rate": "lr"}
"""Its names, and ours for them."""


def find(below: Path) -> Iterator[Path]:
    """The newest state of each run: its own, or that in the last of its checkpoints."""
    found: dict[Path, Path] = {}
    for path in sorted(below.glob(f"**/{FILE}"), key=_updates):
        checkpoint = path.parent.name.startswith("checkpoint-")
        found[path.parent.parent if checkpoint else path.parent] = path
    yield from found.values()


def _updates(path: Path) -> float:
    number = path.parent.name.removeprefix("checkpoint-")
    return float(number) if number.isdecimal() else float("inf")


def read(path: Path) -> Log:
    """What was logged, by updates.

    Raises:
        RequestError: The file is damaged.
    """
    try:
        state = json.loads(read_text(path, MOST_ROWS))
        points: dict[str, list[tuple[float, float]]] = {}
        for row in state["log_history"]:
            for name, value in row.items():
                if name not in ("epoch", "step") and isinstance(value, int | float):
                    points.setdefault(name, []).append((row["step"], value))
        series = {name: as_series(*zip(*own, strict=True)) for name, own in points.items()}
        seconds = points.get("train_runtime", [(0, 0.0)])[-1][1]
        return Log(series, float(state.get("epoch") or 0.0), seconds)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RequestError(f"{path} cannot be read: {error}") from None
