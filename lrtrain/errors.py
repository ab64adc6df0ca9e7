"""The errors that end a run on purpose; each message is one clear line."""


class RequestError(ValueError):
    """The request was wrong: nothing was done, and the message says what to write instead. Exit code 2."""


class DivergedError(RuntimeError):
    """The loss is no longer finite. Exit code 1."""
