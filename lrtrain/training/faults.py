"""Faults of the machine that ended a run, in one line that says what to do."""

from __future__ import annotations

import re
import traceback

import torch
from torch.distributed import DistError

from lrtrain.errors import FaultError, InterruptedRunError, LostProcessError, first_line
from lrtrain.process import signals
from lrtrain.run_folder.folder import RunFolder

_MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory|not enough memory", re.IGNORECASE)
_WORKER = re.compile(r"DataLoader worker.*?(killed by signal: [\w ]+|exited unexpectedly[^.]*)", re.DOTALL)
_FILES = re.compile(r"Too many open files")
_CONNECTION = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|TCPStore", re.IGNORECASE)


def explained(error: BaseException, folder: RunFolder, ranks: int = 1) -> BaseException:
    """Explain an error that the machine caused, and how to continue; return any other error as it is.

    Args:
        error: That ended the run.
        folder: Of the run.
        ranks: Number of processes that train together.
    """
    resume = f"resume={folder.path}" if folder.has_checkpoint else None
    then = folder.what_then
    said = str(error)
    lost = _lost_worker(error)
    alone = ranks > 1 and isinstance(error, RuntimeError) and (isinstance(error, DistError) or _CONNECTION.search(said))
    interruption = signals.reason(error)
    if signals.received and (lost or alone):  # the same signal ended the other process
        interruption = InterruptedRunError(signals.received)
    if isinstance(interruption, InterruptedRunError):
        return InterruptedRunError(interruption.signum, str(folder.path) if resume else None)
    if lacks_memory(error):
        smaller = f"; or {resume} resume_plan=weights_only with a smaller batch_size" if resume else ""
        return FaultError(f"out of memory ({_brief(error)}): free some, or use fewer workers, {then}{smaller}")
    if _FILES.search(said):
        return FaultError(f"too many open files: raise the limit by ulimit -n, or use fewer workers, {then}")
    if lost:
        return FaultError(f"a loader worker was lost ({lost}), probably out of memory: use fewer workers, {then}")
    if alone:
        return LostProcessError(then)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        where = error.filename or folder.path
        return FaultError(
            f"cannot write or read {where} ({error.strerror or error}): free space or fix the path, {then}"
        )
    return error


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and _MEMORY.search(str(error)) is not None)


def _lost_worker(error: BaseException) -> str | None:
    """How a loader worker ended, if that is what the error says."""
    if isinstance(error, RuntimeError):
        found = _WORKER.search(str(error))
        return found[1].strip() if found else None
    if not isinstance(error, ConnectionError | EOFError):
        return None
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    from_worker = modules and modules[-1].startswith("multiprocessing.")  # it was sending a batch
    return (str(error) or "its batch was cut off") if from_worker else None


def _brief(error: BaseException) -> str:
    """An error's first line, where allocators say how much they wanted, without its full stop."""
    return first_line(error).removesuffix(".").strip()
