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


def plant(folder: Path, planted: dict[str, Any], *, in_first_of_two: bool = False) -> None:
    """Change what the plan of a run says of its settings."""
    path = folder / "plan.json"
    stored = json.loads(path.read_text())
    [segment] = stored["segments"]
    changed = {**segment, "settings": segment["settings"] | planted}
    stored["segments"] = [changed, {**segment, "policy": "switch", "step": 4}] if in_first_of_two else [changed]
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    "words",
    [
        b"- +hydra.callbacks.x._target_=poison.Callback\n- hydra.run.dir=elsewhere\n- +hydra.searchpath=[pkg://poison]\n",
        b"- scheduler=custom\n- function=poison:half\n",
        b"",
        bytes(range(256)),
    ],
    ids=["of hydra", "code", "empty", "bytes"],
)
def test_words_that_a_folder_keeps_are_not_taken(
    words: bytes, folder: Path, canary: Path, command_line: CommandLine, tmp_path: Path
) -> None:
    (folder / ".hydra" / "overrides.yaml").write_bytes(words)
    (folder / ".hydra" / "config.yaml").write_bytes(words)
    before = sorted(path.name for path in tmp_path.iterdir())
    resumed = command_line(*longer(folder))
    assert resumed.code == 0, resumed.err
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


CUSTOM = {"scheduler": "custom", "function": "poison:half", "parameters": None}
PART = {"scheduler": "custom", "function": "poison:half"}
ASSEMBLED = "${oc.decode:'{a:{scheduler:custom,${oc.env:LRTRAIN_NOPE,func}tion:poison:half}}'}"


@pytest.mark.parametrize(
    "planted",
    [
        CUSTOM,
        {"scheduler": "product", "parts": [PART]},
        {"groups": {".*bias": PART}},
        {"hyperparameters": {"weight_decay": {**PART, "high": 1, "low": 0}}},
        {"model": {"name": "custom", "function": "poison:half", "parameters": None}},
        {"optimizer": {"name": "custom", "function": "poison:half", "parameters": None}},
        {"groups": ASSEMBLED},
        {"hyperparameters": ASSEMBLED},
    ],
    ids=["custom", "part", "group", "hyperparameter", "model", "optimizer", "assembled group", "assembled"],
)
@pytest.mark.parametrize("in_first_of_two", [False, True], ids=["only", "first of two"])
def test_function_in_the_plan(
    planted: dict[str, Any], in_first_of_two: bool, folder: Path, canary: Path, command_line: CommandLine
) -> None:
    plant(folder, planted, in_first_of_two=in_first_of_two)
    for policy in ("keep", "switch", "append", "stretch"):
        one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={policy}"))
        one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={policy}", "task=preview"))
    one_line(command_line(f"resume={folder}", "scheduler=linear", "epochs=3", "resume_plan=switch"))
    command_line("task=evaluate", f"checkpoint={folder}")
    assert not canary.exists()


@pytest.mark.parametrize(
    "name", ["../x", "os", "", "__init__", "cosine,step", "${oc.env:HOME}", "cosine hydra.run.dir=x"]
)
@pytest.mark.parametrize("group", ["scheduler", "feedback", "model", "optimizer"])
def test_choice_in_the_plan(name: str, group: str, folder: Path, command_line: CommandLine) -> None:
    plant(folder, {group: name if group in ("scheduler", "feedback") else {"name": name}})
    one_line(command_line(*longer(folder)))
    assert not (folder.parent / "x").exists()


def test_what_is_put_together_from_other_keys_is_resumed(train: Train, command_line: CommandLine) -> None:
    folder = train(*SMALL, "epochs=2", "log_every=${batch_size}").folder
    assert command_line(*longer(folder)).code == 0
    assert json.loads((folder / "summary.json").read_text())["config"]["log_every"] == 32


def test_function_that_is_said_again(train: Train, canary: Path, command_line: CommandLine) -> None:
    code = ("scheduler=custom", "function=poison:half")
    folder = train(*SMALL, "epochs=2", *code).folder
    one_line(command_line(*longer(folder)))
    assert command_line(*longer(folder, *code)).code == 0


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
    "no segments": b'{"format": 2, "segments": []}\n',
    "negative": b'{"format": 2, "segments": [{"settings": {}, "steps_per_epoch": 4, "policy": null, "step": -5}]}\n',
    "policy": b'{"format": 2, "segments": [{"settings": {}, "steps_per_epoch": 4, "policy": "x", "step": 0}]}\n',
    "empty settings": b'{"format": 2, "segments": [{"settings": {}, "steps_per_epoch": 4, "step": 0}]}\n',
    "object": b"{}\n",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_plan_of_garbage(garbage: bytes, folder: Path, command_line: CommandLine) -> None:
    (folder / "plan.json").write_bytes(garbage)
    one_line(command_line(*longer(folder)))
    assert (folder / "plan.json").read_bytes() == garbage


@pytest.mark.parametrize("name", ["text", "bytes", "empty", "object"])
def test_table_of_garbage(name: str, folder: Path, command_line: CommandLine) -> None:
    """What cannot be read of the table, the run goes on without."""
    (folder / "metrics.csv").write_bytes(GARBAGE[name])
    resumed = command_line(*longer(folder))
    assert (resumed.code, resumed.err) == (0, "")


@pytest.mark.parametrize("name", ["text", "bytes", "empty"])
def test_events_of_garbage(name: str, folder: Path, command_line: CommandLine) -> None:
    next(folder.glob("events.out.tfevents.*")).write_bytes(GARBAGE[name])
    resumed = command_line(*longer(folder))
    assert (resumed.code, resumed.err) == (0, "")


@pytest.mark.parametrize("name", ["text", "bytes", "empty", "null", "list", "object"])
def test_summary_of_garbage(name: str, folder: Path, command_line: CommandLine) -> None:
    (folder / "summary.json").write_bytes(GARBAGE[name])
    resumed = command_line(f"resume={folder}")
    assert (resumed.code, resumed.err) == (0, "")


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


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what both checkpoints of a run hold."""
    for path in (folder / "checkpoints").glob("[lp]*.ckpt"):
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)


def moments(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["optimizer_states"][0]["state"][0]
    return found


EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "moments of another shape": (
        lambda content: moments(content).update(momentum_buffer=torch.zeros(10, 3)),
        "momentum_buffer is of shape (10, 3), for parameters of shape (10, 64)",
    ),
    "flat moments": (lambda content: moments(content).update(momentum_buffer=torch.zeros(3)), "of shape (3,)"),
    "moments that are a word": (lambda content: moments(content).update(momentum_buffer="x"), "is 'x', for"),
    "a setting that is a word": (
        lambda content: content["optimizer_states"][0]["param_groups"][0].update(momentum="x"),
        "has momentum='x', and the run 0.9",
    ),
    "less than no update": (lambda content: content["lr_schedulers"][0].update(step=-5), "last.ckpt: its step is -5"),
    "no random numbers": (lambda content: content.pop("random"), "last.ckpt: it has no random"),
    "random numbers of no device": (lambda content: content["random"].clear(), "it has no random"),
    "random numbers that are none": (
        lambda content: content["random"].__setitem__(0, {"torch": 1, "python": [3, [1], None]}),
        "is not a valid lrtrain checkpoint",
    ),
    "no loops": (lambda content: content.pop("loops"), "it has no loops"),
    "a record that is a word": (lambda content: content["callbacks"].update(Record="x"), "is not a valid lrtrain"),
}


@pytest.mark.parametrize(("change", "said"), EDITS.values(), ids=EDITS.keys())
def test_edited_checkpoint(
    change: Callable[[dict[str, Any]], Any], said: str, folder: Path, command_line: CommandLine
) -> None:
    edit(folder, change)
    result = command_line(*longer(folder))
    one_line(result)
    assert said in result.err


def test_links_are_replaced_and_not_followed(folder: Path, command_line: CommandLine, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.write_text("mine")
    for name in ("checkpoints/.last.ckpt", "checkpoints/.best.ckpt", "lrtrain.log", "events.out.tfevents.1.x"):
        (folder / name).symlink_to(outside)
    assert command_line(*longer(folder)).code == 0
    assert outside.read_text() == "mine"
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["lr_schedulers"][0]["step"] == 12


@pytest.mark.parametrize(
    ("name", "code"), [("events.out.tfevents.1.x", 0), ("lrtrain.log", 0), ("metrics.csv", 2), ("plan.json", 2)]
)
def test_pipe_is_not_waited_for(name: str, code: int, folder: Path, command_line: CommandLine) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    result = command_line(*longer(folder))
    assert result.code == code, result.err
    assert (str(folder / name) in result.err) == bool(code)
