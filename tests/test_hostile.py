"""What a run folder holds is data: nothing in it is run, and what cannot be read is refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, Result, Train, python
from omegaconf import OmegaConf

REFUSED = 2


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when the module `poison` is imported."""
    (tmp_path / "modules").mkdir()
    path = tmp_path / "modules" / "imported"
    (tmp_path / "modules" / "poison.py").write_text(
        f"open({str(path)!r}, 'w').close()\ndef half(*_, **__):\n    return 0.5\nclass Callback:\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "poison", raising=False)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 8 updates."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = python("-m", "lrtrain", *SMALL, "epochs=2", f"hydra.run.dir={folder}", cwd=folder.parent)
    assert result.code == 0, result.err
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy to plant something in."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def longer(folder: Path, *overrides: str) -> tuple[str, ...]:
    """Something to go on with."""
    return f"resume={folder}", "epochs=3", "resume_plan=keep", *overrides


def one_line(result: Result, code: int = REFUSED) -> None:
    assert result.code == code, result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert result.err.startswith("lrtrain: ")


class Payload:
    """Unpickled, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("resume_plan", ["keep", "weights_only"])
@pytest.mark.parametrize("place", ["state_dict", "callbacks", "everything"])
def test_checkpoint_with_code(
    place: str, resume_plan: str, folder: Path, command_line: CommandLine, tmp_path: Path
) -> None:
    for name in ("last", "previous", "best"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        whole = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True) if name != "best" else {}
        payload = Payload(f"touch {tmp_path / 'run_by_checkpoint'}")
        torch.save(payload if place == "everything" else whole | {place: payload}, path)
    one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={resume_plan}"))
    assert not (tmp_path / "run_by_checkpoint").exists()


def add_override(folder: Path, override: str) -> None:
    path = folder / ".hydra" / "overrides.yaml"
    path.write_text(OmegaConf.to_yaml([*OmegaConf.load(path), override]))


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.x._target_=poison.Callback",
        "++hydra.callbacks.x={_target_:poison.Callback}",
        "hydra.callbacks.sweep_folder._target_=poison.Callback",
        "hydra.run.dir=elsewhere",
        "hydra.output_subdir=../elsewhere",
        "+hydra.searchpath=[pkg://poison]",
        "hydra/launcher=poison",
        "~hydra.run",
    ],
)
def test_overrides_of_hydra_are_not_taken_from_a_folder(
    override: str, folder: Path, canary: Path, command_line: CommandLine, tmp_path: Path
) -> None:
    add_override(folder, override)
    before = sorted(path.name for path in tmp_path.iterdir())
    resumed = command_line(*longer(folder))
    assert resumed.code == 0, resumed.err
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "overrides",
    [
        ("scheduler=custom", "function=poison:half"),
        ("scheduler=product", "parts=[{scheduler:custom,function:'poison:half'}]"),
        ("groups={.*bias:{scheduler:custom,function:'poison:half'}}",),
        ("hyperparameters={weight_decay:{scheduler:custom,function:'poison:half',high:1,low:0}}",),
    ],
    ids=["custom", "part", "group", "hyperparameter"],
)
def test_function_must_be_said_again(
    overrides: tuple[str, ...], folder: Path, canary: Path, command_line: CommandLine
) -> None:
    for override in overrides:
        add_override(folder, override)
    one_line(command_line(f"resume={folder}"))
    one_line(command_line(f"resume={folder}", "resume_plan=switch"))
    assert not canary.exists()


ASSEMBLED = "${oc.decode:'{a:{scheduler:custom,${oc.env:LRTRAIN_NOPE,func}tion:poison:half}}'}"
"""A function that stands in no word of it."""


@pytest.mark.parametrize("task", ["train", "preview"])
@pytest.mark.parametrize("key", ["groups", "hyperparameters"])
def test_function_that_is_put_together(
    key: str, task: str, folder: Path, canary: Path, command_line: CommandLine
) -> None:
    path = folder / ".hydra" / "overrides.yaml"
    path.write_text(path.read_text() + f"- {json.dumps(f'{key}={chr(34)}{ASSEMBLED}{chr(34)}')}\n")
    one_line(command_line(f"resume={folder}", f"task={task}"))
    one_line(command_line(*longer(folder), f"task={task}"))
    command_line("task=evaluate", f"checkpoint={folder}")
    assert not canary.exists()


def test_what_is_put_together_from_other_keys_is_resumed(train: Train, command_line: CommandLine) -> None:
    folder = train(*SMALL, "epochs=2", "log_every=${batch_size}").folder
    assert command_line(*longer(folder)).code == 0
    assert json.loads((folder / "summary.json").read_text())["config"]["log_every"] == 32


def test_function_that_is_said_again(train: Train, canary: Path, command_line: CommandLine) -> None:
    code = ("scheduler=custom", "function=poison:half")
    folder = train(*SMALL, "epochs=2", *code).folder
    one_line(command_line(*longer(folder)))
    assert command_line(*longer(folder, *code)).code == 0


@pytest.mark.parametrize(
    "planted",
    [
        {"scheduler": "custom", "function": "poison:half", "parameters": None},
        {"scheduler": "product", "parts": [{"scheduler": "custom", "function": "poison:half"}]},
        {"groups": {".*bias": {"scheduler": "custom", "function": "poison:half"}}},
    ],
    ids=["custom", "part", "group"],
)
@pytest.mark.parametrize("place", ["only", "first of two"])
def test_function_in_the_plan(
    planted: dict[str, Any], place: str, folder: Path, canary: Path, command_line: CommandLine
) -> None:
    path = folder / "plan.json"
    segments = json.loads(path.read_text())
    segments = [
        {**segments[0], "config": segments[0]["config"] | planted},
        *([{**segments[0], "policy": "switch", "step": 4}] if place != "only" else []),
    ]
    path.write_text(json.dumps(segments))
    for policy in ("keep", "switch", "append", "stretch"):
        one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={policy}"))
    assert not canary.exists()


GARBAGE = {
    "empty": b"",
    "text": b"not what it should be\n",
    "bytes": bytes(range(256)),
    "null": b"null\n",
    "number": b"7\n",
    "list": b"[]\n",
    "list of numbers": b"[1, 2]\n",
    "list of objects": b"[{}]\n",
    "other types": b'[{"config": 3, "policy": [], "step": "x"}]\n',
    "no keys": b'[{"config": {}, "policy": null, "step": 0}]\n',
    "object": b"{}\n",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_plan_of_garbage(garbage: bytes, folder: Path, command_line: CommandLine) -> None:
    (folder / "plan.json").write_bytes(garbage)
    one_line(command_line(*longer(folder)))
    assert (folder / "plan.json").read_bytes() == garbage


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_overrides_of_garbage(garbage: bytes, folder: Path, command_line: CommandLine) -> None:
    (folder / ".hydra" / "overrides.yaml").write_bytes(garbage)
    resumed = command_line(*longer(folder))
    if resumed.code:  # an empty list of overrides is a list
        one_line(resumed)


@pytest.mark.parametrize("name", ["text", "bytes", "empty", "object"])
def test_table_of_garbage(name: str, folder: Path, command_line: CommandLine) -> None:
    """What cannot be read of the table, the run goes on without, or is refused."""
    (folder / "metrics.csv").write_bytes(GARBAGE[name])
    resumed = command_line(*longer(folder))
    if resumed.code:
        one_line(resumed)
    else:
        assert "Traceback" not in resumed.err


@pytest.mark.parametrize("name", ["text", "bytes", "empty"])
def test_events_of_garbage(name: str, folder: Path, command_line: CommandLine) -> None:
    next(folder.glob("events.out.tfevents.*")).write_bytes(GARBAGE[name])
    resumed = command_line(*longer(folder))
    if resumed.code:
        one_line(resumed)
    else:
        assert "Traceback" not in resumed.err


@pytest.mark.parametrize("name", ["text", "bytes", "empty", "null", "list", "object"])
def test_summary_of_garbage(name: str, folder: Path, command_line: CommandLine) -> None:
    (folder / "summary.json").write_bytes(GARBAGE[name])
    resumed = command_line(f"resume={folder}")
    if resumed.code:
        one_line(resumed)
    else:
        assert "Traceback" not in resumed.err


def replaced(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda checkpoint: checkpoint.clear(),
        lambda checkpoint: checkpoint.pop("state_dict"),
        lambda checkpoint: checkpoint.pop("callbacks"),
        lambda checkpoint: checkpoint["lr_schedulers"].clear(),
        lambda checkpoint: checkpoint["lr_schedulers"][0].update(step="eight"),
        lambda checkpoint: checkpoint["state_dict"].update(extra=torch.zeros(1)),
        lambda checkpoint: checkpoint.update(state_dict={}),
        lambda checkpoint: checkpoint.update(callbacks={"Record": 3}),
        lambda checkpoint: checkpoint.pop("optimizer_states"),
        lambda checkpoint: checkpoint.update(loops=3),
        lambda checkpoint: checkpoint["lr_schedulers"][0].pop("feedback"),
        lambda checkpoint: checkpoint["lr_schedulers"][0].update(step=10**30),
        lambda checkpoint: checkpoint.update({"pytorch-lightning_version": "garbage"}),
        lambda checkpoint: checkpoint.update(random=[]),
        lambda checkpoint: checkpoint["callbacks"].pop("DivergenceGuard"),
    ],
    ids=[
        *("empty", "no weights", "no callbacks", "no position", "text", "more weights", "nothing", "other types"),
        *("no optimizer", "loops", "no feedback", "far beyond", "version", "no random numbers", "no guard"),
    ],
)
def test_checkpoint_of_another_shape(
    change: Callable[[dict[str, Any]], object], folder: Path, command_line: CommandLine
) -> None:
    for path in folder.glob("checkpoints/[lp]*.ckpt"):
        replaced(path, change)
    resumed = command_line(*longer(folder))
    assert resumed.code in (0, REFUSED), resumed.err
    assert "Traceback" not in resumed.err


def test_archive_that_is_no_checkpoint(folder: Path, command_line: CommandLine) -> None:
    for name in ("last", "previous"):
        with zipfile.ZipFile(folder / "checkpoints" / f"{name}.ckpt", "w") as archive:
            archive.writestr("../../escaped", "text")
    one_line(command_line(*longer(folder)))
    assert not list(folder.parent.rglob("escaped"))


@pytest.mark.parametrize("group", ["model", "dataset", "optimizer", "logger"])
@pytest.mark.parametrize("name", ["../x", "os", "", "__init__"])
def test_names_of_parts(group: str, name: str, command_line: CommandLine, tmp_path: Path) -> None:
    one_line(command_line(f"{group}.name='{name}'", "epochs=1"))
    assert list(tmp_path.iterdir()) == []
