"""An error is called the user's only where the user's values or code are the reason; ours is shown with its trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import SMALL, CommandLine, Train

FAILED, REFUSED = 1, 2


def fail(*_: object, **__: object) -> None:
    raise AttributeError("a fault of ours")


@pytest.mark.parametrize("name", ["plan_run", "describe_data", "set_length", "build_module", "count_devices"])
def test_our_own_fault_in_building_a_run(
    name: str, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(f"lrtrain.training.session.{name}", fail)
    result = command_line(*SMALL, "epochs=1", "hydra.run.dir=run")
    assert result.code == FAILED
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1] == "lrtrain: a fault of ours"
    assert list(tmp_path.iterdir()) == []


def test_our_own_fault_in_measuring(train: Train, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train(*SMALL, "epochs=1").folder
    monkeypatch.setattr("lrtrain.training.trained.build_data", fail)
    result = command_line("task=evaluate", f"checkpoint={folder}", "hydra.run.dir=measured")
    assert result.code == FAILED
    assert "Traceback" in result.err


BROKEN = """
import lightning.pytorch as pl
from torch.optim import SGD

def net():
    return 1 / 0

class Optimizer(SGD):
    def __init__(self, groups, lr):
        raise KeyError("lr")

def rate(progress):
    return {}["rate"]

class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return None.loader

    def val_dataloader(self):
        return None
"""
"""A module of a user's; what fails stands in the lines 6, 10, 13 and 17."""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("model=custom model.function=broken_:net", 6),
        ("optimizer=custom optimizer.function=broken_:Optimizer", 10),
        ("scheduler=custom function=broken_:rate", 13),
        ("dataset=custom dataset.function=broken_:Data dataset.classes=2", 17),
        ("model=custom model.function=unfinished_:net", 2),
    ],
)
def test_the_line_of_the_users_code(
    words: str, line: int, command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "broken_.py").write_text(BROKEN)
    (modules / "unfinished_.py").write_text("import os\nos.nothing\n")
    monkeypatch.syspath_prepend(str(modules))
    for name in ("broken_", "unfinished_"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    result = command_line(*words.split(), *SMALL[1:], "epochs=1", "hydra.run.dir=run")
    assert result.code == REFUSED, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert f"{modules}" in result.err
    assert f".py, line {line})" in result.err
    assert not (tmp_path / "run").exists()
