"""Words of the command line: composed, run, and answered with an exit code."""

__all__ = ["main"]
