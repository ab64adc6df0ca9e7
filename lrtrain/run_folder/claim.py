"""The claim on a run folder: one writer at a time, by a lock that no crash, kill -9 or reboot leaves behind.

The lock decides; the record in its file is words for people. Only where a holder's lock may not be seen (from another
machine, on a network file system with local locks; or by `claim=off`) does the age of the record tell, which its
holder keeps young.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from lrtrain.errors import RequestError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
BEAT = 30.0
"""Seconds between two touches of the lock file by its holder."""
FRESH = 120.0
"""Age in seconds from which an untouched record is of a killed run: a network client's cache may hide 60 of them."""

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_files: set[_LockFile] = set()
_guard = threading.RLock()  # a fork waits for it: every lock file that is open then is in the set


class Claim:
    """The right to write into a folder until it is given back; a forked child does not have it.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        attempt: 1 for the first claim of the folder, and 1 more for each one without an end that was taken over.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.attempt = path, 1
        self._lock = path.absolute() / LOCK
        self._made: list[Path] = []
        self._file: _LockFile | None = None
        self._record: dict[str, Any] = {}
        self._former: tuple[bytes, int] | None = None
        self._over = threading.Event()

    @classmethod
    def take(cls, path: Path, patience: float = 1.0, *, off: bool = False) -> Claim:
        """Claim a folder, which is made where it is not there.

        Args:
            path: The folder.
            patience: Seconds to try again for while somebody holds it, who may only be looking.
            off: Lock nothing: the user's word that nobody else writes there.

        Raises:
            RequestError: Somebody holds it, or it cannot be written; nothing was changed.
        """
        claim, deadline = cls(path), time.monotonic() + patience
        try:
            while not (file := claim._acquire(off)):
                if time.monotonic() >= deadline:
                    gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
                    raise _refusal(path, claim._record) if claim._file else gone
                time.sleep(0.02)
            claim._begin(file, off)
        except BaseException as error:
            claim.abandon()
            if not isinstance(error, OSError):
                raise
            way = "no locks there: claim=off if nobody else writes to it, or " if error.errno in _NO_LOCKS else ""
            said = f"cannot write to {error.filename or path} ({error.strerror})"
            raise RequestError(f"{said}; {way}give another hydra.run.dir=FOLDER") from None
        return claim

    def ended(self) -> None:
        """Say that what was claimed for came to an orderly end, and give the folder back; once is enough."""
        with _guard, suppress(OSError):  # no room: the summary says it too
            if self._file and not self._file.closed:
                self._file.write_over(_encode(self._record | {"ended": _now()}))
        self._release()

    def abandon(self) -> None:
        """Give the folder back as it was found: nothing came of it."""
        with _guard, suppress(OSError):  # others have put something there
            if self._file and not self._file.closed:
                if self._lock in self._made and self._file.is_at(self._lock):
                    self._lock.unlink()  # while it is locked: who waits for it will see that it is gone
                elif self._former:
                    self._file.write_over(self._former[0])
                    os.utime(self._file.fileno(), ns=(self._former[1],) * 2)
            for folder in reversed(self._made):
                if folder != self._lock:
                    folder.rmdir()
        self._release()

    def _acquire(self, off: bool) -> _LockFile | None:
        """Make what is missing and try, once, to lock it."""
        with suppress(FileNotFoundError):  # who made the folder may have removed it just now
            for folder in reversed([path for path in self._lock.parents if not path.exists()]):
                folder.mkdir(exist_ok=True)
                self._made.append(folder)
            try:
                self._file = _LockFile(self._lock, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                self._made.append(self._lock)
            except FileExistsError:
                self._file = _LockFile(self._lock, os.O_RDWR)
            self._record = _decode(self._file.head())
            if (off or self._file.try_lock()) and self._file.is_at(self._lock):
                return self._file
            self._file.close()
        return None

    def _begin(self, file: _LockFile, off: bool) -> None:
        """Write the record into the locked file; refuse where somebody else may hold it all the same."""
        former, touched = file.head(), os.fstat(file.fileno())
        record = _decode(former)
        if former and self._lock in self._made:
            self._made.remove(self._lock)  # somebody was quicker with the file that this claim made
        if not off and _may_hold_unseen(record):
            with tempfile.NamedTemporaryFile(dir=self._lock.parent, prefix=".lock.") as scratch:
                age = os.fstat(scratch.fileno()).st_mtime - touched.st_mtime  # both by the server's clock
            if abs(age) < FRESH:
                raise _refusal(self.path, record, f"if it was killed, try again in {FRESH - age:.0f} s")
        self._former = former, touched.st_mtime_ns
        self.attempt = record["attempt"] + (not record.get("ended")) if record else 1
        self._record = {"pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(), "started": _started("self")}
        self._record |= {"attempt": self.attempt, "began": _now(), "ended": None, "off": off}
        file.write_over(_encode(self._record))
        threading.Thread(target=self._keep_fresh, name="lrtrain claim", daemon=True).start()

    def _keep_fresh(self) -> None:
        """Touch the record by its name: after the end the descriptor's number may be another file's."""
        while not self._over.wait(BEAT):
            with suppress(OSError):
                os.utime(self._lock)

    def _release(self) -> None:
        if self._file and not self._file.closed:  # in a forked child the event's own lock may be taken for ever
            self._over.set()
            self._file.close()


class _LockFile(FileIO):
    """A lock file, which a forked child closes; no link is followed to it, and nothing waited for."""

    def __init__(self, path: Path, flags: int) -> None:
        with _guard:
            mode = "r+" if flags & os.O_RDWR else "r"
            super().__init__(str(path), mode, opener=lambda name, _: os.open(name, flags | _FLAGS, 0o666))
            _files.add(self)
        found = os.fstat(self.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # what is written would be elsewhere too
            self.close()
            raise OSError(errno.EINVAL, "a link, or not a file", str(path))

    def close(self) -> None:
        """Give up the lock."""
        with _guard, suppress(OSError):
            _files.discard(self)
            super().close()

    def try_lock(self, shared: bool = False) -> bool:
        """Whether the lock could be had at once; raises OSError where there are no locks."""
        try:
            if sys.platform == "win32":
                self.seek(1 << 30)  # a byte beyond the record: what is locked there cannot be read
                msvcrt.locking(self.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def is_at(self, path: Path) -> bool:
        """Whether it still has its name: a claim that is abandoned removes the file that it made."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self.fileno()), path.lstat())
        return False

    def head(self) -> bytes:
        """What is in it, as far as a record may be long."""
        self.seek(0)
        return self.read(4096)

    def write_over(self, data: bytes) -> None:
        """Replace what is in it, in place: a rename would change the file, and with it the lock.

        It is written and then cut, and a record is one line: whoever is killed in between leaves a whole one.
        """
        self.seek(0)
        if self.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.truncate()
        os.fsync(self.fileno())  # so that other machines see it


def _close_inherited() -> None:
    """Close all lock files in a forked child: a loader worker that outlives a killed run would keep its lock."""
    for file in list(_files):
        file.close()  # no unlocking: that would be the parent's lock too
    _guard.release()


if sys.platform != "win32":
    os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_close_inherited)


def is_live(path: Path) -> bool:
    """Whether somebody holds a folder's claim. Makes no file, and holds up no writer for long."""
    return _look(path)[1]


def attempts_at(path: Path) -> int:
    """How often a folder was claimed, not counting those claims that followed on one with an end."""
    return int(_look(path)[0].get("attempt", 0))


def began_without_end(path: Path) -> bool:
    """Whether the last claim of a folder never came to an end and nobody holds it: it was killed."""
    record, live = _look(path)
    return bool(record) and not record.get("ended") and not live


def _look(path: Path) -> tuple[dict[str, Any], bool]:
    """The record of a folder, and whether somebody holds it; what cannot be read says nothing."""
    with suppress(OSError), _LockFile(path / LOCK, os.O_RDONLY) as file:
        record = _decode(file.head())
        with suppress(OSError):  # no locks there
            if not record.get("ended") and not file.try_lock(shared=True):
                return record, True
        young = abs(time.time() - os.fstat(file.fileno()).st_mtime) < FRESH
        return record, young and _may_hold_unseen(record)
    return {}, False


def _encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _decode(data: bytes) -> dict[str, Any]:
    """The record in a lock file; empty where it holds something else."""
    try:
        record = json.loads(data.partition(b"\n")[0])
        datetime.fromisoformat(record["began"]).astimezone()
        sound = all(type(record[key]) is int and 0 < record[key] < 2**31 for key in ("pid", "attempt"))
        return record if sound and record["host"].isprintable() else {}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, RecursionError):
        return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _describe(record: dict[str, Any]) -> str:
    """Who has written a record, in words."""
    if not record:
        return "running as an unknown process"
    began = datetime.fromisoformat(record["began"]).astimezone()
    since = began.strftime("%H:%M" if began.date() == datetime.now().date() else "%Y-%m-%d %H:%M")
    ended = ", which has ended; its worker processes still hold it" if _is_dead(record) else ""
    return f"running since {since} as process {record['pid']} on {record['host']}{ended}"


def _refusal(path: Path, record: dict[str, Any], hope: str = "wait for its end") -> RequestError:
    return RequestError(f"{path} is in use: {_describe(record)}; {hope}, or give another hydra.run.dir=FOLDER")


def _may_hold_unseen(record: dict[str, Any]) -> bool:
    """Whether who wrote a record may still hold the folder, by no lock that is seen here."""
    if not record or record.get("ended") or _is_dead(record):
        return False
    same_kernel = record.get("boot") and record["boot"] == _boot()  # as containers, which share its locks too
    return bool(record.get("off")) or (record["host"] != socket.gethostname() and not same_kernel)


def _is_dead(record: dict[str, Any]) -> bool:
    """Whether the process of a record has ended for certain: its number alone may be used again."""
    if record["host"] != socket.gethostname() or not record.get("started"):
        return False
    return record.get("boot") != _boot() or record["started"] != _started(record["pid"])


def _boot() -> str:
    """Which start of this machine it is; empty where it does not say."""
    return _read_system("sys/kernel/random/boot_id").strip()


def _started(process: int | str) -> str:
    """When a process started, in ticks since the boot; empty where there is no such process."""
    return "".join(_read_system(f"{process}/stat").rpartition(")")[2].split()[19:20])


def _read_system(name: str) -> str:
    with suppress(OSError):
        return Path("/proc", name).read_text(errors="replace")
    return ""
