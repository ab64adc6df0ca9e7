"""Differences between strategies that share their seeds: how large they are, and which of them chance explains.

All pairs are tested at once, so that strategies that are all alike are called different in 5 % of comparisons at most,
however many there are. `scripts/verdict_calibration.py` shows by simulation how far that holds.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

LEVEL = 0.05
POWER = 0.8
FEWEST = 3
"""Seeds under which nothing is said."""
EXACT = 6
"""Seeds from which on flipped signs can be rare enough: the rarest of 2^(n - 1) is 1 in 32."""
_ALL_SIGNS = 14
_DRAWS = 10_000
_CHUNK = 256

Values = NDArray[np.float64]


class Pair(NamedTuple):
    """Two strategies by their rows, and the difference between them.

    Attributes:
        first: The row of one.
        second: That of the other.
        difference: Mean over the seeds of the second less the first.
        sd: Of that difference over the seeds; NaN for one seed.
        low: Lower end of its 95 % interval (paired t), not adjusted for the number of pairs; NaN for one seed.
        high: The upper end.
        p: Of the difference, adjusted for all pairs; NaN for fewer than `FEWEST` seeds.
    """

    first: int
    second: int
    difference: float
    sd: float
    low: float
    high: float
    p: float


def compare_pairs(values: Values) -> list[Pair]:
    """Compare every two rows.

    With `EXACT` seeds or more, the signs of each seed's differences are flipped together, the statistic is the absolute
    mean difference, and the maxima step down (Westfall & Young 1993; Romano & Wolf 2005). With fewer, labels are
    shuffled within each seed, and a pair's own paired t-test must agree: the larger p counts.

    Args:
        values: Of shape (strategies, seeds), without gaps.
    """
    pairs = list(combinations(range(len(values)), 2))
    if not pairs:
        return []
    gaps = np.array([values[second] - values[first] for first, second in pairs])
    seeds = values.shape[1]
    if seeds >= EXACT:
        p = _flip_signs(gaps)
    elif seeds >= FEWEST:
        p = np.maximum(_shuffle_labels(values, gaps), [_t_test(gap) for gap in gaps])
    else:
        p = np.full(len(pairs), math.nan)
    return [Pair(*pair, *_summed_up(gap), float(each)) for pair, gap, each in zip(pairs, gaps, p, strict=True)]


def _summed_up(gap: Values) -> tuple[float, float, float, float]:
    """The mean of paired differences, their sd, and the 95 % interval of the mean by Student's t."""
    mean, seeds = float(gap.mean()), len(gap)
    if seeds < 2:
        return mean, math.nan, math.nan, math.nan
    sd = float(gap.std(ddof=1))
    half = float(stdtrit(seeds - 1, 1 - LEVEL / 2)) * sd / math.sqrt(seeds)
    return mean, sd, mean - half, mean + half


def smallest_found(sd: float, seeds: int) -> float:
    """The difference that a paired t-test finds with a power of 80 %, where the differences have this sd."""
    if seeds < 2:
        return math.inf
    return float(stdtrit(seeds - 1, 1 - LEVEL / 2) + stdtrit(seeds - 1, POWER)) * sd / math.sqrt(seeds)


def seeds_to_settle(difference: float, sd: float, margin: float, most: int = 1000) -> int | None:
    """The seeds after which a difference as it is seen now would be called worse, or tied; None for over `most`."""
    for seeds in range(EXACT, most + 1):
        half = smallest_found(sd, seeds)
        inside = float(stdtrit(seeds - 1, 1 - LEVEL / 2)) * sd / math.sqrt(seeds) + abs(difference) <= margin
        if half <= abs(difference) or inside:
            return seeds
    return None


def correlation(values: Values) -> float:
    """How alike the seeds' effects are: the median correlation of two rows; NaN where none varies."""
    found = []
    for first, second in combinations(values - values.mean(axis=1, keepdims=True), 2):
        size = math.sqrt(float((first**2).sum() * (second**2).sum()))
        if size:
            found.append(float((first * second).sum()) / size)
    return float(np.median(found)) if found else math.nan


def _flip_signs(gaps: Values) -> Values:
    """Adjusted p of each row of paired differences (pairs, seeds)."""
    count, seeds = gaps.shape
    seen = np.abs(gaps.mean(axis=1))
    order = np.argsort(-seen, kind="stable")
    signs = _signs(seeds)
    reached = np.zeros(count)
    for start in range(0, len(signs), _CHUNK):
        flipped = np.abs(signs[start : start + _CHUNK] @ gaps[order].T) / seeds
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]  # of a pair and all below it
        reached += (largest >= seen[order] * (1 - 1e-9)).sum(axis=0)
    p = np.empty(count)
    p[order] = np.maximum.accumulate(reached / len(signs))
    return p


def _signs(seeds: int) -> Values:
    """Every pattern of signs that differs by more than all of them, or many at random with the one that was seen."""
    if seeds <= _ALL_SIGNS:
        numbers = np.arange(2 ** (seeds - 1))[:, None]
        return np.where(numbers >> np.arange(seeds) & 1, -1.0, 1.0)
    drawn = np.random.default_rng(0).choice([-1.0, 1.0], size=(_DRAWS, seeds))
    drawn[0] = 1
    return drawn


def _shuffle_labels(values: Values, gaps: Values) -> Values:
    """The p of each row of paired differences (pairs, seeds): how often labels that mean nothing range as far."""
    random, seen = np.random.default_rng(0), np.abs(gaps.mean(axis=1))
    reached, draws = np.ones(len(gaps)), 1  # the labels as they are
    for _ in range(_DRAWS // _CHUNK):
        shuffled = random.permuted(np.broadcast_to(values, (_CHUNK, *values.shape)), axis=1)
        spread = np.ptp(shuffled.mean(axis=2), axis=1)
        reached += (spread[:, None] >= seen * (1 - 1e-9)).sum(axis=0)
        draws += _CHUNK
    return reached / draws


def _t_test(gap: Values) -> float:
    """Two-sided p of a paired t-test."""
    mean, sd, seeds = float(gap.mean()), float(gap.std(ddof=1)), len(gap)
    if not sd:
        return 1.0 if not mean else 0.0
    return 2 * float(stdtr(seeds - 1, -abs(mean) / sd * math.sqrt(seeds)))
