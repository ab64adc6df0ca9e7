"""The version of the code that this process runs, as git knows it."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

PATIENCE = 5.0
"""Seconds after which git is not waited for."""


@cache
def commit_of(folder: Path) -> str | None:
    """The commit of the repository that a folder is in, with ``-dirty`` where tracked files differ from it.

    It is asked for once per process, which goes on with the code that it has imported. None outside of a repository.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # another git may be at work there
    try:
        found = subprocess.run(  # noqa: S603 - no word of it is the user's
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # there is no git, or a very large repository
        return None
    return found.stdout.strip() or None
