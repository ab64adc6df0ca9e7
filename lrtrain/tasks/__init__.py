"""What `task=` chooses: one file a task, named as in the configuration, with a function `run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrtrain.imports import import_large
from lrtrain.runs import RunFolder


def run(config: Mapping[str, Any], folder: RunFolder) -> float | None:
    """Do the task that the configuration names; returns the monitored metric where there is one."""
    return import_large(f"lrtrain.tasks.{config['task']}").run(config, folder)  # type: ignore[no-any-return]
