"""One writer a folder: who holds it, what is left by whoever was killed, and what others put where the lock goes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lrtrain.errors import RequestError
from lrtrain.run_folder import claim as module
from lrtrain.run_folder.claim import Claim, began_without_end, is_live

TAKE = "import os, sys; from pathlib import Path; from lrtrain.run_folder.claim import Claim; "
HOLD = TAKE + "claim = Claim.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read(); claim.ended()"
FORK = (
    TAKE
    + """
import time
claim = Claim.take(Path(sys.argv[1]))
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(600)
"""
)
Start = Callable[[str, Path], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Run Python in its own process until the test ends; it has said a line when this returns."""
    started = []

    def run(code: str, folder: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def die_holding(folder: Path) -> int:
    """Claim a folder in a process that ends at once without an end; its number."""
    code = TAKE + "Claim.take(Path(sys.argv[1])); print(os.getpid(), flush=True); os._exit(9)"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 9
    return int(done.stdout)


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / ".lock").read_text())  # type: ignore[no-any-return]


@contextmanager
def claimed(folder: Path, **options: Any) -> Iterator[Claim]:
    """A claim until its end."""
    claim = Claim.take(folder, **options)
    try:
        yield claim
    finally:
        claim.ended()


def refuse(folder: Path, **options: Any) -> str:
    """What a claim that is refused says, which is one line."""
    with pytest.raises(RequestError) as caught:
        Claim.take(folder, patience=0, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_second_process_is_refused_until_the_first_has_ended(folder: Path, start: Start) -> None:
    first = start(HOLD, folder)
    assert said(first) == "held"
    before = (folder / ".lock").read_bytes()
    assert f"as process {first.pid} on {socket.gethostname()};" in refuse(folder)
    assert (folder / ".lock").read_bytes() == before
    assert is_live(folder)
    assert not began_without_end(folder)
    first.communicate()
    assert not is_live(folder)
    assert not began_without_end(folder)
    with claimed(folder) as claim:
        assert claim.attempt == 1


def test_one_process_cannot_claim_twice_from_any_thread(folder: Path) -> None:
    with claimed(folder):
        refuse(folder)
    claims: list[Claim] = []
    thread = threading.Thread(target=lambda: claims.append(Claim.take(folder)))
    thread.start()
    thread.join()
    refuse(folder)
    claims[0].ended()
    Claim.take(folder).ended()


def test_what_a_killed_run_held_is_free_while_its_workers_live(folder: Path, start: Start) -> None:
    run = start(FORK, folder)
    worker = int(said(run))
    try:
        assert is_live(folder)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not is_live(folder)
        assert began_without_end(folder)
        with claimed(folder, patience=0) as claim:
            assert claim.attempt == 2
        os.kill(worker, 0)  # raises where it is gone
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_forked_child_neither_has_the_claim_nor_can_lose_it(folder: Path) -> None:
    claim = Claim.take(folder)
    before = record(folder)
    child = os.fork()
    if not child:
        try:
            claim.ended()
            claim.abandon()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert record(folder) == before
    refuse(folder)
    claim.ended()
    assert record(folder)["ended"]


def test_a_claim_waits_for_whoever_holds_it_for_a_moment(folder: Path) -> None:
    first = Claim.take(folder)
    taken: list[Claim] = []
    thread = threading.Thread(target=lambda: taken.append(Claim.take(folder, patience=60)))
    thread.start()
    first.ended()
    thread.join()
    assert is_live(folder)
    taken[0].ended()


def test_attempts_count_the_claims_without_an_end(folder: Path) -> None:
    die_holding(folder)
    die_holding(folder)
    for _ in range(2):  # the second follows an end
        with claimed(folder) as claim:
            assert claim.attempt == record(folder)["attempt"] == 3


def test_the_record_says_who_and_since_when(folder: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with claimed(folder) as claim:
        written = record(folder)
        assert claim.path == folder
        assert (written["pid"], written["host"], written["ended"]) == (os.getpid(), socket.gethostname(), None)
        began = datetime.fromisoformat(written["began"])
        assert before <= began <= datetime.now(UTC)
        words = refuse(folder)
    assert f"since {began.astimezone():%H:%M} as process {os.getpid()} on {socket.gethostname()};" in words
    ended = record(folder)
    assert datetime.fromisoformat(ended.pop("ended")) >= began
    assert ended == {key: value for key, value in written.items() if key != "ended"}
    claim.ended()
    assert datetime.fromisoformat(record(folder)["ended"]) >= began


def test_an_error_is_an_end(folder: Path) -> None:
    with pytest.raises(KeyError), claimed(folder):
        raise KeyError
    assert record(folder)["ended"]
    assert not is_live(folder)


def test_an_abandoned_claim_leaves_nothing(tmp_path: Path) -> None:
    with claimed(tmp_path / "outputs" / "day" / "run") as claim:
        claim.abandon()
    claim.abandon()
    assert not list(tmp_path.iterdir())


def test_an_abandoned_claim_leaves_what_others_put_there(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "run"
    (tmp_path / "outputs").mkdir()
    Claim.take(folder).abandon()
    assert not list((tmp_path / "outputs").iterdir())
    claim = Claim.take(folder)
    (folder / "notes").touch()
    claim.abandon()
    assert [path.name for path in folder.iterdir()] == ["notes"]


@pytest.mark.parametrize("former", ["", "mine", None], ids=["empty", "of another", "a record"])
def test_an_abandoned_claim_gives_back_the_file_that_was_there(folder: Path, former: str | None) -> None:
    folder.mkdir()
    if former is None:
        die_holding(folder)
    else:
        (folder / ".lock").write_text(former)
    before, killed = (folder / ".lock").read_bytes(), began_without_end(folder)
    Claim.take(folder).abandon()
    assert (folder / ".lock").read_bytes() == before
    assert began_without_end(folder) is killed is (former is None)


def test_a_refused_claim_leaves_the_holder_alone(folder: Path) -> None:
    claim = Claim.take(folder)
    refuse(folder)
    assert is_live(folder)
    claim.abandon()
    assert not folder.exists()


def before_locking(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something once, between the opening of the next lock file and its locking."""
    flock, acts = fcntl.flock, [act]

    def act_and_lock(file: Any, how: int) -> None:
        if acts:
            acts.pop()()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", act_and_lock)


def test_who_locks_an_abandoned_file_takes_the_new_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_locking(monkeypatch, Claim.take(folder).abandon)
    with claimed(folder) as claim:
        refuse(folder)  # two that hold two files of one name would both be let in
        assert claim.attempt == record(folder)["attempt"] == 1


def test_who_is_overtaken_does_not_remove_what_the_other_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_locking(monkeypatch, lambda: Claim.take(folder).ended())
    Claim.take(folder).abandon()
    assert record(folder)["ended"]


def test_a_folder_that_is_removed_meanwhile_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir, lost = Path.mkdir, [folder]

    def make_and_lose(path: Path, **options: Any) -> None:
        mkdir(path, **options)
        if lost:
            lost.pop().rmdir()

    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    with claimed(folder):
        assert is_live(folder)


def test_a_link_is_refused_and_its_file_untouched(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (tmp_path / "precious").write_text("precious")
    for link in (Path.symlink_to, Path.hardlink_to):
        link(folder / ".lock", tmp_path / "precious")
        assert str(folder / ".lock") in refuse(folder)
        assert not is_live(folder)
        assert (tmp_path / "precious").read_text() == "precious"
        assert (folder / ".lock").read_text() == "precious"
        (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(tmp_path / "missing")
    refuse(folder)
    assert not (tmp_path / "missing").exists()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, make_socket])
def test_what_is_no_file_is_refused(
    folder: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    monkeypatch.chdir(folder)  # a socket's path is short
    make(Path(".lock"))
    assert str(folder / ".lock") in refuse(folder)
    assert not is_live(folder)
    assert not began_without_end(folder)
    assert os.path.lexists(folder / ".lock")


LINE = '{"pid": 1, "attempt": 2, "host": "h", "began": "%s", "ended": null}'
GARBAGE = {
    "bytes": b"\xff\xfe\x00\x01",
    "list": b"[1]",
    "nested": b"[" * 100_000,
    "keys": b'{"pid": 1}',
    "time": (LINE % "9999-12-31T23:59:59-23:59").encode(),
    "number": (LINE % "2026-01-01").replace(" 1,", " 1e400,").encode(),
    "lines": (LINE % "2026-01-01").replace('"h"', r'"h\nh"').encode(),
    "10 MB": b" " * 10_000_000,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_record(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / ".lock").write_bytes(content)
    assert not is_live(folder)
    assert not began_without_end(folder)
    with (folder / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_live(folder)
        assert "is in use: running as an unknown process;" in refuse(folder)
    with claimed(folder) as claim:
        assert claim.attempt == record(folder)["attempt"] == 1
    assert (folder / ".lock").stat().st_size < 4096


def test_no_more_is_read_than_a_record_may_have(folder: Path) -> None:
    folder.mkdir()
    with (folder / ".lock").open("wb") as file:
        file.truncate(2**42)  # takes no room on the disk, and finds none in memory
    assert not is_live(folder)
    Claim.take(folder).ended()


def test_a_record_that_was_not_cut_is_read(folder: Path) -> None:
    folder.mkdir()
    line = (LINE % "2026-01-01T10:00:00+00:00").replace('"h"', json.dumps(socket.gethostname()))
    (folder / ".lock").write_text(f'{line}\nnded": "2026-01-01T11:00:00+00:00"}}\n')
    assert began_without_end(folder)
    with claimed(folder) as claim:
        assert claim.attempt == 3


def test_a_lock_that_outlives_its_process_is_told(folder: Path) -> None:
    dead = die_holding(folder)
    with (folder / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"process {dead} on {socket.gethostname()}, which has ended; its worker processes" in refuse(folder)


def test_readers_make_nothing_and_need_nothing(folder: Path) -> None:
    assert not is_live(folder)
    assert not folder.exists()
    folder.mkdir()
    assert not is_live(folder)
    assert not began_without_end(folder)
    assert not list(folder.iterdir())


def test_readers_are_no_holders(folder: Path) -> None:
    die_holding(folder)
    with (folder / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert began_without_end(folder)


def test_an_end_is_one_before_the_lock_is_given_back(folder: Path) -> None:
    Claim.take(folder).ended()
    with (folder / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not is_live(folder)


def test_readers_are_in_nobodys_way(folder: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_live(folder)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(10):
            with claimed(folder, patience=60):
                assert is_live(folder)
    finally:
        over.set()
    for reader in readers:
        reader.join()
    Claim.take(folder, patience=0).ended()


def test_a_young_record_of_another_machine_is_not_taken_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_holding(folder)
    before = (folder / ".lock").read_bytes()
    here = socket.gethostname()
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr(module, "_boot", lambda: "another")
    assert f"on {here}; if it was killed, try again in 1" in refuse(folder)
    assert is_live(folder)
    assert not began_without_end(folder)
    assert (folder / ".lock").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [".lock"]
    old = time.time() - module.FRESH - 10
    os.utime(folder / ".lock", (old, old))
    assert not is_live(folder)
    assert began_without_end(folder)
    Claim.take(folder).abandon()
    with claimed(folder) as claim:  # what was abandoned is as old as it was
        assert claim.attempt == 2
    Claim.take(folder).ended()  # and an end is one at any age, on any machine
    assert record(folder)["host"] == "elsewhere"


@pytest.mark.skipif(not module._boot(), reason="this machine does not tell its boots apart")
def test_containers_of_one_machine_see_their_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_holding(folder)
    monkeypatch.setattr(socket, "gethostname", lambda: "container")
    assert began_without_end(folder)
    with claimed(folder) as claim:
        assert claim.attempt == 2


def test_a_holder_keeps_its_record_young_until_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)
    claim = Claim.take(folder)
    beating = [thread for thread in threading.enumerate() if thread.name == "lrtrain claim"]
    os.utime(folder / ".lock", (0, 0))
    while not (folder / ".lock").stat().st_mtime:
        time.sleep(0.01)
    claim.ended()
    for thread in beating:
        assert thread.daemon
        thread.join()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_locks_it_takes_the_word_of_the_user(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "claim=off" in refuse(folder)
    assert not folder.exists()
    with claimed(folder, off=True):
        assert record(folder)["pid"] == os.getpid()
        assert is_live(folder)
        assert not began_without_end(folder)
        Claim.take(folder, off=True).ended()
    assert not is_live(folder)


@pytest.mark.skipif(not module._boot(), reason="this machine does not tell its boots apart")
def test_a_claim_that_locks_nothing_is_seen_by_one_that_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed(folder, off=True):
        assert is_live(folder)
        assert f"process {os.getpid()}" in refuse(folder)
        with monkeypatch.context() as patch:  # unless the machine was started anew since
            patch.setattr(module, "_boot", lambda: "another")
            assert began_without_end(folder)
    Claim.take(folder).ended()


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run"), tmp_path / ("x" * 300)):
        assert "cannot write to" in (text := refuse(folder))
        assert text.endswith("give another hydra.run.dir=FOLDER")
    (tmp_path / "dangling").symlink_to(tmp_path / "missing")
    assert "cannot write to" in refuse(tmp_path / "dangling")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


def test_a_disk_that_is_full_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        assert "No space left" in refuse(folder)
    assert not folder.exists()
    die_holding(folder)
    before = (folder / ".lock").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        refuse(folder)
    assert (folder / ".lock").read_bytes() == before
    claim = Claim.take(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        claim.ended()  # the run has ended well all the same
    assert not is_live(folder)
