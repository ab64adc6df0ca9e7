"""What fuzzing tests share: how much they try, and what a refusal must be."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings

from lrtrain.errors import RequestError

Result = TypeVar("Result")

fuzzing = settings(
    max_examples=int(os.environ.get("LRTRAIN_FUZZ_EXAMPLES", "60")),
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class Outcomes:
    """What came of all that a test has tried: one that has seen a single outcome only has shown nothing."""

    def __init__(self) -> None:
        self.taken = self.refused = 0

    def unless_refused(self, act: Callable[[], Result]) -> Result | None:
        """What comes of it, or None where that is refused in one line."""
        try:
            result = act()
        except RequestError as error:
            said = str(error)
        else:
            self.taken += 1
            return result
        self.refused += 1
        assert len(said.splitlines()) == 1, "one clear line"
        return None

    def are_both(self) -> None:
        """Fail where everything was taken, or everything refused."""
        assert self.taken, "nothing was taken"
        assert self.refused, "nothing was refused"
