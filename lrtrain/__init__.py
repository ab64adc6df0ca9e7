"""lrtrain trains neural networks under a learning-rate decay strategy, and helps to choose one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrtrain.front import compare, find_lr, load, preview, runs, train
    from lrtrain.run_folder.summary import Summary
    from lrtrain.scheduler import Scheduler
    from lrtrain.settings import Settings

__version__ = "0.1.0"
__all__ = ["Scheduler", "Settings", "Summary", "__version__", "compare", "find_lr", "load", "preview", "runs", "train"]

_HOMES = {
    "Scheduler": "lrtrain.scheduler",
    "Settings": "lrtrain.settings",
    "Summary": "lrtrain.run_folder.summary",
    **dict.fromkeys(("compare", "find_lr", "load", "preview", "runs", "train"), "lrtrain.front"),
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; the schedules, --help and every refused request do without it.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lrtrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
