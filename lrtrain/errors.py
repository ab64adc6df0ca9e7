"""The errors that end a run on purpose; each message is one clear line."""


class RequestError(ValueError):
    """The request was wrong: nothing was done, and the message says what to write instead. Exit code 2."""


class InterruptedRunError(RuntimeError):
    """A signal ended the run, which can be resumed. Exit code 128 + the signal's number."""

    def __init__(self, signum: int, folder: str) -> None:
        super().__init__(f"interrupted by signal {int(signum)}; go on with resume={folder}")
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
