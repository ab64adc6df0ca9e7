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


def is_first(trainer: Mapping[str, Any]) -> bool:
    """Whether this process is the first of its run, or the only one; `trainer` is that part of the configuration."""
    alone = trainer["devices"] in (1, "1") and trainer.get("num_nodes", 1) == 1
    return alone or all(os.environ.get(name, "0") == "0" for name in _RANKS)


def is_child() -> bool:
    """Whether Lightning started this process for the first one of its run."""
    return any(word.startswith("hydra.job.name=train_ddp_process_") for word in sys.argv)


def end_with_parent(every: float = 0.5) -> None:
    """End this process soon after its parent, however that ends: it may be waiting for it in a collective operation.

    Args:
        every: Seconds between looks.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def outlive_parent(seconds: float = 10) -> None:
    """Wait until the parent has ended: Lightning kills it where it sees a child end first with an error."""
    parent, until = os.getppid(), time.monotonic() + seconds
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(0.02)
