"""Where the program starts: the signals are taken over before anything that takes long is imported."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from lrtrain.process import signals


def main() -> int:
    """Run the command line as the program of this process; returns the exit code."""
    signals.own()
    with suppress(OSError):  # the folder is gone
        if (
            here := str(Path.cwd())
        ) not in sys.path and not sys.flags.safe_path:  # as `python -m` has it, and a script has not
            sys.path.insert(0, here)
    from lrtrain.cli.main import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
