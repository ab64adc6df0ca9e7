"""lrtrain trains neural networks under a learning-rate decay strategy, and helps to choose one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrtrain.scheduler import Scheduler

__version__ = "0.1.0"
__all__ = ["Scheduler", "__version__"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; the schedules, --help and every refused request do without it.
    if name == "Scheduler":
        from lrtrain.scheduler import Scheduler

        return Scheduler
    raise AttributeError(f"module 'lrtrain' has no attribute {name!r}")
