"""How strategies stand over several comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lrtrain.evidence.verdict import Comparison


class Rank(NamedTuple):
    """How a strategy stands in several comparisons.

    Attributes:
        name: Of the strategy.
        mean: Its rank in those that it is in, from 1; those called tied with the leader share the mean of their ranks.
        tables: How many these are.
        worse: In how many it is worse than the leader.
    """

    name: str
    mean: float
    tables: int
    worse: int


def rank(all_found: Sequence[Comparison]) -> list[Rank]:
    """The strategies by their mean rank."""
    ranks: dict[str, list[float]] = {}
    worse: dict[str, int] = {}
    for found in all_found:
        tied = [place for place, each in enumerate(found.strategies, 1) if each.verdict in ("leader", "tied")]
        shared = sum(tied) / len(tied) if tied else 0.0
        for place, each in enumerate(found.strategies, 1):
            ranks.setdefault(each.name, []).append(shared if place in tied else place)
            worse[each.name] = worse.get(each.name, 0) + (each.verdict == "worse")
    means = [Rank(name, sum(own) / len(own), len(own), worse[name]) for name, own in ranks.items()]
    return sorted(means, key=lambda each: (-each.tables, each.mean))
