"""The errors that end a run on purpose; each message is one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RequestError(ValueError):
    """The request was wrong: nothing was done, and the message says what to write instead. Exit code 2."""


class InterruptedRunError(BaseException):
    """A signal ended the run. Exit code 128 + the signal's number.

    No `Exception`, as it may be raised anywhere, and nothing that handles errors is meant to handle it.

    Args:
        signum: The signal's number.
        folder: Of the run, where it can be resumed.
    """

    def __init__(self, signum: int, folder: str | None = None) -> None:
        then = f"; go on with resume={folder}" if folder else " before there was anything to save"
        super().__init__(f"interrupted by signal {int(signum)}{then}")
        self.signum = int(signum)


class DivergedError(RuntimeError):
    """The loss or the weights are no longer finite, or the loss has exploded. Exit code 1.

    Args:
        message: Says at which update and rate.
        scale: What the schedule's rates were multiplied by.
    """

    def __init__(self, message: str, scale: float) -> None:
        super().__init__(message)
        self.scale = scale


class FaultError(RuntimeError):
    """The machine failed, not the program: no room on the disk, no memory, a process killed. Exit code 1."""


class LostProcessError(FaultError):
    """Another process of the run has ended, which says itself why if it can.

    Args:
        then: What to do once that is mended.
    """

    def __init__(self, then: str) -> None:
        super().__init__(f"another process of the run has ended: see its message, {then}")


@contextmanager
def of_values() -> Iterator[None]:
    """Take what making something of a user's values, or loading a file, raises for a fault of these.

    To be put around nothing but that: elsewhere such errors are our own.

    Raises:
        ValueError: Says what was raised.
    """
    try:
        yield
    except (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """What an error says first, or its name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
