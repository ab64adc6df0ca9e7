"""Which of a run's processes this is, before they have met; only the first one writes and speaks for all.

A run with several devices is started once, and Lightning starts the others by the same command line; or something
else starts all of them: torchrun, or SLURM's srun.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
_FIRST = "LRTRAIN_FIRST_PROCESS"
"""Where a child finds the number of the process that started it."""

_PARENT = os.getppid()


def is_alone(trainer: Mapping[str, Any]) -> bool:
    """Whether a run has one process; `trainer` is that part of the configuration."""
    return trainer["devices"] in (1, "1") and trainer.get("num_nodes", 1) == 1


def is_first(trainer: Mapping[str, Any]) -> bool:
    """Whether this process is the first of its run, or the only one; `trainer` is that part of the configuration."""
    return is_alone(trainer) or ranks_first()


def ranks_first() -> bool:
    """Whether this process would be the first one of a run with several."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def is_child() -> bool:
    """Whether Lightning started this process for the first one of its run."""
    return any(word.startswith("hydra.job.name=train_ddp_process_") for word in sys.argv)


def introduce() -> None:
    """Let the processes that this one starts know of it; one of them ends with it from now on."""
    if is_child():
        end_with_first()
    else:
        os.environ[_FIRST] = str(os.getpid())


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
