"""What the machine does to a run ends it in one clear line, with all that was saved intact, and the run goes on."""

from __future__ import annotations

import atexit
import io
import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, CommandLine, Result, Train, fork
from resuming import SHORT, Stop, assert_equal, checkpoint

from lrtrain.cli.main import main
from lrtrain.errors import FaultError, InterruptedRunError
from lrtrain.process import signals
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.log import RunLog
from lrtrain.training.checkpoints import FileInPlace
from lrtrain.training.faults import explained
from lrtrain.training.module import Supervised
from lrtrain.training.saved import sound_checkpoint

FAILED, REFUSED = 1, 2
ASKED = (*SMALL, "epochs=3", "checkpoint_every=3st", "trainer.enable_progress_bar=false")


def run_out_of_room(folder: Path, pattern: str, room: int) -> int:
    """The command line, where from the fifth step on files grow no larger than one that matches, and some bytes."""
    import resource

    seen, training_step = [0], Supervised.training_step

    def limited(module: Supervised, batch: Any, batch_idx: int) -> Any:
        seen[0] += 1
        if seen[0] == 5:
            size = max(path.stat().st_size for path in folder.glob(pattern))
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
        return training_step(module, batch, batch_idx)

    Supervised.training_step = limited  # type: ignore[method-assign, assignment]
    return main()


def one_line(result: Result, *parts: str) -> None:
    assert len(result.err.splitlines()) == 1, result.err
    assert all(part in result.err for part in parts), result.err


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize(
    ("pattern", "room", "has_summary"),
    [("checkpoints/last.ckpt", -100, True), ("metrics.csv", 10, False), ("events*", 10, False)],
    ids=["checkpoint", "table", "events"],
)
def test_disk_full(
    pattern: str, room: int, has_summary: bool, trained: Train, command_line: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    # A hidden layer makes the checkpoint larger than all other files.
    asked = (*ASKED, "model=mlp", "model.hidden=[16]")
    act = partial(run_out_of_room, folder, pattern, room)
    process = fork(act, tmp_path, "lrtrain", *asked, f"hydra.run.dir={folder}")
    out, err = process.communicate(timeout=300)
    result = Result(process.returncode, out, err)
    assert result.code == FAILED, result.err
    one_line(result, "File too large", f"resume={folder}")
    assert [path.name for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")] == []
    assert checkpoint(folder)["lr_schedulers"][0]["step"] in (3, 6)
    assert (folder / "summary.json").exists() == has_summary, "in the other cases it has no room either"
    if has_summary:
        assert json.loads((folder / "summary.json").read_text())["status"] == "failed"
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert_equal(folder, trained(*asked).folder)


def killed_at(number: int) -> int:
    """The command line, killed as the file of a checkpoint gets another name for that time."""
    seen, replace = [0], Path.replace

    def counted(path: Path, target: Path) -> Path:
        seen[0] += path.suffix == ".ckpt"
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    Path.replace = counted  # type: ignore[method-assign, assignment]
    return main()


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_killed_runs_go_on_as_if_left_alone(trained: Train, command_line: CommandLine, tmp_path: Path) -> None:
    """Whichever files had their names by then; scripts/kill_and_resume.py kills at random moments."""
    expected = trained(*ASKED).folder
    for number in range(4, 9):
        folder = tmp_path / f"killed{number}"
        process = fork(partial(killed_at, number), tmp_path, "lrtrain", *ASKED, f"hydra.run.dir={folder}")
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        resumed = command_line(f"resume={folder}")
        assert resumed.code == 0, resumed.err
        assert_equal(folder, expected)


def test_no_room_even_for_the_summary(
    train: Train, trained: Train, monkeypatch: pytest.MonkeyPatch, command_line: CommandLine
) -> None:
    """Every write fails from a checkpoint on; what had been written before is what the run goes on from."""
    save, full = FileInPlace.save_checkpoint, [False]

    def fills_up(files: FileInPlace, data: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        save(files, data, path)
        full[0] = data["lr_schedulers"][0]["step"] == 6
        os.fsync(0)

    def fsync(file: int) -> None:
        if full[0]:
            raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        patched.setattr(FileInPlace, "save_checkpoint", fills_up)
        run = train(*ASKED, code=FAILED)
    one_line(run.result, "No space left on device", "resume=")
    assert not (run.folder / "summary.json").exists()
    assert sorted(path.name for path in (run.folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert checkpoint(run.folder)["lr_schedulers"][0]["step"] == 3
    assert command_line(f"resume={run.folder}").code == 0
    assert_equal(run.folder, trained(*ASKED).folder)


def test_folder_that_cannot_be_made(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    result = command_line(*ASKED)
    assert result.code == REFUSED
    one_line(result, "outputs", "hydra.run.dir=")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_folder_that_cannot_be_written(command_line: CommandLine, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("lrtrain.run_folder.claim._LockFile.write_over", refuse)
    result = command_line(*ASKED)
    assert result.code == REFUSED
    one_line(result, "Read-only file system", "hydra.run.dir=")
    assert list(tmp_path.iterdir()) == []


def test_plan_that_cannot_be_written(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run" / "plan.json").mkdir(parents=True)
    (tmp_path / "run" / "plan.json" / "precious").write_text("")
    result = command_line(*ASKED, "hydra.run.dir=run")
    assert result.code == REFUSED
    one_line(result, "plan.json is not a file: remove it")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "run/plan.json/precious"
    ]


def test_checkpoints_that_cannot_be_written(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("a file")
    result = command_line(*ASKED, "hydra.run.dir=run")
    assert result.code == FAILED
    one_line(result, "run/checkpoints", "start over")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


def test_a_refused_request_leaves_the_files_of_others(command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("")
    result = command_line("model=cnn", "model.channels=[8,8,8,8]", "trainer=cpu", "hydra.run.dir=run")
    assert result.code == REFUSED
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["run", "run/precious"]


def lose_a_worker(module: Supervised) -> None:
    pid = multiprocessing.active_children()[0].pid
    assert pid
    os.kill(pid, signal.SIGKILL)


def exhaust_python(module: Supervised) -> None:
    bytearray(1 << 60)


def exhaust_torch(module: Supervised) -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def exhaust_a_device(module: Supervised) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")


MEMORY = ("out of memory", "fewer workers", "smaller batch_size")


@pytest.mark.parametrize(
    ("act", "parts"),
    [
        (lose_a_worker, ("a loader worker was lost", "fewer workers")),
        (exhaust_python, MEMORY),
        (exhaust_torch, (*MEMORY, "1152921504606846976 bytes")),
        (exhaust_a_device, (*MEMORY, "2.00 GiB")),
    ],
)
def test_worker_or_memory_lost(
    act: Callable[[Any], None],
    parts: tuple[str, ...],
    command_line: CommandLine,
    train: Train,
    trained: Train,
    stop: Stop,
) -> None:
    asked = (*SHORT, "model=linear", "workers=2", "checkpoint_every=3st")
    stop(11, act)
    run = train(*asked, code=FAILED)
    stop.over()
    one_line(run.result, f"resume={run.folder}", *parts)
    assert run.summary["status"] == "failed"
    # What the other worker had ready may still be trained on.
    kept = sound_checkpoint(RunFolder(run.folder)).step
    assert kept in ((9, 12, 15) if act is lose_a_worker else (9,))
    resumed = command_line(f"resume={run.folder}", "workers=0")
    assert resumed.code == 0, resumed.err
    assert_equal(run.folder, trained(*asked, "workers=0").folder)


def test_memory_lost_before_there_is_anything(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrtrain.training.session.build_data", lambda *_: bytearray(1 << 60))
    result = command_line(*ASKED)
    assert result.code == REFUSED
    one_line(result, "out of memory")
    assert list(tmp_path.iterdir()) == []


def test_worker_lost_while_it_hands_over_a_batch(tmp_path: Path) -> None:
    receiver, sender = multiprocessing.Pipe()
    sender.close()
    with pytest.raises(EOFError) as lost:
        receiver.recv()
    receiver.close()
    assert "a loader worker was lost" in str(explained(lost.value, RunFolder(tmp_path)))
    own = EOFError("of the user's own code")
    assert explained(own, RunFolder(tmp_path)) is own


def test_worker_lost_to_the_signal_that_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")
    assert isinstance(explained(lost, RunFolder(tmp_path)), FaultError)
    monkeypatch.setattr(signals, "received", signal.SIGTERM)
    interruption = explained(lost, RunFolder(tmp_path))
    assert isinstance(interruption, InterruptedRunError)
    assert interruption.signum == signal.SIGTERM


def test_fault_between_the_names_of_two_checkpoints(trained: Train) -> None:
    """The last one had become the one before, and the new one was not there yet."""
    folder = RunFolder(trained(*ASKED).folder)
    folder.last_checkpoint.replace(folder.previous_checkpoint)
    lost = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    for error in (lost, MemoryError(), OSError(28, "No space left on device")):
        assert f"continue with resume={folder.path}" in str(explained(error, folder))


def test_log_of_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of a run has removed it."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log = RunLog(tmp_path / "gone" / "run.log", delay=True)
    log.emit(logging.makeLogRecord({"msg": "too late"}))
    assert list(tmp_path.iterdir()) == []


def test_rollback_goes_further_back_than_weights_that_have_exploded(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of update 7 are saved, and then no rate is of use: the run goes on from update 6."""
    calls, original = [0], Supervised.training_step

    def training_step(module: Supervised, batch: Any, batch_idx: int) -> Any:
        calls[0] += 1
        if calls[0] != 7:
            return original(module, batch, batch_idx)
        for parameter in module.parameters():
            parameter.data.mul_(1e7)
        return original(module, batch, batch_idx) * 0

    monkeypatch.setattr(Supervised, "training_step", training_step)
    run = train(*SMALL, "epochs=3", "checkpoint_every=1st", "optimizer.momentum=0", "on_nonfinite=rollback", "lr=0.1")
    assert run.summary["status"] == "finished"
    assert "last.ckpt is of no use at a lower rate either" in run.result.out
    assert list(run.series("lr").values()) == [0.1] * 6 + [0.025] * 6


def limited_to(files: int) -> int:
    """The command line, with fewer files than it needs, as a program of its own would end."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    try:
        return main()
    finally:
        atexit._run_exitfuncs()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
@pytest.mark.parametrize(
    "files", [12, 15, 22], ids=["before the first worker", "before the second worker", "for the batches"]
)
def test_too_few_files_for_workers(files: int, tmp_path: Path) -> None:
    """The workers that could be started heed no signal, and do not keep the command from ending."""
    words = (*SMALL, "epochs=3", "workers=2", f"hydra.run.dir={tmp_path / 'run'}")
    process = fork(partial(limited_to, files), tmp_path, "lrtrain", *words)
    _, err = process.communicate(timeout=300)
    assert process.returncode == FAILED, err
    assert "raise the limit by ulimit -n" in err.splitlines()[-1]


NO_ROOM = "cannot write what is to be printed (No space left on device)"


def write_to_full_disk(at_once: bool) -> int:
    """The command line, whose output is a full disk; written to without a buffer as under `python -u`, or not."""
    full = io.FileIO("/dev/full", "w")
    sys.stdout = io.TextIOWrapper(full if at_once else io.BufferedWriter(full), write_through=at_once)
    return main()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "as it ends"])
def test_output_that_cannot_be_written(at_once: bool, tmp_path: Path) -> None:
    process = fork(partial(write_to_full_disk, at_once), tmp_path, "lrtrain", *SMALL, "epochs=1", "hydra.run.dir=run")
    _, err = process.communicate(timeout=300)
    assert process.returncode == FAILED
    if not at_once:
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"
    one_line(Result(FAILED, "", err), NO_ROOM)
