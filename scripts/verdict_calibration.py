"""How far the verdict can be trusted: simulated comparisons whose truth is known.

Run: python scripts/verdict_calibration.py [--repetitions 2000]
Every value is a mean, an effect of the seed and noise; the total sd is 1, the correlation over the seeds a half unless
said, so that one sd of a strategy is one sd of a paired difference. "false" is how often some pair of strategies that
are all alike is called worse (family-wise error; at most 5 % is promised, for noise that is symmetric and equal);
"power" how often the one strategy that is one sd worse than all others is called worse than the leader; "cover" how
often the 95 % interval of a difference holds the true one. Simulation error: 0.5 points at 2,000 repetitions.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lrtrain.evidence.paired import LEVEL, compare_pairs

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, int]], Values]


def normal(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Sd 1."""
    return random.normal(size=shape)


def heavy(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Student's t with 3 degrees of freedom, scaled to sd 1."""
    return random.standard_t(3, size=shape) / math.sqrt(3)


def skewed(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Log-normal with parameter 0.9, scaled to mean 0 and sd 1."""
    sigma = 0.9
    mean, sd = math.exp(sigma**2 / 2), math.sqrt((math.exp(sigma**2) - 1) * math.exp(sigma**2))
    return (random.lognormal(0, sigma, size=shape) - mean) / sd


def noisier(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Normal, and three times as much for one strategy."""
    found = random.normal(size=shape)
    found[0] *= 3
    return found


def simulated(random: np.random.Generator, strategies: int, seeds: int, noise: Noise, correlation: float) -> Values:
    """Values (strategies, seeds) of strategies that are all alike."""
    shared = math.sqrt(correlation) * random.normal(size=(1, seeds))
    return shared + math.sqrt(1 - correlation) * noise(random, (strategies, seeds))


def chosen(random: np.random.Generator, strategies: int, seeds: int) -> Values:
    """The same, each the best of three rates that are all alike, chosen on a validation of the same seeds."""
    shared = math.sqrt(0.5) * random.normal(size=(1, 1, seeds))
    own = shared + math.sqrt(0.5) * random.normal(size=(3, strategies, seeds))
    validated = own + 0.5 * random.normal(size=own.shape)
    best = validated.mean(axis=2).argmin(axis=0)
    picked: Values = own[best, np.arange(strategies)]
    return picked


def false_alarms(draw: Callable[[], Values], repetitions: int) -> float:
    """The share of comparisons in which some pair is called different."""
    return float(np.mean([min(pair.p for pair in compare_pairs(draw())) <= LEVEL for _ in range(repetitions)]))


def power(draw: Callable[[], Values], repetitions: int) -> float:
    """The share in which the last strategy, one sd worse, is called worse than the leader."""
    found = 0
    for _ in range(repetitions):
        values = draw()
        values[-1] += 1
        leader = int(values.mean(axis=1).argmin())
        found += any(
            {pair.first, pair.second} == {leader, len(values) - 1} and pair.p <= LEVEL for pair in compare_pairs(values)
        )
    return found / repetitions


def coverage(draw: Callable[[], Values], repetitions: int) -> float:
    """The share of intervals of one difference that hold 0."""
    pairs = [compare_pairs(draw()[:2])[0] for _ in range(repetitions)]
    return float(np.mean([pair.low <= 0 <= pair.high for pair in pairs]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    random = np.random.default_rng(0)
    print(f"{'':44s}{'false %':>9s}{'power %':>9s}{'cover %':>9s}{'s':>7s}")

    def row(name: str, draw: Callable[[], Values], times: int = repetitions) -> None:
        began = time.perf_counter()
        values = [100 * measure(draw, times) for measure in (false_alarms, power, coverage)]
        print(f"{name:44s}{''.join(f'{value:9.1f}' for value in values)}{time.perf_counter() - began:7.0f}", flush=True)

    def plain(strategies: int, seeds: int, noise: Noise = normal, correlation: float = 0.5) -> Callable[[], Values]:
        return lambda: simulated(random, strategies, seeds, noise, correlation)

    row("20 strategies, 10 seeds", plain(20, 10))
    row("the same, the best of 3 rates on these seeds", lambda: chosen(random, 20, 10))
    row("5 strategies, 10 seeds", plain(5, 10))
    row("10 strategies, 10 seeds", plain(10, 10))
    row("10 strategies, 6 seeds", plain(10, 6))
    few = max(100, repetitions // 10)  # shuffles take longer
    row(f"10 strategies, 3 seeds (provisional; {few})", plain(10, 3), few)
    row(f"10 strategies, 5 seeds (provisional; {few})", plain(10, 5), few)
    row("10 strategies, 10 seeds, heavy tails", plain(10, 10, heavy))
    row("10 strategies, 10 seeds, skewed", plain(10, 10, skewed))
    row("10 strategies, 10 seeds, one 3x noisier", plain(10, 10, noisier))
    row("10 strategies, 10 seeds, no correlation", plain(10, 10, correlation=0.0))
    row("10 strategies, 10 seeds, correlation 0.8", plain(10, 10, correlation=0.8))


if __name__ == "__main__":
    main()
