"""The signals that ask a command to end: SIGTERM, SIGINT (Ctrl-C) and SIGUSR1, as before SLURM's pre-emption."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lrtrain.errors import InterruptedRunError

NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]

received: int | None = None
"""The first signal since they were taken over."""

_deferred = False
_process = 0


@contextmanager
def taken_over() -> Iterator[None]:
    """Handle the signals in here, and give them back at the end.

    The first one raises `InterruptedRunError` wherever the program is, or is only remembered while they are deferred.
    Further ones change nothing.
    """
    global received, _deferred, _process
    received, _deferred, _process = None, False, os.getpid()
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = {number: signal.signal(number, _receive) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def defer() -> None:
    """From now on only remember a signal."""
    global _deferred
    _deferred = True


def act() -> None:
    """From now on end at once; does not raise for a signal that was remembered."""
    global _deferred
    _deferred = False


def _receive(number: int, frame: Any) -> None:
    global received
    if received is not None or os.getpid() != _process:  # a worker process, which ends when we do
        return
    received = number
    if not _deferred:
        raise InterruptedRunError(number)
