"""A user's own schedule, by the place of its function."""

from __future__ import annotations

from typing import Annotated, Any

from lrtrain.parameters.places import Function
from lrtrain.parameters.rules import OptionalTable
from lrtrain.schedules.progress import Progress
from lrtrain.schedules.registry import schedule


@schedule
def custom(progress: Progress, /, function: Annotated[Any, Function()], parameters: OptionalTable = None) -> float:
    """Your own schedule: ``function(progress, **parameters)``.

    Args:
        function: takes `Progress` and returns the multiplier.
        parameters: the function's other arguments, by name.
    """
    return float(function(progress, **(parameters or {})))
