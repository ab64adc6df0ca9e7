"""What the tests share: the command line, in this process or in its own, and readers of what a run leaves behind."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: batches this small only lose by being shared out

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import Request, read_request
from lrtrain.cli.words import prepare

if TYPE_CHECKING:
    from lrtrain.datasets import Source, Splits
    from lrtrain.settings import Settings


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Run(NamedTuple):
    """A finished command line and the folder it wrote."""

    result: Result
    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())  # type: ignore[no-any-return]

    @property
    def rows(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "metrics.csv")

    def series(self, column: str) -> dict[int, float]:
        """A column of metrics.csv by step, where it has a value."""
        return {int(row["step"]): float(row[column]) for row in self.rows if row[column]}


def requested(*words: str) -> Request:
    """What a command asks for."""
    with Composer() as composer:
        return read_request(composer, prepare(words))


def settings_of(*words: str) -> Settings:
    """The settings that a command asks for."""
    return requested(*words).job.settings


CommandLine = Callable[..., Result]
Train = Callable[..., Run]

SMALL = ("model=linear", "trainer=cpu", "log_every=1", "trainer.limit_train_batches=4")
"""Four updates an epoch, all of them logged."""


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def whole(source: Source) -> tuple[Any, Any]:
    """All inputs and labels of a dataset's part."""
    import torch

    inputs, labels = source.gather(torch.arange(len(source)))
    return inputs.numpy(), labels.numpy()


def parts(splits: Splits) -> list[tuple[Any, Any]]:
    """The inputs and labels to train on, to validate, to test."""
    return [whole(source) for source in splits[:3]]


def python(*arguments: str, cwd: Path, interpreter: str = sys.executable) -> Result:
    """Run Python in its own process; the interpreter's path is searched as that of `python -m` in `cwd`."""
    environment = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "PYTHONPATH")}
    done = subprocess.run(
        [interpreter, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run `python -m lrtrain ...` in this process, in an empty folder."""
    from lrtrain.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setattr(sys, "argv", ["lrtrain", *arguments])
        capsys.readouterr()
        code = main()
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def train(command_line: CommandLine, tmp_path: Path) -> Train:
    """Run a training that must succeed, in a folder of its own."""

    def run(*arguments: str, code: int = 0) -> Run:
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        result = command_line(*arguments, f"hydra.run.dir={folder}")
        assert result.code == code, result.err
        return Run(result, folder)

    return run
