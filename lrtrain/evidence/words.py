"""A comparison in plain words: what is worse, what is tied, what cannot be told, and what would tell it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrtrain.evidence.paired import EXACT, FEWEST, seeds_to_settle, smallest_found
from lrtrain.evidence.verdict import Comparison, Standing

MOST_SEEDS = 200
"""More than so many are not worth asking for."""
MOST_NAMED = 6
"""Strategies that a sentence lists; of more it says how many."""


def describe(found: Comparison) -> str:
    """The paragraph."""
    of = ", ".join(found.of.values())
    return " ".join([*([f"{of}:"] if of else []), *_sentences(found), *([f"Run: {found.more}"] if found.more else [])])


def wanted_seeds(found: Comparison) -> int | None:
    """The seeds that would settle what is open; None where nothing is, or no affordable number would."""
    seeds = len(found.seeds)
    if len(found.strategies) == 1:
        return None
    if seeds < FEWEST:
        return EXACT
    needed = [_needed(found, each) for each in found.strategies if each.verdict == "undecided"]
    return max((count for count in needed if count is not None and count <= MOST_SEEDS), default=None)


def _sentences(found: Comparison) -> Sequence[str]:
    leader, seeds = found.strategies[0], len(found.seeds)
    said = [f"{leader.label} has the best {found.metric}: {leader.mean:.4g} over {_count(seeds, 'seed')}."]
    said += _failures(found)
    if len(found.strategies) == 1:
        return [*said, "There is no other strategy to compare it with."]
    if seeds < FEWEST:
        others = _listed([f"{each.name} {each.mean:.4g}" for each in found.strategies[1:]])
        verb = "bears" if seeds == 1 else "bear"
        return [*said, f"The others: {others}. {_count(seeds, 'seed')} {verb} no verdict: run {FEWEST} or more."]
    if leader.provisional:
        said.append(f"All of this is provisional: {seeds} seeds are few, and {EXACT} or more bear a firm verdict.")
    groups = {
        verdict: [each for each in found.strategies if each.verdict == verdict]
        for verdict in ("worse", "tied", "undecided")
    }
    if worse := groups["worse"]:
        said.append(f"Worse: {_listed([f'{each.name} by {_gap(found, each)}' for each in worse])}.")
    if tied := groups["tied"]:
        said.append(f"Tied with it, within {amount(found, found.margin)}: {_listed([each.name for each in tied])}.")
    if open_ := groups["undecided"]:
        listed = _listed([f"{each.name} ({_gap(found, each)})" for each in open_])
        said.append(f"It cannot be told whether it is better than {listed}.")
    least = smallest_found(found.gap_sd, seeds)
    said.append(f"With {seeds} seeds, differences of {amount(found, least)} or more are likely to be found.")
    if open_ and (count := wanted_seeds(found)):
        said.append(f"About {count} seeds would settle {'them' if len(open_) > 1 else 'it'}.")
    elif open_:
        said.append(f"More than {MOST_SEEDS} seeds would be needed to tell them apart: take either.")
    return said


def amount(found: Comparison, size: float) -> str:
    """A difference as it is read: per cent of a loss, or the metric's own unit."""
    return f"{_number(found, size)} %" if found.scale == "log" else _number(found, size)


def between(found: Comparison, low: float, high: float) -> str:
    """An interval of differences, likewise."""
    return f"{_number(found, low)} to {amount(found, high)}"


def shown(found: Comparison, size: float) -> float:
    """A difference as a figure shows it, in the unit of `amount`."""
    return 100 * math.expm1(size) if found.scale == "log" else size


def _number(found: Comparison, size: float) -> str:
    value = shown(found, size)
    if found.scale == "plain":
        return f"{value:.3g}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _failures(found: Comparison) -> list[str]:
    failed = [each for each in found.strategies if each.failed]
    if not failed:
        return []
    runs = sum(each.runs for each in found.strategies)
    listed = _listed([f"{each.name} {each.failed}" for each in failed])
    return [f"{sum(each.failed for each in failed)} of {_count(runs, 'run')} failed: {listed}."]


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MOST_NAMED
    return "; ".join(items[:MOST_NAMED]) + (f"; and {more} more, see the table" if more > 0 else "")


def _gap(found: Comparison, each: Standing) -> str:
    """How far a strategy is from the leader, with the interval, and how much that is beside a seed's own scatter."""
    sign = 1 if found.mode == "min" else -1
    ends = sorted(sign * end for end in (each.low, each.high) if end is not None)
    text = f"{amount(found, sign * each.difference)}, 95 % interval {between(found, *ends)}"
    return text + (f", {abs(each.difference) / found.seed_sd:.2g} sd of a seed" if found.seed_sd else "")


def _needed(found: Comparison, each: Standing) -> int | None:
    names = found.strategies[0].name, each.name
    pair = next(pair for pair in found.pairs if (pair["first"], pair["second"]) == names)
    return seeds_to_settle(pair["difference"], pair["sd"], found.margin)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
