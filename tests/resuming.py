"""What tests of runs that are stopped and resumed share: how one is stopped, and what it has left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import Result
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util
from torch import Tensor

from lrtrain.training.module import Supervised

INTERRUPTED, REFUSED = 143, 2

SHORT = (
    "trainer=cpu",
    "epochs=3",
    "log_every=1",
    "trainer.enable_progress_bar=false",
    "batch_size=128",
    "checkpoint_every=1ep",
)
"""10 batches an epoch of the built-in data, the last one smaller."""


class Leaves(NamedTuple):
    metrics: str
    scalars: dict[str, list[tuple[int, float]]]
    weights: dict[str, Tensor]


def begun_at(path: Path) -> tuple[int, int]:
    """The second in which an event file was begun, and its number in the process."""
    parts = path.name.split(".")
    return int(parts[3]), int(parts[-1])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar in the order in which it was written, without what TensorBoard does about repeated steps."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=begun_at):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, []).append((event.step, float(tensor_util.make_ndarray(value.tensor))))
    return found


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True))


def leaves(folder: Path) -> Leaves:
    return Leaves((folder / "metrics.csv").read_text(), scalars(folder), checkpoint(folder)["state_dict"])


def assert_equal(run: Path, expected: Path, *, same_words: bool = True) -> None:
    """What two runs have left is the same, to the bit; they were asked for by the same words, in whatever order."""
    ours, theirs = leaves(run), leaves(expected)
    assert ours.metrics == theirs.metrics
    assert ours.scalars == theirs.scalars
    for series in ours.scalars.values():
        steps = [step for step, _ in series]
        assert steps == sorted(set(steps))
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)
    firsts = [checkpoint(folder)["callbacks"]["DivergenceGuard"]["first"] for folder in (run, expected)]
    assert firsts[0] == firsts[1], "the loss that later ones are compared with is the first of the whole run"
    results = [json.loads((folder / "summary.json").read_text()) for folder in (run, expected)]
    compared = [
        {key: value for key, value in result.items() if key not in ("wall_s", "config", "started", "ended")}
        | {"command": sorted((result["command"] or "").split()) if same_words else None}
        for result in results
    ]
    assert compared[0] == compared[1]
    assert compared[0]["status"] == "finished"


class Stop:
    """Acts once, in the training step of one batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, batch: int, act: Callable[[Any], None]) -> None:
        """Let `act` be called with the module before the training step of a batch, counted from 0."""
        seen, original = [0], Supervised.training_step

        def training_step(module: Supervised, data: Any, batch_idx: int) -> Tensor:
            if seen[0] == batch:
                act(module)
            seen[0] += 1
            return original(module, data, batch_idx)

        self.monkeypatch.setattr(Supervised, "training_step", training_step)

    def over(self) -> None:
        self.monkeypatch.setattr(Supervised, "training_step", TRAINING_STEP)


TRAINING_STEP = Supervised.training_step


def terminate(module: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail(module: Any) -> None:
    raise RuntimeError("the machine is on fire")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def unfinished(folder: Path) -> Path:
    """As if the run had been killed just before its summary was written."""
    (folder / "summary.json").unlink()
    return folder


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(result: Result, *parts: str) -> None:
    assert result.code == REFUSED, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert all(part in result.err for part in parts), result.err
