"""Where the program starts: the signals are taken over before anything that takes long is imported."""

from __future__ import annotations

import sys

from lrtrain.process import signals


def main() -> int:
    """Run the command line as the program of this process; returns the exit code."""
    signals.own()
    from lrtrain.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
