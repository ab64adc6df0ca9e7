"""Where a rate jumps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lrtrain.schedules import Horizon

LOOKED_AT = 2000
"""Updates of a run, at most, before a change is looked up exactly."""


def milestones(rate: Callable[[int], float], horizon: Horizon) -> list[int]:
    """The updates at which the rate becomes another one, which then holds, as the one before had held.

    Both hold for more than one and a half epochs, or a fifth of a shorter run: a decay at every update or every epoch
    has none.

    Args:
        rate: Of an update.
        horizon: Of the run.
    """
    length, total = horizon
    stride = max(1, total // LOOKED_AT)
    apart = max(min(1.5 * length, total / 5), 1.5 * stride)
    looked_at = [*range(0, total, stride), total - 1]
    rates = {step: rate(step) for step in looked_at}
    changed = [pair for pair in pairwise(looked_at) if rates[pair[0]] != rates[pair[1]]]
    ends = [-float("inf"), *(end for _, end in changed), float("inf")]
    alone = [
        pair
        for pair, before, at, after in zip(changed, ends, ends[1:], ends[2:], strict=False)
        if at - before > apart and after - at > apart
    ]
    found = ((_change(rate, *pair), *pair) for pair in alone)
    return [at for at, low, high in found if rate(at - 1) == rates[low] and rate(at) == rates[high]]


def _change(rate: Callable[[int], float], low: int, high: int) -> int:
    """The first update whose rate is not that of `low`, by halving."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rate(middle) == rate(low) else (low, middle)
    return high
