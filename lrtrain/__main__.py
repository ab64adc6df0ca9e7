"""Where the program starts: the signals are taken over before anything that takes long is imported."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from lrtrain.process import signals


def main() -> int:
    """Run the command line as the program of this process; returns the exit code."""
    signals.own()
    _find_modules_here()
    from lrtrain.cli.main import main as command_line

    return command_line()


def _find_modules_here() -> None:
    """Look for modules in the working folder, as `python -m` does and an installed script does not."""
    with suppress(OSError):  # it is gone
        here = str(Path.cwd())
        if here not in sys.path and not sys.flags.safe_path:
            sys.path.insert(0, here)


if __name__ == "__main__":
    sys.exit(main())
