"""A user's own schedule, by the place of its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from lrtrain.imports import by_path
from lrtrain.schedules.progress import Progress
from lrtrain.schedules.schedule import schedule


class Place:
    """The rule of a parameter that names a function as ``module:function``."""

    def parse(self, value: Any) -> Callable[..., float]:
        """Import the function, or raise ValueError."""
        if callable(value):
            return value  # type: ignore[no-any-return]
        function = by_path(str(value))
        return getattr(function, "__wrapped__", function)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return "a place such as my_module:my_schedule"


Function: TypeAlias = Annotated[Any, Place()]


@schedule
def custom(progress: Progress, /, function: Function, parameters: dict[str, Any] | None = None) -> float:
    """Your own schedule: ``function(progress, **parameters)``.

    Args:
        function: takes `Progress` and returns the multiplier.
        parameters: the function's other arguments, by name.
    """
    return float(function(progress, **(parameters or {})))
