"""A user's own schedule, by the place of its function."""

from __future__ import annotations

from typing import Annotated, Any

from lrtrain.parameters.places import Function, said_of
from lrtrain.parameters.rules import OptionalTable
from lrtrain.schedules.progress import Progress
from lrtrain.schedules.registry import schedule


@schedule
def custom(progress: Progress, /, function: Annotated[Any, Function()], parameters: OptionalTable = None) -> float:
    """Your own schedule: ``function(progress, **parameters)``.

    Args:
        function: takes `Progress` and returns the multiplier.
        parameters: the function's other arguments, by name.

    Raises:
        ValueError: It fails; says at which line.
    """
    try:
        return float(function(progress, **(parameters or {})))
    except Exception as error:  # whatever calling somebody's code runs into
        raise ValueError(f"function={function!r} fails: {said_of(error)}") from error
