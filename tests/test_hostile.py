"""What a run folder holds is data: nothing in it is run, and what cannot be read is refused in one line."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, Result, Train, fork, requested, run_line

import lrtrain
from lrtrain import __main__ as program
from lrtrain.errors import RequestError
from lrtrain.parameters.places import named_code
from lrtrain.plan.history import read_history
from lrtrain.run_folder.summary import read_summary

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
    place = tmp_path_factory.mktemp("finished")
    result = run_line(place, *SMALL, "epochs=2", "hydra.run.dir=run")
    assert result.code == 0, result.err
    return place / "run"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a copy to plant something in."""
    return lambda: Path(shutil.copytree(finished, tmp_path / f"run{len(list(tmp_path.glob('run*')))}"))


@pytest.fixture
def folder(copy: Callable[[], Path]) -> Path:
    """A copy to plant something in."""
    return copy()


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


def test_checkpoint_with_code(copy: Callable[[], Path], command_line: CommandLine, tmp_path: Path) -> None:
    payload = Payload(f"touch {tmp_path / 'run_by_checkpoint'}")
    for place in ("state_dict", "callbacks", "everything"):
        folder = copy()
        for name in ("last", "previous", "best"):
            whole = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True) if name != "best" else {}
            content = payload if place == "everything" else whole | {place: payload}
            torch.save(content, folder / "checkpoints" / f"{name}.ckpt")
        for policy in ("keep", "weights_only"):
            one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={policy}"))
    assert not (tmp_path / "run_by_checkpoint").exists()


def plant(folder: Path, planted: dict[str, Any], *, in_first_of_two: bool = False) -> None:
    """Change what the plan of a run says of its settings."""
    path = folder / "plan.json"
    stored = json.loads(path.read_text())
    [segment] = stored["segments"]
    changed = {**segment, "settings": segment["settings"] | planted}
    stored["segments"] = [changed, {**segment, "policy": "switch", "step": 4}] if in_first_of_two else [changed]
    path.write_text(json.dumps(stored))


OF_HYDRA = (
    b"- +hydra.callbacks.x._target_=poison.Callback\n- hydra.run.dir=elsewhere\n- +hydra.searchpath=[pkg://poison]\n"
)
CODE = b"- scheduler=custom\n- function=poison:half\n"


def test_words_that_a_folder_keeps_are_not_taken(
    copy: Callable[[], Path], canary: Path, command_line: CommandLine, tmp_path: Path
) -> None:
    for words, config in ((OF_HYDRA, CODE), (CODE, OF_HYDRA), (b"", bytes(range(256))), (bytes(range(256)), b"")):
        folder = copy()
        (folder / ".hydra" / "overrides.yaml").write_bytes(words)
        (folder / ".hydra" / "config.yaml").write_bytes(config)
        before = sorted(path.name for path in tmp_path.iterdir())
        resumed = command_line(*longer(folder))
        assert resumed.code == 0, resumed.err
        assert not canary.exists(), (words, config)
        assert sorted(path.name for path in tmp_path.iterdir()) == before, (words, config)


CUSTOM = {"scheduler": "custom", "function": "poison:half", "parameters": None}
PART = {"scheduler": "custom", "function": "poison:half"}
ASSEMBLED = "${oc.decode:'{a:{scheduler:custom,${oc.env:LRTRAIN_NOPE,func}tion:poison:half}}'}"


PLANTED: list[dict[str, Any]] = [
    CUSTOM,
    {"scheduler": "product", "parts": [PART]},
    {"groups": {".*bias": PART}},
    {"hyperparameters": {"weight_decay": {**PART, "high": 1, "low": 0}}},
    {"model": {"name": "custom", "function": "poison:half", "parameters": None}},
    {"optimizer": {"name": "custom", "function": "poison:half", "parameters": None}},
    {"groups": ASSEMBLED},
    {"hyperparameters": ASSEMBLED},
]


def test_function_in_the_plan(copy: Callable[[], Path], canary: Path, command_line: CommandLine) -> None:
    policies = itertools.cycle(("keep", "switch", "append", "stretch", "switch"))
    firsts = itertools.cycle((False, True))
    for planted, in_first_of_two in zip(PLANTED, firsts, strict=False):
        folder = copy()
        plant(folder, planted, in_first_of_two=in_first_of_two)
        one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={next(policies)}"))
        one_line(command_line(f"resume={folder}", "epochs=3", f"resume_plan={next(policies)}", "task=preview"))
        one_line(command_line(f"resume={folder}", "scheduler=linear", "epochs=3", "resume_plan=switch"))
        command_line("task=evaluate", f"checkpoint={folder}")
        assert not canary.exists(), planted


NO_NAMES = ["../x", "os", "", "__init__", "cosine,step", "${oc.env:HOME}", "cosine hydra.run.dir=x"]


def test_choice_in_the_plan(folder: Path, command_line: CommandLine) -> None:
    before = (folder / "plan.json").read_bytes()
    groups = itertools.cycle(("scheduler", "feedback", "model", "optimizer"))
    for name in (*NO_NAMES, *NO_NAMES):
        group = next(groups)
        (folder / "plan.json").write_bytes(before)
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


def test_plan_of_garbage(folder: Path, command_line: CommandLine) -> None:
    for what, garbage in GARBAGE.items():
        (folder / "plan.json").write_bytes(garbage)
        one_line(command_line(*longer(folder)))
        assert (folder / "plan.json").read_bytes() == garbage, what


def test_table_and_events_of_garbage(copy: Callable[[], Path], command_line: CommandLine) -> None:
    """What cannot be read of them, the run goes on without."""
    for table, events in (("text", "bytes"), ("bytes", "empty"), ("empty", "text"), ("object", "text")):
        folder = copy()
        (folder / "metrics.csv").write_bytes(GARBAGE[table])
        next(folder.glob("events.out.tfevents.*")).write_bytes(GARBAGE[events])
        resumed = command_line(*longer(folder))
        assert (resumed.code, resumed.err) == (0, ""), (table, events)


def test_summary_of_garbage(folder: Path, command_line: CommandLine) -> None:
    """It is written again."""
    for what in ("text", "bytes", "empty", "null", "list", "object"):
        (folder / "summary.json").write_bytes(GARBAGE[what])
        resumed = command_line(f"resume={folder}")
        assert (resumed.code, resumed.err) == (0, ""), what
        assert json.loads((folder / "summary.json").read_text())["status"] == "finished", what


def in_time(*words: str, cwd: Path) -> Result:
    """The command line in its own process, which a pipe must not hold up."""
    process = fork(program.main, cwd, "lrtrain", *words)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Result(process.returncode, out, err)


def test_pipes_are_not_waited_for(folder: Path, tmp_path: Path) -> None:
    """The run goes on beside what is no log of ours; what it has to write or to read is refused."""
    for name in ("lrtrain.log", "events.out.tfevents.1"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    resumed = in_time(*longer(folder), cwd=tmp_path)
    assert (resumed.code, resumed.err) == (0, "")
    for name in ("metrics.csv", "summary.json", "plan.json"):
        kept = (folder / name).rename(tmp_path / name)
        os.mkfifo(folder / name)
        one_line(in_time(f"resume={folder}", "epochs=4", "resume_plan=keep", cwd=tmp_path))
        kept.replace(folder / name)


def test_nothing_is_written_through_links(folder: Path, command_line: CommandLine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("metrics.csv", "summary.json", "plan.json", "lrtrain.log", "events.out.tfevents.1"):
        content = (folder / name).read_bytes() if (folder / name).exists() else b"{}"
        (folder / name).unlink(missing_ok=True)
        (outside / name).write_bytes(content)
        (folder / name).symlink_to(outside / name)
    (folder / f".summary.json.{os.getpid()}").symlink_to(outside / "planted")
    before = {path: path.read_bytes() for path in outside.iterdir()}
    assert command_line(*longer(folder)).code == 0
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    shutil.move(folder / ".hydra", outside / "hydra")
    (folder / ".hydra").symlink_to(outside / "hydra")
    asked = sorted(path.name for path in (outside / "hydra").iterdir())
    one_line(command_line(f"resume={folder}", "epochs=4", "resume_plan=keep"))
    assert sorted(path.name for path in (outside / "hydra").iterdir()) == asked


def test_a_folder_without_what_was_asked_for_goes_on(folder: Path, command_line: CommandLine) -> None:
    shutil.rmtree(folder / ".hydra")
    assert command_line(*longer(folder)).code == 0


def test_files_that_are_too_large_are_not_read(folder: Path, command_line: CommandLine) -> None:
    for name in ("summary.json", "plan.json"):
        with (folder / name).open("ab") as file:
            file.truncate(2**42)  # takes no room on the disk, and finds none in memory
    with pytest.raises(RequestError, match="too large"):
        read_summary(folder / "summary.json")
    assert [row["status"] for row in lrtrain.runs(folder.parent) if row["folder"] == str(folder)] == ["interrupted"]
    one_line(command_line(*longer(folder)))


@pytest.mark.parametrize("format_", [0, -1, -(10**30), 10**30, True, "1", None, [2]])
def test_summary_of_an_odd_format(format_: Any, folder: Path, command_line: CommandLine) -> None:
    summary = json.loads((folder / "summary.json").read_text()) | {"format": format_}
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RequestError):
        read_summary(folder / "summary.json")


def test_plan_of_odd_values(folder: Path) -> None:
    """Each value of the plan, in turn, of each other kind: read, or refused in one line."""
    path = folder / "plan.json"
    [segment] = json.loads(path.read_text())["segments"]
    odd: tuple[Any, ...] = (None, -1, 10**400, "", "${x}", "../../x", [[]], {"name": []}, {"function": "poison:half"})
    for key in segment["settings"]:
        for value in odd:
            plant(folder, {key: value})
            with suppress(RequestError):
                read_history(path)
            if value in odd[6:8] and key in ("scheduler", "feedback", "model", "optimizer", "logger", "trainer"):
                with suppress(RequestError):
                    requested(*longer(folder, "optimizer=sgd"))
            path.write_text(json.dumps({"format": 2, "segments": [segment]}))


def test_only_a_place_is_code(folder: Path, command_line: CommandLine) -> None:
    """A group of the name `function`, and a folder with that word and a colon in its name."""
    assert named_code({"groups": {"function": 0.5, "x": {"function": "my:place"}}}) == {"my:place"}
    moved = folder.rename(folder.with_name("function=my:place"))
    assert command_line(*longer(moved)).code == 0


def test_words_that_only_hold_the_place_of_code_do_not_confirm_it(folder: Path, command_line: CommandLine) -> None:
    words = ("groups={weight:0.5}", "hyperparameters={weight_decay:{scheduler:cosine,high:1,low:0}}")
    plant(folder, {**CUSTOM, "function": "scheduler:cosine"})
    one_line(command_line(*longer(folder, *words)))


def replaced(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "empty": lambda checkpoint: checkpoint.clear(),
    "no weights": lambda checkpoint: checkpoint.pop("state_dict"),
    "no callbacks": lambda checkpoint: checkpoint.pop("callbacks"),
    "no position": lambda checkpoint: checkpoint["lr_schedulers"].clear(),
    "text": lambda checkpoint: checkpoint["lr_schedulers"][0].update(step="eight"),
    "more weights": lambda checkpoint: checkpoint["state_dict"].update(extra=torch.zeros(1)),
    "nothing": lambda checkpoint: checkpoint.update(state_dict={}),
    "other types": lambda checkpoint: checkpoint.update(callbacks={"Record": 3}),
    "no optimizer": lambda checkpoint: checkpoint.pop("optimizer_states"),
    "loops": lambda checkpoint: checkpoint.update(loops=3),
    "no feedback": lambda checkpoint: checkpoint["lr_schedulers"][0].pop("feedback"),
    "far beyond": lambda checkpoint: checkpoint["lr_schedulers"][0].update(step=10**30),
    "version": lambda checkpoint: checkpoint.update({"pytorch-lightning_version": "garbage"}),
    "no random numbers": lambda checkpoint: checkpoint.update(random=[]),
}


def test_checkpoint_of_another_shape_is_refused(copy: Callable[[], Path], command_line: CommandLine) -> None:
    for what, change in CHANGES.items():
        folder = copy()
        for path in folder.glob("checkpoints/[lp]*.ckpt"):
            replaced(path, change)
        resumed = command_line(*longer(folder))
        assert resumed.code == REFUSED, f"{what}: {resumed.err}"
        assert len(resumed.err.splitlines()) == 1, f"{what}: {resumed.err}"


def test_checkpoint_without_a_callback_goes_on(folder: Path, command_line: CommandLine) -> None:
    """As one from before there was that callback."""
    for path in folder.glob("checkpoints/[lp]*.ckpt"):
        replaced(path, lambda checkpoint: checkpoint["callbacks"].pop("DivergenceGuard"))
    resumed = command_line(*longer(folder))
    assert resumed.code == 0, resumed.err


def test_archive_that_is_no_checkpoint(folder: Path, command_line: CommandLine) -> None:
    for name in ("last", "previous"):
        with zipfile.ZipFile(folder / "checkpoints" / f"{name}.ckpt", "w") as archive:
            archive.writestr("../../escaped", "text")
    one_line(command_line(*longer(folder)))
    assert not list(folder.parent.rglob("escaped"))


def test_names_of_parts(command_line: CommandLine, tmp_path: Path) -> None:
    for group, name in itertools.product(("model", "dataset", "optimizer", "logger"), ("../x", "os", "", "__init__")):
        one_line(command_line(f"{group}.name='{name}'", "epochs=1"))
        assert list(tmp_path.iterdir()) == [], (group, name)


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
