"""The signals that ask a command to end: SIGTERM, SIGINT (Ctrl-C) and SIGUSR1, as before SLURM's pre-emption."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing import active_children
from typing import Any

from lrtrain.errors import InterruptedRunError
from lrtrain.process import ranks

NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
PATIENCE = 1.0
"""Seconds until a signal that the main thread takes no notice of is answered in its place."""

received: int | None = None
"""The first signal since they were taken over."""

_active = False
_deferred = False
_raised = False
_process = 0


def own() -> None:
    """Handle the signals from now on until this process ends, which is the program and has nothing to save yet.

    Until they are `taken_over` a signal ends it at once. When they are given back they are ignored: what a command
    leaves is complete by then, and its exit code is the answer to a signal that came before.
    """
    for number in NUMBERS:
        signal.signal(number, _leave)


def interrupt_taken_over() -> AbstractContextManager[None]:
    """Handle Ctrl-C in here where Python would raise KeyboardInterrupt, on which Lightning ends the process."""
    if _active or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return nullcontext()
    return taken_over([signal.SIGINT])


@contextmanager
def taken_over(numbers: Iterable[int] = NUMBERS) -> Iterator[None]:
    """Handle the signals in here, and give them back at the end.

    The first one raises `InterruptedRunError` wherever the program is, or is only remembered while they are deferred.
    Further ones change nothing.
    """
    global received, _active, _deferred, _raised, _process
    received, _deferred, _raised, _process = None, False, False, os.getpid()
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = {number: signal.signal(number, _receive) for number in numbers}
    _active = True
    try:
        yield
    finally:
        _active, _deferred = False, True
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if handler is _leave else handler)
        received, _raised = None, False


def name_of(number: int) -> str:
    """A signal's name, such as SIGTERM."""
    return signal.Signals(number).name


def defer() -> None:
    """From now on only remember a signal."""
    global _deferred
    _deferred = True


def act() -> None:
    """From now on end at once, and now for a signal that was remembered.

    Other threads than the main one, which is where signals arrive, leave it to that one from when on it ends at once.
    """
    global _deferred
    if threading.current_thread() is threading.main_thread():
        _deferred = False
    if received is not None:
        _raise(received)


def ended_by(error: BaseException) -> None:
    """From now on end at once, as what the signals were deferred for has ended with an error.

    Does not raise for a signal that was remembered. One that ended a run with several processes counts as received,
    though it may have reached another one of them.
    """
    global received, _deferred
    if isinstance(error, InterruptedRunError):
        received = received or error.signum
    if threading.current_thread() is threading.main_thread():
        _deferred = False


@contextmanager
def deferred() -> Iterator[None]:
    """Only remember a signal in here, and raise for it at the end."""
    global _deferred
    before, _deferred = _deferred, True
    try:
        yield
    finally:
        _deferred = before
    if not before:
        act()


@contextmanager
def at_once() -> Iterator[None]:
    """Raise for a signal in here, which may be one that was remembered, even where they are deferred."""
    global _deferred
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _deferred
    try:
        act()
        yield
    finally:
        _deferred = before


def reason(error: BaseException) -> BaseException:
    """The interruption that became another error on its way, such as one of a half-done import; or the error itself."""
    if _raised and received is not None and isinstance(error, Exception):
        return InterruptedRunError(received)
    return error


@contextmanager
def undisguised() -> Iterator[None]:
    """Raise the interruption in the place of an error that it became."""
    try:
        yield
    except Exception as error:
        if (known := reason(error)) is error:
            raise
        raise known from error


@contextmanager
def answered_by(answer: Callable[[int], Any]) -> Iterator[None]:
    """Have a signal answered in here also while the main thread is in a library, where no handler of ours can run.

    That is where processes wait for each other. A signal that is deferred stays so.

    Args:
        answer: Ends the process on a signal; called in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, answer), daemon=True, name="signals").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)  # which ends the thread


@contextmanager
def held() -> Iterator[None]:
    """Let processes begin in here that no signal ends until they call `left_to_parent`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def left_to_parent(_: Any = None) -> None:
    """Let the signals change nothing in this process, which ends when its parent does.

    A terminal, `kill` and SLURM send them to all processes of a command, and the parent still needs this one. No
    SIG_IGN, which processes that are started in here would inherit.
    """
    signal.set_wakeup_fd(-1)  # our parent's
    for number in NUMBERS:
        signal.signal(number, _ignore)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def end_left() -> None:
    """Kill the processes left to their parent that are there when it exits, which would wait for them for ever."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # to torch, a worker that is killed is an error
    for process in active_children():
        if process.daemon:
            process.kill()


def _receive(number: int, frame: Any) -> None:
    global received
    if received is not None or os.getpid() != _process:  # a worker process, which ends when we do
        return
    received = number
    if not _deferred:
        _raise(number)


def _raise(number: int) -> None:
    global _raised
    _raised = True
    raise InterruptedRunError(number)


def _leave(number: int, frame: Any) -> None:
    if ranks.is_child():
        ranks.pass_on(number)  # and end with it
        return
    if ranks.ranks_first():
        os.write(2, f"lrtrain: {InterruptedRunError(number)}\n".encode())
    os._exit(128 + number)


def _ignore(number: int, frame: Any) -> None:
    pass


def _watch(reader: int, answer: Callable[[int], Any]) -> None:
    global received
    with os.fdopen(reader, "rb", buffering=0) as arrived:
        while number := arrived.read(1):
            while number[0] in NUMBERS and received is None:
                time.sleep(PATIENCE)
                if received is None and not _deferred:
                    received = number[0]  # the main thread is not to answer as well
                    answer(number[0])
