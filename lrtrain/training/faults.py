"""What the machine did to a run, in one line with what to do about it."""

from __future__ import annotations

import re
import traceback

import torch
from torch.distributed import DistError

from lrtrain import signals
from lrtrain.errors import FaultError, InterruptedRunError, LostProcessError, first_line
from lrtrain.runs import RunFolder

_MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory|not enough memory", re.IGNORECASE)
_WORKER = re.compile(r"DataLoader worker.*?(killed by signal: [\w ]+|exited unexpectedly[^.]*)", re.DOTALL)
_CONNECTION = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|TCPStore", re.IGNORECASE)


def explained(error: BaseException, folder: RunFolder, ranks: int = 1) -> BaseException:
    """The error that says what happened and how to go on, where the machine failed; any other error as it is.

    Args:
        error: What ended the run.
        folder: Of the run.
        ranks: How many train together.
    """
    resume = f"resume={folder.path}" if folder.last_checkpoint.exists() else None
    then = f"then go on with {resume}" if resume else "then begin anew, as there is no checkpoint yet"
    said = str(error)
    lost = _lost_worker(error)
    alone = ranks > 1 and isinstance(error, RuntimeError) and (isinstance(error, DistError) or _CONNECTION.search(said))
    interruption = signals.reason(error)
    if signals.received and (lost or alone):  # the other process has ended by the same signal
        interruption = InterruptedRunError(signals.received)
    if isinstance(interruption, InterruptedRunError):
        return InterruptedRunError(interruption.signum, str(folder.path) if resume else None)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _MEMORY.search(said)
    ):
        smaller = f"; or {resume} resume_plan=weights_only with a smaller batch_size" if resume else ""
        return FaultError(f"out of memory ({_brief(error)}): free some, or use fewer workers, {then}{smaller}")
    if lost:
        return FaultError(f"a loader worker was lost ({lost}), perhaps for want of memory: use fewer workers, {then}")
    if alone:
        return LostProcessError(f"another process of the run has ended: see what it said, {then}")
    disk = error.__cause__ if isinstance(error.__cause__, OSError) else error  # Lightning's logger hides it
    if isinstance(disk, OSError) and not isinstance(disk, BrokenPipeError):
        where = disk.filename or folder.path
        return FaultError(f"cannot write or read {where} ({disk.strerror or disk}): make room or mend it, {then}")
    return error


def _lost_worker(error: BaseException) -> str | None:
    """How a process that gathers batches ended, where that is what the error says."""
    if isinstance(error, RuntimeError):
        found = _WORKER.search(str(error))
        return found[1].strip() if found else None
    if not isinstance(error, ConnectionError | EOFError):
        return None
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    from_worker = modules and modules[-1].startswith("multiprocessing.")  # it was about to hand over a batch
    return (str(error) or "its batch was cut off") if from_worker else None


def _brief(error: BaseException) -> str:
    """An error's first line, which is where allocators say how much they wanted, without its full stop."""
    return first_line(error).removesuffix(".").strip()
