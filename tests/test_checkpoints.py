"""How often the last checkpoint is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Train, settings_of
from loops import make, scheduled
from torch import nn

from lrtrain.parameters.spans import Span
from lrtrain.run_folder.folder import RunFolder
from lrtrain.schedules import Horizon
from lrtrain.settings import Metric
from lrtrain.training.checkpoints import Cadence, FileInPlace, LastAndBest
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.module import Supervised


def test_cadence_is_what_is_asked_for() -> None:
    for asked, needed, expected in (
        ("1ep", False, Cadence(updates=40)),
        ("500st", True, Cadence(updates=500)),
        ("10%", False, Cadence(updates=80)),
        ("0.001ep", False, Cadence(updates=1)),
        ("10min", False, Cadence(seconds=600)),
        ("0.5min", True, Cadence(seconds=30)),
        ("auto", False, Cadence()),
        ("auto", True, Cadence(updates=40)),
    ):
        every = settings_of(f"checkpoint_every={asked}").checkpoint_every
        assert isinstance(every, Span)
        assert Cadence.of(every, Horizon(40, 800), needed) == expected, asked


@pytest.mark.parametrize(("until", "left"), [(None, [7, 6, 5, 4, 3, 2, 1, 1]), (3, [3, 2, 1, 1])])
def test_updates_taken_at_once_end_where_a_checkpoint_is_due(
    until: int | None, left: list[int], tmp_path: Path
) -> None:
    """As many as are left until then, or until the run is to pause, and one where it is due."""
    checkpoints = LastAndBest(RunFolder(tmp_path), Metric("val_loss", "min"), Cadence(updates=7))
    checkpoints.until, optimizer = until, make()
    trainer: Any = SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(scheduler=scheduled(optimizer))])
    module: Any = nn.Module()
    checkpoints.on_train_start(trainer, module)
    for expected in left:
        assert checkpoints.patience(trainer) == expected
        optimizer.step()


def saved_at(train: Train, monkeypatch: pytest.MonkeyPatch, every: str, writing: float = 1.0) -> list[int]:
    """The updates at which a run of 120 saves, where each update takes a second, and each file so many."""
    clock, steps = [0.0], list[int]()
    step, save, save_last = Supervised.training_step, FileInPlace.save_checkpoint, LastAndBest.save_last

    def training_step(module: Supervised, batch: Any, batch_idx: int) -> Any:
        clock[0] += 1
        return step(module, batch, batch_idx)

    def save_checkpoint(files: FileInPlace, *arguments: Any, **named: Any) -> None:
        clock[0] += writing
        save(files, *arguments, **named)

    def noted(checkpoints: LastAndBest, trainer: Any) -> None:
        steps.append(scheduler_of(trainer).last_epoch)
        save_last(checkpoints, trainer)

    monkeypatch.setattr("lrtrain.training.checkpoints.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Supervised, "training_step", training_step)
    monkeypatch.setattr(FileInPlace, "save_checkpoint", save_checkpoint)
    monkeypatch.setattr(LastAndBest, "save_last", noted)
    train("model=linear", "trainer=cpu", "epochs=3", "logger=none", f"checkpoint_every={every}")
    return steps


def test_auto_takes_a_hundredth_of_the_time(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a write takes is guessed at two hundredths of a second, and then known."""
    first, second, last = saved_at(train, monkeypatch, "auto")
    assert (first, last) == (2, 120)
    assert 98 <= second - first <= 100, "the best weights are written in the meantime, up to twice"


def test_minutes_are_minutes(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved_at(train, monkeypatch, "0.5min", writing=0) == [30, 60, 90, 120]
