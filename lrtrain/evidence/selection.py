"""With which of its settings each strategy stands, and over which seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from lrtrain.evidence.paired import Values
from lrtrain.evidence.speed import Curve

Setting = tuple[tuple[str, Any], ...]


class Trial(NamedTuple):
    """A run, as it counts in a comparison.

    Attributes:
        strategy: Whose.
        setting: What was varied beside the strategy and the seed, by key.
        seed: Of the run; what it has in common with one run of each other strategy.
        chosen_by: The metric that chooses a strategy's setting; None where the run failed.
        judged_by: The metric that is compared; likewise.
        seconds: It took.
        updates: It did.
        curve: Of the metric that chooses, where it was recorded.
    """

    strategy: str
    setting: Setting
    seed: Any
    chosen_by: float | None
    judged_by: float | None
    seconds: float = 0.0
    updates: int = 0
    curve: Curve | None = None


Trials = Mapping[Any, Trial]
"""By seed."""
Tried = Mapping[str, Mapping[Setting, Trials]]
"""What each strategy was given."""


@dataclass(frozen=True)
class Selection:
    """Strategies with their settings.

    Attributes:
        tried: All that each was given.
        best: The chosen setting of each that counts.
        seeds: That all of these have, in order.
    """

    tried: Tried
    best: Mapping[str, Setting]
    seeds: tuple[Any, ...]

    @property
    def names(self) -> list[str]:
        """Of the strategies that count, in the order of `judged`."""
        return list(self.best)

    def counted(self, name: str) -> list[Trial]:
        """The runs that a strategy is judged by, in the order of the seeds."""
        return [self.tried[name][self.best[name]][seed] for seed in self.seeds]

    @property
    def judged(self) -> Values:
        """Their values, of shape (strategies, seeds)."""
        return np.array([[trial.judged_by for trial in self.counted(name)] for name in self.best], dtype=float)

    def ordered(self, rows: Sequence[int]) -> Selection:
        """The same, with the strategies in another order, given by their rows now."""
        names = self.names
        return Selection(self.tried, {names[row]: self.best[names[row]] for row in rows}, self.seeds)


def select(trials: Sequence[Trial], mode: str) -> Selection:
    """Choose each strategy's setting by its mean over the seeds; a failed seed bars a setting from being best.

    Args:
        trials: All runs; one at least has a value.
        mode: A smaller (min) or a larger (max) value of what chooses is better.
    """
    tried: dict[str, dict[Setting, dict[Any, Trial]]] = {}
    for trial in trials:
        tried.setdefault(trial.strategy, {}).setdefault(trial.setting, {})[trial.seed] = trial
    best = {name: _best_setting(settings, mode) for name, settings in tried.items()}
    seeds = {name: own for name, setting in best.items() if (own := seeds_of(tried[name][setting]))}
    most = max(seeds.values(), key=len)
    shared = most.intersection(*(own for own in seeds.values() if own & most))
    return Selection(tried, {name: best[name] for name, own in seeds.items() if shared <= own}, in_order(shared))


def in_order(seeds: Collection[Any]) -> tuple[Any, ...]:
    """Numbers by size, and what else says which runs belong together as text."""
    numbers = sorted(seed for seed in seeds if isinstance(seed, int | float))
    return (*numbers, *sorted((seed for seed in seeds if not isinstance(seed, int | float)), key=str))


def is_value(value: float | None) -> TypeGuard[float]:
    """Whether a run came to it."""
    return value is not None and math.isfinite(value)


def seeds_of(trials: Trials) -> set[Any]:
    """Those with a value of both metrics."""
    return {seed for seed, trial in trials.items() if is_value(trial.judged_by) and is_value(trial.chosen_by)}


def written(value: Any) -> str:
    """A value of a setting as on the command line."""
    return json.dumps(value) if value is None or isinstance(value, bool) else f"{value}"


def rate_of(setting: Setting) -> float | None:
    """The base rate, where it was varied."""
    value = dict(setting).get("lr")
    return float(value) if isinstance(value, int | float) else None


def means_by_rate(settings: Mapping[Setting, Trials]) -> dict[float, list[float]]:
    """The means of the settings that have each rate, but for settings with a failed seed."""
    found: dict[float, list[float]] = {}
    for setting, trials in settings.items():
        values = [trials[seed].judged_by or 0.0 for seed in seeds_of(trials)]
        if (rate := rate_of(setting)) is not None and values and len(values) == len(trials):
            found.setdefault(rate, []).append(sum(values) / len(values))
    return found


def same_rate(tried: Tried) -> dict[str, dict[str, float]]:
    """The mean of each strategy at the rates that several share, by rate and strategy."""
    by_rate: dict[float, dict[str, float]] = {}
    for name, settings in tried.items():
        for rate, means in means_by_rate(settings).items():
            if len(means) == 1:  # else the strategy's own settings differ too
                by_rate.setdefault(rate, {})[name] = means[0]
    return {f"{rate:g}": row for rate, row in sorted(by_rate.items()) if len(row) > 1}


def good_rates(settings: Mapping[Setting, Trials], margin: float, mode: str) -> tuple[float, float] | None:
    """The range of rates that come within the margin of the best; None where they were not varied, or it is 0."""
    pick = min if mode == "min" else max
    means = {rate: pick(values) for rate, values in means_by_rate(settings).items()}
    if len(means) < 2 or not margin:
        return None
    best = pick(means.values())
    log = best > 0 and mode == "min"
    good = [rate for rate, mean in means.items() if (math.log(mean / best) if log else abs(mean - best)) <= margin]
    return min(good), max(good)


def _best_setting(settings: Mapping[Setting, Trials], mode: str) -> Setting:
    """The setting with the best mean; one with a failed seed, or with fewer seeds, only where there is no other."""

    def key(setting: Setting) -> tuple[int, int, float]:
        seeds = seeds_of(settings[setting])
        values = [settings[setting][seed].chosen_by or 0.0 for seed in seeds]
        mean = sum(values) / len(values) if values else 0.0
        return len(settings[setting]) - len(seeds), -len(seeds), mean if mode == "min" else -mean

    return min(settings, key=key)
