"""Which strategy is best, which are worse, and what cannot be told.

Each strategy stands with the best of its settings, chosen by one metric (of the validation) and judged by another (of
the test), over the seeds that all have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lrtrain.errors import RequestError
from lrtrain.evidence.paired import EXACT, FEWEST, LEVEL, Pair, Values, compare_pairs, correlation

METHODS = {
    0: "none: fewer than three seeds bear no verdict",
    FEWEST: "labels shuffled within seeds, largest range, and the pair's own paired t-test",
    EXACT: "joint sign flips of the seeds, largest difference, step-down",
}
"""What tests the differences, by the seeds from which on."""

UNEQUAL = 2.5
"""Times that the seeds of one strategy may scatter more than those of another."""
UNPAIRED = 0.2
"""Correlation over the seeds below which pairing them gains nothing."""

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
    """

    strategy: str
    setting: Setting
    seed: Any
    chosen_by: float | None
    judged_by: float | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Standing:
    """How one strategy stands.

    Attributes:
        name: Of the strategy.
        settings: Its best, by key.
        tried: Settings that it was given.
        failed: Runs of it that came to no value.
        seconds: All its runs together.
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
    """

    name: str
    settings: Mapping[str, Any]
    tried: int
    failed: int
    seconds: float
    n: int
    mean: float
    sd: float | None
    difference: float
    low: float | None
    high: float | None
    p: float | None
    verdict: str | None
    provisional: bool
    good_rates: tuple[float, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """What a set of runs says of their strategies.

    Attributes:
        metric: That was judged by.
        mode: A smaller (min) or a larger (max) one is better.
        scale: Of differences: log, of what is a positive loss, or plain.
        by: The keys that make a strategy.
        margin: Within which two are tied, on that scale.
        method: What tested the differences.
        strategies: The best first.
        pairs: Every two of them, by name.
        same_rate: The mean of each strategy at the rates that several share, whatever suits each best.
        seeds: That count.
        gap_sd: Typical sd of a seed's difference to the leader, on the scale.
        warnings: What a reader should know before believing it.
        of: What all runs have in common, where other comparisons stand beside this one.
        more: The command that would settle what is open; None where it is not known.
    """

    metric: str
    mode: str
    scale: str
    by: tuple[str, ...]
    margin: float
    method: str
    strategies: tuple[Standing, ...]
    pairs: tuple[Mapping[str, Any], ...]
    same_rate: Mapping[str, Mapping[str, float]]
    seeds: tuple[Any, ...]
    gap_sd: float
    warnings: tuple[str, ...] = ()
    of: Mapping[str, str] = field(default_factory=dict)
    more: str | None = None


def compare(
    trials: Sequence[Trial],
    *,
    metric: str,
    mode: str,
    chooser: str,
    chooser_mode: str,
    by: Sequence[str],
    margin: float | None = None,
) -> Comparison:
    """Compare strategies, each at its best setting, paired by seed.

    Args:
        trials: All runs, failed ones too.
        metric: Name of what they are judged by.
        mode: A smaller (min) or a larger (max) one is better.
        chooser: Name of what their settings are chosen by.
        chooser_mode: Likewise.
        by: The keys that make a strategy.
        margin: Within which two are tied; None takes one sd of a strategy's seeds, pooled.

    Raises:
        RequestError: No strategy has a run with a value.
    """
    found: dict[str, dict[Setting, dict[int, Trial]]] = {}
    for trial in trials:
        found.setdefault(trial.strategy, {}).setdefault(trial.setting, {})[trial.seed] = trial
    judged = [float(trial.judged_by) for trial in trials if trial.judged_by is not None and _is_value(trial.judged_by)]
    if not judged:
        raise RequestError(f"no run has a value of {metric}: there is nothing to compare")
    scale = "log" if mode == "min" and "loss" in metric and min(judged) > 0 else "plain"
    best = {name: _best_setting(settings, chooser_mode) for name, settings in found.items()}
    best = {name: setting for name, setting in best.items() if _seeds(found[name][setting])}
    seeds = _shared_seeds({name: _seeds(found[name][setting]) for name, setting in best.items()})
    names = [name for name in best if seeds <= _seeds(found[name][best[name]])]
    order = sorted(seeds)
    raw = np.array([[found[name][best[name]][seed].judged_by for seed in order] for name in names], dtype=float)
    scaled = np.log(raw) if scale == "log" else raw
    best_first = np.argsort(scaled.mean(axis=1) * (1 if mode == "min" else -1), kind="stable")
    names, raw, scaled = [names[row] for row in best_first], raw[best_first], scaled[best_first]
    sds = scaled.std(axis=1, ddof=1) if len(order) > 1 else np.zeros(len(names))
    margin = float(np.sqrt((sds**2).mean())) if margin is None else margin
    pairs = compare_pairs(scaled)
    standings = tuple(
        _stand(name, row, found[name], best[name], raw[row], pairs, scaled, margin, mode)
        for row, name in enumerate(names)
    )
    gaps = (scaled[1:] - scaled[0]).std(axis=1, ddof=1) if len(order) > 1 and len(names) > 1 else np.zeros(1)
    return Comparison(
        metric=metric,
        mode=mode,
        scale=scale,
        by=tuple(by),
        margin=margin,
        method=METHODS[max(fewest for fewest in METHODS if fewest <= len(order))],
        strategies=standings,
        pairs=tuple(_by_name(pair, names) for pair in pairs),
        same_rate=_same_rate(found),
        seeds=tuple(order),
        gap_sd=float(np.median(gaps)),
        warnings=tuple(_warnings(found, best, names, order, scaled, metric, chooser)),
    )


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


def _stand(
    name: str,
    row: int,
    settings: Mapping[Setting, Mapping[int, Trial]],
    setting: Setting,
    raw: Values,
    pairs: Sequence[Pair],
    scaled: Values,
    margin: float,
    mode: str,
) -> Standing:
    runs = [trial for trials in settings.values() for trial in trials.values()]
    seeds = len(raw)
    to_leader = next((pair for pair in pairs if (pair.first, pair.second) == (0, row)), None)
    return Standing(
        name=name,
        settings=dict(setting),
        tried=len(settings),
        failed=sum(not _is_value(trial.judged_by) for trial in runs),
        seconds=round(sum(trial.seconds for trial in runs), 3),
        n=seeds,
        mean=float(raw.mean()),
        sd=float(raw.std(ddof=1)) if seeds > 1 else None,
        difference=to_leader.difference if to_leader else 0.0,
        low=_or_none(to_leader.low) if to_leader else None,
        high=_or_none(to_leader.high) if to_leader else None,
        p=_or_none(to_leader.p) if to_leader else None,
        verdict=_verdict(to_leader, margin, seeds, equal=bool((scaled[row] == scaled[0]).all())),
        provisional=FEWEST <= seeds < EXACT,
        good_rates=_good_rates(settings, margin, mode),
    )


def _by_name(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    """A pair with the names of its strategies instead of their places; what is not a number is None."""
    numbers = {key: _or_none(value) for key, value in pair._asdict().items() if key not in ("first", "second")}
    return {"first": names[pair.first], "second": names[pair.second], **numbers}


def _verdict(to_leader: Pair | None, margin: float, seeds: int, *, equal: bool) -> str | None:
    if seeds < FEWEST:
        return None
    if to_leader is None:
        return "leader"
    if to_leader.p <= LEVEL:
        return "worse"
    return "tied" if equal or (-margin <= to_leader.low and to_leader.high <= margin) else "undecided"


def _is_value(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _seeds(trials: Mapping[int, Trial]) -> set[int]:
    """Those with a value of both metrics."""
    return {seed for seed, trial in trials.items() if _is_value(trial.judged_by) and _is_value(trial.chosen_by)}


def _best_setting(settings: Mapping[Setting, Mapping[int, Trial]], mode: str) -> Setting:
    """The setting with the best mean; one with a failed seed, or with fewer seeds, only where there is no other."""

    def key(setting: Setting) -> tuple[int, int, float]:
        seeds = _seeds(settings[setting])
        values = [settings[setting][seed].chosen_by or 0.0 for seed in seeds]
        mean = sum(values) / len(values) if values else 0.0
        return len(settings[setting]) - len(seeds), -len(seeds), mean if mode == "min" else -mean

    return min(settings, key=key)


def _shared_seeds(seeds: Mapping[str, set[int]]) -> set[int]:
    """The seeds that all have; a strategy that shares none with the one that has most counts for nothing."""
    most = max(seeds.values(), key=len)
    return most.intersection(*(own for own in seeds.values() if own & most))


def _rate(setting: Setting) -> float | None:
    value = dict(setting).get("lr")
    return float(value) if isinstance(value, int | float) else None


def _means_by_rate(settings: Mapping[Setting, Mapping[int, Trial]]) -> dict[float, list[float]]:
    """The means of the settings that have each rate."""
    found: dict[float, list[float]] = {}
    for setting, trials in settings.items():
        values = [trials[seed].judged_by or 0.0 for seed in _seeds(trials)]
        if (rate := _rate(setting)) is not None and values and len(values) == len(trials):
            found.setdefault(rate, []).append(sum(values) / len(values))
    return found


def _same_rate(found: Mapping[str, Mapping[Setting, Mapping[int, Trial]]]) -> dict[str, dict[str, float]]:
    by_rate: dict[float, dict[str, float]] = {}
    for name, settings in found.items():
        for rate, means in _means_by_rate(settings).items():
            if len(means) == 1:  # else the strategy's own settings differ too
                by_rate.setdefault(rate, {})[name] = means[0]
    return {f"{rate:g}": row for rate, row in sorted(by_rate.items()) if len(row) > 1}


def _good_rates(
    settings: Mapping[Setting, Mapping[int, Trial]], margin: float, mode: str
) -> tuple[float, float] | None:
    """The range of rates that come within the margin of the best."""
    pick = min if mode == "min" else max
    means = {rate: pick(values) for rate, values in _means_by_rate(settings).items()}
    if len(means) < 2:
        return None
    best = pick(means.values())
    log = best > 0 and mode == "min"
    good = [rate for rate, mean in means.items() if (math.log(mean / best) if log else abs(mean - best)) <= margin]
    return min(good), max(good)


def _warnings(
    found: Mapping[str, Mapping[Setting, Mapping[int, Trial]]],
    best: Mapping[str, Setting],
    names: Sequence[str],
    order: Sequence[int],
    scaled: Values,
    metric: str,
    chooser: str,
) -> Iterable[str]:
    left_out = [name for name in found if name not in names]
    if left_out:
        yield f"left out, with no seed in common with the others: {', '.join(left_out)}"
    tried = {name: len(found[name]) for name in names}
    if len(set(tried.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in tried.items())
        yield f"not fair: the strategies were given unequal numbers of settings ({listed})"
    if metric == chooser and max(tried.values()) > 1:
        yield f"{metric} chose the settings and judges them: the strategies look better than they are"
    used = {seed for name in names for seed in found[name][best[name]]}
    if missing := sorted(used - set(order)):
        yield f"seeds {', '.join(map(str, missing))} are left out, as not every strategy has a value of them"
    for name in names:
        failed = [trial for trial in found[name][best[name]].values() if not _is_value(trial.judged_by)]
        if failed:
            yield f"{name}: {len(failed)} of its seeds failed under every setting"
        rates = sorted({rate for setting in found[name] if (rate := _rate(setting)) is not None})
        own = _rate(best[name])
        if len(rates) > 1 and own in (rates[0], rates[-1]):
            step = rates[1] / rates[0] if own == rates[0] else rates[-1] / rates[-2]
            further = own / step if own == rates[0] else own * step
            yield f"not fair: the best rate of {name}, {own:g}, is at the edge of its grid: add lr={further:.3g}"
    if len(order) < FEWEST:
        return
    sds = scaled.std(axis=1, ddof=1)
    if sds.min() and sds.max() / sds.min() > UNEQUAL:
        noisy, quiet = names[int(sds.argmax())], names[int(sds.argmin())]
        yield (
            f"the seeds of {noisy} scatter {sds.max() / sds.min():.1f} times as much as those of {quiet}: "
            "with skewed values, up to one comparison in nine may call equal strategies different"
        )
    if correlation(scaled) < UNPAIRED:
        yield "the strategies' values do not go together over the seeds: pairing them gains nothing"
