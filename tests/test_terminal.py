"""What a person sees in a terminal: whole values, names as they are, and an end where nothing can be written."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import SMALL, CommandLine, Train
from rich.console import Console

from lrtrain.__main__ import main
from lrtrain.cli.main import main as command_line_of_this_process
from lrtrain.report import live_view
from lrtrain.report.table import print_parts, print_rows
from lrtrain.training import progress_bar

FAILED = 1


@pytest.mark.parametrize("columns", [50, 80, 160])
def test_the_view_of_a_run(columns: int, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = io.StringIO()
    terminal = {"width": columns, "height": 24, "force_terminal": True, "color_system": None, "legacy_windows": False}
    monkeypatch.setattr(progress_bar, "Console", lambda: Console(file=drawn, **terminal))  # type: ignore[arg-type]
    run = train("scheduler=multistep", "milestones=[2]", "gamma=0.1", *SMALL, "epochs=4", "lr=0.2")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.getvalue())
    lines = [line.rstrip() for part in text.split("\r") for line in part.splitlines()]
    last = lines[-1 - lines[::-1].index(next(line for line in lines[::-1] if "16/16" in line)) :]
    assert "epoch 4/4" in last[0]
    assert max(map(len, last)) <= columns, last
    values = {name: shown for name, shown, *_ in (line.split() for line in last[1:5])}
    row = run.rows[-1]
    assert values["lr"] == "0.02"
    assert values["val_loss"] == f"{float(row['val_loss']):.4f}"
    assert values["val_acc"] == f"{float(row['val_acc']):.4f}"
    assert sum("you are here: epoch 4.0" in line for line in last) == (columns > 50)
    assert "epoch 2: lr 0.2 -> 0.02 (multistep)" in lines


def test_a_run_without_a_terminal_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = iter([0.0, 9.0, 11.0, 30.0, 60.0]), list[str]()
    monkeypatch.setattr(live_view, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    lines = live_view.PlainLines(said.append, 1000, 10)
    for done in (10, 500, 510, 520, 760):
        lines.show(done, {"lr": "0.1", "val_loss": "0.5"}, [])
    # At 9 s it is too soon, at 30 s the run is no further than a twentieth.
    assert said == [
        "update 510 of 1,000, epoch 5.1 of 10: lr 0.1, val_loss 0.5; 0:00:11 left",
        "update 760 of 1,000, epoch 7.6 of 10: lr 0.1, val_loss 0.5; 0:00:19 left",
    ]


def test_milestones_are_told_without_a_terminal(train: Train) -> None:
    run = train("scheduler=step", "every=2", "gamma=0.5", *SMALL, "epochs=6", "lr=0.4")
    told = [line for line in run.result.out.splitlines() if ": lr " in line]
    assert told == ["epoch 2: lr 0.4 -> 0.2 (step)", "epoch 4: lr 0.2 -> 0.1 (step)"]


def test_names_in_brackets_are_shown(
    capsys: pytest.CaptureFixture[str], command_line: CommandLine, tmp_path: Path
) -> None:
    print_rows(["[job]", "name"], [["1", "model.hidden=[red]"]])
    print_parts(["[class]", "f1"], [["[x]", ":smile:"]], ["[mean]", "1"])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[job]", "model.hidden=[red]", "[class]", "[x]", ":smile:", "[mean]")), shown
    result = command_line(*SMALL, "epochs=1", "hydra.run.dir=[red]")
    assert f"--logdir '{tmp_path / '[red]'}'" in result.out


def test_a_reduction_that_no_update_sees_is_not_announced(train: Train) -> None:
    # With a threshold that nothing passes, each validation but the first reduces the rate.
    run = train("scheduler=plateau", "patience=0", "threshold=10", *SMALL, "epochs=3")
    assert run.result.out.count("(val_loss had not improved on ") == 1, (
        "of the validations after epochs 2 and 3 the first only"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no such file")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["task=preview", "hydra.run.dir=run"]])
def test_where_no_output_can_be_written(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = os.dup(1)
    try:
        with open("/dev/full", "w") as full:  # noqa: PTH123
            os.dup2(full.fileno(), 1)
            monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115
            monkeypatch.setattr(sys, "argv", ["lrtrain", *words])
            errors = io.StringIO()
            monkeypatch.setattr(sys, "stderr", errors)
            assert command_line_of_this_process() == FAILED
            [line] = errors.getvalue().splitlines()
            assert line.startswith("lrtrain: cannot write what is to be printed (No space left on device)")
    finally:
        os.dup2(own, 1)
        os.close(own)


def test_the_console_script_finds_modules_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside_the_run.py").touch()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    monkeypatch.setattr("lrtrain.process.signals.own", lambda: None)
    monkeypatch.setattr("lrtrain.cli.main.main", lambda: bool(importlib.util.find_spec("beside_the_run")))
    assert main() is True


def test_commands_of_the_pages_are_safe_from_globs() -> None:
    """What a shell such as zsh would take for a pattern of file names stands in quotes."""
    root = Path(__file__).parents[1]
    text = "".join(page.read_text() for page in [root / "README.md", *root.glob("conf/**/*.md")])
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    for line in "".join(blocks).splitlines():
        bare = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", line)
        assert not re.search(r"[\[\]{}*?]", bare), line


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("task=ex", "task=export"), ("scheduler=step ga", "gamma="), ("model=cnn model.kern", "model.kernels.")],
)
def test_tab_completes(typed: str, offered: str, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices and keys, those too that only the choices before them have."""
    monkeypatch.setenv("COMP_LINE", f"lrtrain {typed}")
    assert offered in command_line("--shell-completion", "query=bash").out.split()


def test_completion_is_of_our_program_alone(command_line: CommandLine) -> None:
    """However it was started: a line for `python` would take its completion from all others."""
    script = command_line("--shell-completion", "install=bash").out
    assert script.rstrip().endswith(" lrtrain")
    refused = command_line("--shell-completion", "install=tcsh")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
