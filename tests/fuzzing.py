"""What fuzzing tests share: how much they try, and what a refusal must be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings

from lrtrain.errors import RequestError

Result = TypeVar("Result")

fuzzing = settings(
    max_examples=int(os.environ.get("LRTRAIN_FUZZ_EXAMPLES", "150")),
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def unless_refused(act: Callable[[], Result]) -> Result | None:
    """What comes of it, or None where that is refused in one line."""
    said = ""
    with contextlib.suppress(RequestError):
        try:
            return act()
        except RequestError as error:
            said = str(error)
            raise
    assert len(said.splitlines()) == 1, "one clear line"
    return None
