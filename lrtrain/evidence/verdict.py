"""Which strategy is best, which are worse, and what cannot be told.

Each strategy stands with the best of its settings, chosen by one metric (of the validation) and judged by another (of
the test), over the seeds that all have.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lrtrain.errors import RequestError
from lrtrain.evidence.fairness import warn
from lrtrain.evidence.paired import EXACT, FEWEST, LEVEL, Pair, Values, compare_pairs
from lrtrain.evidence.selection import Selection, Trial, good_rates, is_value, same_rate, select, written
from lrtrain.evidence.speed import SHARES, epochs_to, mean_of, value_at

METHODS = {
    0: "none: fewer than three seeds bear no verdict",
    FEWEST: "labels shuffled within seeds, largest range, and the pair's own paired t-test",
    EXACT: "joint sign flips of the seeds, largest difference, step-down",
}
"""What tests the differences, by the seeds from which on."""


@dataclass(frozen=True)
class Standing:
    """How one strategy stands.

    Attributes:
        name: Of the strategy.
        settings: Its best, by key.
        tried: Settings that it was given.
        runs: That these were.
        failed: Of these, those that came to no value.
        seconds: All its runs together.
        updates: Likewise.
        n: Seeds that count.
        mean: Of the metric over them.
        sd: Likewise.
        difference: To the leader, on the scale of the comparison.
        low: Of its 95 % interval; None where one seed has none.
        high: Likewise.
        p: Of the difference, adjusted for all pairs; None without a verdict.
        verdict: leader, worse, tied, undecided; None for fewer than three seeds.
        provisional: There are three to five seeds.
        good_rates: The lowest and the highest rate, of those tried, that come within the margin of its best.
        during: The metric that chose, after 25%, 50% and 100% of the epochs; None where that was not recorded.
        epochs_to_target: Mean over the seeds that came to the target; None where none did.
        reached: How many of the seeds did.
    """

    name: str
    settings: Mapping[str, Any]
    tried: int
    runs: int
    failed: int
    seconds: float
    updates: int
    n: int
    mean: float
    sd: float | None
    difference: float
    low: float | None
    high: float | None
    p: float | None
    verdict: str | None
    provisional: bool
    good_rates: tuple[float, float] | None
    during: Mapping[str, float | None]
    epochs_to_target: float | None
    reached: int

    @property
    def label(self) -> str:
        """The strategy with its settings, as on the command line."""
        return " ".join([self.name, *(f"{key}={written(value)}" for key, value in self.settings.items())])


@dataclass(frozen=True)
class Comparison:
    """What a set of runs says of their strategies.

    Attributes:
        metric: That was judged by.
        mode: A smaller (min) or a larger (max) one is better.
        chooser: The metric that chose the settings.
        scale: Of differences: log, of what is a positive loss, or plain.
        by: The keys that make a strategy.
        margin: Within which two are tied, on that scale.
        target: Of the metric that chose, for `epochs_to_target`.
        method: What tested the differences.
        strategies: The best first.
        pairs: Every two of them, by name.
        same_rate: The mean of each strategy at the rates that several share, whatever suits each best.
        seeds: That count.
        seed_sd: Sd of a strategy's seeds, pooled, on the scale; 0 for one seed.
        gap_sd: Typical sd of a seed's difference to the leader, on the scale.
        warnings: What a reader should know before believing it.
        of: What all runs have in common, where other comparisons stand beside this one.
        more: The command that would settle what is open; None where it is not known.
    """

    metric: str
    mode: str
    chooser: str
    scale: str
    by: tuple[str, ...]
    margin: float
    target: float
    method: str
    strategies: tuple[Standing, ...]
    pairs: tuple[Mapping[str, Any], ...]
    same_rate: Mapping[str, Mapping[str, float]]
    seeds: tuple[Any, ...]
    seed_sd: float
    gap_sd: float
    warnings: tuple[str, ...] = ()
    of: Mapping[str, str] = field(default_factory=dict)
    more: str | None = None


class Measure(NamedTuple):
    """A metric, and what of it is better.

    Attributes:
        name: Of the metric.
        mode: A smaller (min) or a larger (max) one is better.
    """

    name: str
    mode: str


def compare(
    trials: Sequence[Trial],
    *,
    judge: Measure,
    chooser: Measure,
    by: Sequence[str],
    margin: float | None = None,
    target: float | None = None,
) -> Comparison:
    """Compare strategies, each at its best setting, paired by seed.

    Args:
        trials: All runs, failed ones too.
        judge: What they are compared by.
        chooser: What their settings are chosen by.
        by: The keys that make a strategy.
        margin: Within which two are tied; None takes one sd of a strategy's seeds, pooled.
        target: That the epochs are counted to, of what chooses; None takes what the strategy in the middle comes to.

    Raises:
        RequestError: No strategy has a run with a value.
    """
    judged = [trial.judged_by for trial in trials if is_value(trial.judged_by)]
    if not judged:
        raise RequestError(f"no run has a value of {judge.name}: there is nothing to compare")
    scale = "log" if judge.mode == "min" and "loss" in judge.name and min(judged) > 0 else "plain"
    chosen = select(trials, chooser.mode)
    scaled = np.log(chosen.judged) if scale == "log" else chosen.judged
    best_first = np.argsort(scaled.mean(axis=1) * (1 if judge.mode == "min" else -1), kind="stable").tolist()
    chosen, scaled = chosen.ordered(best_first), scaled[best_first]
    seed_sd = _sd_of_seeds(scaled)
    margin = seed_sd if margin is None else margin
    target = _middle(chosen, chooser.mode) if target is None else target
    pairs = compare_pairs(scaled)
    standings = [
        _stand(chosen, row, pairs, _verdict(scaled, row, pairs, margin), margin, target, judge, chooser)
        for row in range(len(scaled))
    ]
    return Comparison(
        metric=judge.name,
        mode=judge.mode,
        chooser=chooser.name,
        scale=scale,
        by=tuple(by),
        margin=margin,
        target=target,
        method=METHODS[max(fewest for fewest in METHODS if fewest <= len(chosen.seeds))],
        strategies=tuple(standings),
        pairs=tuple(_by_name(pair, chosen.names) for pair in pairs),
        same_rate=same_rate(chosen.tried),
        seeds=chosen.seeds,
        seed_sd=seed_sd,
        gap_sd=_sd_of_gaps(scaled),
        warnings=tuple(warn(chosen, scaled, judge.name, chooser.name)),
    )


def _sd_of_seeds(scaled: Values) -> float:
    """Pooled over the strategies."""
    return float(np.sqrt(scaled.var(axis=1, ddof=1).mean())) if scaled.shape[1] > 1 else 0.0


def _sd_of_gaps(scaled: Values) -> float:
    """Typical of the differences to the leader, which is the first row."""
    return float(np.median((scaled[1:] - scaled[0]).std(axis=1, ddof=1))) if min(scaled.shape) > 1 else 0.0


def _middle(chosen: Selection, mode: str) -> float:
    """What half of the strategies come to, by the metric that chose."""
    means = [statistics.fmean(trial.chosen_by or 0.0 for trial in chosen.counted(name)) for name in chosen.names]
    return statistics.median_high(means) if mode == "min" else statistics.median_low(means)


def _stand(
    chosen: Selection,
    row: int,
    pairs: Sequence[Pair],
    verdict: str | None,
    margin: float,
    target: float,
    judge: Measure,
    chooser: Measure,
) -> Standing:
    name, raw, gap = chosen.names[row], chosen.judged[row], _to_leader(row, pairs)
    settings, counted = chosen.tried[name], chosen.counted(name)
    runs = [trial for trials in settings.values() for trial in trials.values()]
    curves = [trial.curve for trial in counted if trial.curve is not None]
    epochs = [epochs_to(curve, target, chooser.mode) for curve in curves]
    return Standing(
        name=name,
        settings=dict(chosen.best[name]),
        tried=len(settings),
        runs=len(runs),
        failed=sum(not is_value(trial.judged_by) for trial in runs),
        seconds=round(sum(trial.seconds for trial in runs), 3),
        updates=sum(trial.updates for trial in runs),
        n=len(raw),
        mean=float(raw.mean()),
        sd=float(raw.std(ddof=1)) if len(raw) > 1 else None,
        difference=gap.difference if gap else 0.0,
        low=_or_none(gap.low) if gap else None,
        high=_or_none(gap.high) if gap else None,
        p=_or_none(gap.p) if gap else None,
        verdict=verdict,
        provisional=FEWEST <= len(raw) < EXACT,
        good_rates=good_rates(settings, margin, judge.mode),
        during={f"{share:.0%}": mean_of([value_at(curve, share) for curve in curves]) for share in SHARES},
        epochs_to_target=mean_of(epochs),
        reached=sum(map(math.isfinite, epochs)),
    )


def _to_leader(row: int, pairs: Sequence[Pair]) -> Pair | None:
    return next((pair for pair in pairs if (pair.first, pair.second) == (0, row)), None)


def _verdict(scaled: Values, row: int, pairs: Sequence[Pair], margin: float) -> str | None:
    gap = _to_leader(row, pairs)
    if scaled.shape[1] < FEWEST:
        return None
    if gap is None:
        return "leader"
    if gap.p <= LEVEL:
        return "worse"
    equal = bool((scaled[row] == scaled[0]).all())
    return "tied" if equal or (-margin <= gap.low and gap.high <= margin) else "undecided"


def _by_name(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    """A pair with the names of its strategies instead of their places; what is not a number is None."""
    numbers = {key: _or_none(value) for key, value in pair._asdict().items() if key not in ("first", "second")}
    return {"first": names[pair.first], "second": names[pair.second], **numbers}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
