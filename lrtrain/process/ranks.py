"""Which of a run's processes this is, before they have met; only the first one writes and speaks for all.

A run with several devices is started once, and Lightning starts the others by the same command line; or something
else starts all of them: torchrun, or SLURM's srun.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
_FIRST = "LRTRAIN_FIRST_PROCESS"
"""Where a child finds the number of the process that started it."""
_ORDER = "LRTRAIN_RUN"
"""Where a child finds what it is to take part in."""

_PARENT = os.getppid()
_introduced = False


class Order(NamedTuple):
    """What a child is to take part in.

    Attributes:
        folder: Of the run, whose settings it has.
        source: The folder of the run that it starts from; None for none.
        resumes: It goes on with that run.
    """

    folder: str
    source: str | None
    resumes: bool


def is_first(alone: bool) -> bool:
    """Whether this process is the first of its run, which may have it `alone`."""
    return alone or ranks_first()


def ranks_first() -> bool:
    """Whether this process would be the first one of a run with several."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def is_child() -> bool:
    """Whether Lightning started this process for the first one of its run."""
    return os.environ.get(_FIRST) == str(_PARENT) and os.environ.get("LOCAL_RANK", "0") != "0"


def read_order() -> Order | None:
    """What this child is to take part in; None where its command says all."""
    return Order(**json.loads(os.environ[_ORDER])) if is_child() and _ORDER in os.environ else None


@contextmanager
def starting(folder: Path, source: Path | None, resumes: bool) -> Iterator[None]:
    """Let the processes that are started in here know of the run."""
    os.environ[_ORDER] = json.dumps(Order(str(folder), str(source) if source else None, resumes)._asdict())
    try:
        yield
    finally:
        os.environ.pop(_ORDER, None)


def introduce() -> None:
    """Let the processes that this one starts know of it; one of them ends with it from now on."""
    global _introduced
    if not is_child():
        os.environ[_FIRST] = str(os.getpid())
    elif not _introduced:
        _introduced = True
        end_with_first()


def end_with_first(every: float = 0.5) -> None:
    """End this child soon after the first process, however that ends: it may be waiting for it in a collective.

    Args:
        every: Seconds between looks.
    """

    def watch() -> None:
        while _first_lives():
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-first").start()


def outlive_first(seconds: float = 10) -> None:
    """Wait in a child until the first process has ended: Lightning kills it where it sees a child end with an error."""
    until = time.monotonic() + seconds
    while _first_lives() and time.monotonic() < until:
        time.sleep(0.02)


@contextmanager
def loss_answered_by(answer: Callable[[], Any]) -> Iterator[None]:
    """Have the loss of another process answered in here, where the main thread does not notice it by itself.

    Args:
        answer: Ends this process; called in another thread.
    """
    global _answer
    _answer = answer
    try:
        yield
    finally:
        _answer = _ignore  # the run is over, and this process says how it ended


def lose(patience: float = 5) -> None:
    """End this process, since one that it had started has failed.

    Args:
        patience: Seconds for the main thread to notice, and to write down how far the run came.
    """
    time.sleep(patience)
    _answer()


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _ignore() -> None:
    pass


_answer: Callable[[], Any] = _kill_self


def pass_on(number: int) -> None:
    """Send a signal from a child to the first process: whoever ends one means the run, for which that one answers."""
    if _first_lives():
        os.kill(int(os.environ[_FIRST]), number)


def _first_lives() -> bool:
    if os.getppid() != _PARENT:
        return False
    try:
        os.kill(int(os.environ[_FIRST]), 0)
    except ProcessLookupError:  # it ended before this one could look who its parent is
        return False
    return True
