"""A process of this program that another one has started, and that ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_NAME = "LRTRAIN_PARENT"
"""Where it finds the number of the process that started it."""


def start(
    command: Sequence[str],
    environment: Mapping[str, str | None] = MappingProxyType({}),
    *,
    stdout: int | None = None,
    stderr: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process of this program that is to end with this one.

    Args:
        command: Of it.
        environment: What is other in its environment than in that of this process; None takes a name out.
        stdout: As `subprocess.Popen` has it.
        stderr: Likewise.
    """
    given = {**os.environ, **environment, _NAME: str(os.getpid())}
    told = {name: value for name, value in given.items() if value is not None}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=told)  # noqa: S603


def end_with_parent(every: float = 0.5, patience: float = 30) -> bool:
    """End this process soon after the one that started it, however that ends, and save what it does.

    Args:
        every: Seconds between looks.
        patience: Seconds until it is killed.

    Returns:
        Whether one has started it that is to be watched.
    """
    number = os.environ.pop(_NAME, None)
    if number is None:
        return False

    def watch() -> None:
        while os.getppid() == int(number):
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
    return True
