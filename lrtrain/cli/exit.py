"""What the shell is answered: exit codes, and one line on what went wrong."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import NoReturn

from lrtrain.errors import DivergedError, FaultError, InterruptedRunError, LostProcessError, RequestError
from lrtrain.process import ranks
from lrtrain.run_folder.claimed import held
from lrtrain.run_folder.summary import Summary

GOOD, FAILED, REFUSED = 0, 1, 2
STATUSES = {"finished": GOOD, "stopped": GOOD, "pruned": GOOD, "failed": FAILED, "diverged": FAILED}

EXPECTED = (RequestError, InterruptedRunError, DivergedError, FaultError)
"""Errors whose message says all; others are shown with their trace."""


def code_of(outcome: Summary | BaseException) -> int:
    """The exit code for what came of a run, or for what kept it from beginning."""
    if isinstance(outcome, InterruptedRunError):
        return 128 + outcome.signum
    if isinstance(outcome, BaseException):
        return REFUSED if isinstance(outcome, RequestError) else FAILED
    if outcome.status == "interrupted":
        return 128 + signal.Signals[str(outcome.ended_by)].value
    return STATUSES[outcome.status]


def say(error: BaseException, *, with_trace: bool = False) -> int:
    """Print an error as one line, and its trace where that is wanted or the error was not expected."""
    if with_trace or not isinstance(error, EXPECTED):
        traceback.print_exception(error)
    print(f"lrtrain: {error}", file=sys.stderr)
    return code_of(error)


def leave_to_first(error: BaseException) -> int:
    """Let the first process of a run say what happened, and end first."""
    if ranks.is_child():
        if isinstance(error, InterruptedRunError):
            ranks.pass_on(error.signum)
        ranks.outlive_first()
    return code_of(error)


def answer(number: int) -> NoReturn:
    """End this process on a signal while the others of its run are waited for."""
    folder = held[-1] if held else None
    resumable = folder and folder.has_checkpoint
    _end(InterruptedRunError(number, str(folder.path) if folder and resumable else None))


def answer_loss() -> NoReturn:
    """End this process where another one of its run has failed and is still waited for."""
    _end(LostProcessError(held[-1].what_then if held else "then start over"))


def _end(error: FaultError | InterruptedRunError) -> NoReturn:
    """End this process from another thread than the main one, which waits in a library."""
    try:
        if held:
            held[-1].leave()
        if not ranks.ranks_first():
            leave_to_first(error)
        else:
            say(error)
    finally:
        os._exit(code_of(error))
