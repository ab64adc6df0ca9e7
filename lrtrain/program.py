"""Where the program starts: the signals are taken over before anything large is imported."""

from __future__ import annotations

from lrtrain import signals


def main() -> int:
    """Run the command line in a process of its own; returns the exit code."""
    signals.own()
    from lrtrain.__main__ import main as command_line

    return command_line()
