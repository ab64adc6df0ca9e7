"""What a reader should know before believing a comparison."""

from __future__ import annotations

from collections.abc import Iterable

from lrtrain.evidence.paired import FEWEST, Values, correlation
from lrtrain.evidence.selection import Selection, in_order, is_value, rate_of

UNEQUAL = 2.5
"""Times that the seeds of one strategy may scatter more than those of another."""
UNPAIRED = 0.2
"""Correlation over the seeds below which pairing them gains nothing."""


def warn(chosen: Selection, scaled: Values, metric: str, chooser: str) -> Iterable[str]:
    """What is not fair, or not as it seems.

    Args:
        chosen: The strategies with their settings.
        scaled: Their values, of shape (strategies, seeds), on the scale of the comparison.
        metric: That judges.
        chooser: That chose the settings.
    """
    if left_out := [name for name in chosen.tried if name not in chosen.best]:
        yield f"left out, with no seed in common with the others: {', '.join(left_out)}"
    yield from _of_settings(chosen, metric, chooser)
    yield from _of_seeds(chosen)
    for name in chosen.names:
        yield from _of_rates(chosen, name)
    if len(chosen.seeds) >= FEWEST:
        yield from _of_scatter(chosen.names, scaled)


def _of_settings(chosen: Selection, metric: str, chooser: str) -> Iterable[str]:
    tried = {name: len(chosen.tried[name]) for name in chosen.names}
    if len(set(tried.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in tried.items())
        yield f"not fair: the strategies were given unequal numbers of settings ({listed})"
    if metric == chooser and max(tried.values()) > 1:
        yield f"{metric} chose the settings and judges them: the strategies look better than they are"


def _of_seeds(chosen: Selection) -> Iterable[str]:
    used = {seed for name, setting in chosen.best.items() for seed in chosen.tried[name][setting]}
    if missing := in_order(used - set(chosen.seeds)):
        yield f"seeds {', '.join(map(str, missing))} are left out, as not every strategy has a value of them"
    for name, setting in chosen.best.items():
        failed = sum(not is_value(trial.judged_by) for trial in chosen.tried[name][setting].values())
        if failed:
            yield f"{name}: {failed} of its seeds failed under every setting"


def _of_rates(chosen: Selection, name: str) -> Iterable[str]:
    rates = sorted({rate for setting in chosen.tried[name] if (rate := rate_of(setting)) is not None})
    own = rate_of(chosen.best[name])
    if own is None or len(rates) < 2 or own not in (rates[0], rates[-1]):
        return
    further = own * max(0.1, rates[0] / rates[1]) if own == rates[0] else own * min(10, rates[-1] / rates[-2])
    yield f"not fair: the best rate of {name}, {own:g}, is at the edge of its grid: add lr={further:.3g}"


def _of_scatter(names: list[str], scaled: Values) -> Iterable[str]:
    sds = scaled.std(axis=1, ddof=1)
    if sds.min() and sds.max() / sds.min() > UNEQUAL:
        noisy, quiet = names[int(sds.argmax())], names[int(sds.argmin())]
        yield (
            f"the seeds of {noisy} scatter {sds.max() / sds.min():.1f} times as much as those of {quiet}: "
            "with skewed values, up to one comparison in nine may call equal strategies different"
        )
    if correlation(scaled) < UNPAIRED:
        yield "the strategies' values do not go together over the seeds: pairing them gains nothing"
