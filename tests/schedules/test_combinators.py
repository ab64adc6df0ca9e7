"""Schedules made of schedules: values by hand, and no jump where two of them meet."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from lrtrain import schedules as s
from lrtrain.parameters.signatures import defaults
from lrtrain.schedules import Progress, formula, registered

FAMILIES = [
    name
    for name, factory in registered().items()
    if inspect.Parameter.empty not in defaults(formula(factory)).values() and "parts" not in defaults(formula(factory))
]
RUN = {"steps_per_epoch": 10, "total_steps": 200}
Curve = Callable[[Progress], float]


def at(curve: Curve, step: int, **run: Any) -> float:
    return curve(Progress(step, **{**RUN, **run}))


def steps_of(curve: Curve, positions: range, **run: Any) -> float:
    """The largest change from one update to the next."""
    values = [at(curve, step, **run) for step in positions]
    return max(abs(b - a) for a, b in itertools.pairwise(values))


# Curve, and the expected multiplier at each step of a run of 20 epochs of 10 updates.
TABLE: list[tuple[str, Curve, dict[int, float]]] = [
    ("warm-up", s.warmup(s.constant(), "4st"), {0: 1 / 4, 1: 2 / 4, 3: 1, 4: 1, 500: 1}),
    ("no warm-up", s.warmup(s.linear(), 0), {0: 1, 50: 0.75, 200: 0}),
    (
        "warm-up leaves the peak to the curve with an end",
        s.warmup(s.linear(), "100st"),
        {99: 1, 100: 1, 150: 0.5, 200: 0},
    ),
    (
        "warm-up does not delay a milestone",
        s.warmup(s.multistep(gamma=0.5, milestones=[5]), 2),
        {19: 1, 49: 1, 50: 0.5},
    ),
    ("warm-up from a start", s.warmup(s.constant(), "4st", start=0.2), {0: 0.2 + 0.8 / 4, 1: 0.2 + 0.8 / 2, 3: 1}),
    ("cosine warm-up", s.warmup(s.constant(), "4st", shape="cosine"), {0: (1 - math.sqrt(0.5)) / 2, 1: 0.5, 3: 1}),
    (
        "1-sqrt warm-up",
        s.warmup(s.constant(), "4st", shape="1-sqrt"),
        {0: 1 - math.sqrt(0.75), 1: 1 - math.sqrt(0.5), 3: 1},
    ),
    ("exponential warm-up", s.warmup(s.constant(), "4st", "exponential", 0.0001), {0: 0.001, 1: 0.01, 2: 0.1, 3: 1}),
    ("warm-up of a warm-up", s.warmup(s.warmup(s.constant(), "2st"), "2st"), {0: 0.25, 1: 0.5, 2: 0.5, 3: 1}),
    ("floor", s.floor(s.linear(), 0.3), {0: 1, 100: 0.5, 140: 0.3, 200: 0.3}),
    ("ceiling", s.ceiling(s.noam("100st"), 0.3), {0: 0.01, 29: 0.3, 99: 0.3, 100_000: math.sqrt(100 / 100_001)}),
    ("hold an epoch", s.hold(s.linear(), "1ep"), {0: 1, 9: 1, 10: 0.95, 19: 0.95, 200: 0}),
    ("hold updates", s.hold(s.linear(), "50st"), {49: 1, 50: 0.75, 99: 0.75, 100: 0.5}),
    ("cooldown", s.cooldown(s.constant(), "40st"), {0: 1, 160: 1, 170: 0.75, 180: 0.5, 200: 0, 300: 0}),
    ("cooldown to a share", s.cooldown(s.constant(), "40st", end=0.2), {160: 1, 180: 0.6, 200: 0.2, 900: 0.2}),
    ("cooldown of what was reached", s.cooldown(s.linear(), "50%"), {100: 0.5, 150: 0.25, 200: 0}),
    ("cooldown to a share of that", s.cooldown(s.linear(), "50%", end=0.2), {100: 0.5, 150: 0.3, 200: 0.1}),
    (
        "cosine cooldown",
        s.cooldown(s.constant(), "40st", "cosine"),
        {160: 1, 180: 0.5, 190: (1 - math.sqrt(0.5)) / 2, 200: 0},
    ),
    ("1-sqrt cooldown", s.cooldown(s.constant(), "40st", "1-sqrt"), {160: 1, 170: 0.5, 200: 0}),
    ("no cooldown", s.cooldown(s.constant(), 0), {0: 1, 199: 1, 200: 1, 400: 1}),
    ("stretch", s.stretch(s.step(gamma=0.5, every=60), 200), {59: 1, 60: 0.5, 119: 0.5, 120: 0.25, 180: 0.125}),
    (
        "stretch of a longer plan",
        s.stretch(s.multistep(gamma=0.5, milestones=[30, 60]), 90),
        {66: 1, 67: 0.5, 134: 0.25},
    ),
    ("until before the end", s.until(s.linear(), "5ep"), {0: 1, 25: 0.5, 50: 0, 200: 0}),
    ("until after the end", s.until(s.linear(), "40ep"), {0: 1, 200: 0.5, 400: 0}),
    ("join", s.join([s.constant(), s.linear()], ["50%"]), {0: 1, 99: 1, 100: 1, 150: 0.5, 200: 0}),
    ("join continues", s.join([s.linear(end=0.5), s.linear()], [10]), {50: 0.75, 100: 0.5, 150: 0.25, 200: 0}),
    ("join restarts", s.join([s.linear(end=0.5), s.linear()], [10], "restart"), {99: 0.505, 100: 1, 150: 0.5}),
    (
        "join of three",
        s.join([s.constant(), s.linear(0.5), s.constant()], [5, 5]),
        {49: 1, 75: 0.75, 100: 0.5, 199: 0.5},
    ),
    (
        "join of three that fall",
        s.join([s.linear(end=0.5), s.linear(end=0.5), s.constant()], [5, 5]),
        {50: 0.5, 75: 0.375, 100: 0.25, 199: 0.25},
    ),
    ("product", s.product([s.linear(), s.step(gamma=0.5, every=10)]), {0: 1, 99: 0.505, 100: 0.25, 200: 0}),
    ("frozen", s.frozen(s.linear(), "3ep"), {0: 0, 29: 0, 30: 0.85, 200: 0}),
    ("reduced, to no less", s.reduced(s.linear(), 100, 0.5, 0.2), {0: 1, 99: 0.505, 100: 0.25, 140: 0.2, 180: 0.1}),
    ("reduced, never raised", s.reduced(s.warmup(s.constant(), "4st"), 1, 0.5, 0.6), {0: 0.25, 1: 0.5, 3: 0.6, 9: 0.6}),
    ("between", s.between(s.linear(), 0.04, 0.4), {0: 0.04, 100: 0.22, 200: 0.4}),
]


def test_values() -> None:
    for what, curve, expected in TABLE:
        found = {step: at(curve, step) for step in expected}
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15), what


INNER = [registered()[name]() for name in FAMILIES]


def test_warmup_ends_where_the_schedule_goes_on() -> None:
    shapes: Any = ("linear", "cosine", "1-sqrt")
    for inner, shape in itertools.product(INNER, shapes):
        warm = s.warmup(inner, "50st", shape)
        after = [at(inner, step, start=50) for step in range(49, 201)]
        assert [at(warm, step) for step in range(49, 201)] == after, warm


def test_a_join_does_not_jump_further_than_its_parts_step() -> None:
    for one in INNER:
        reached, largest = at(one, 100, total_steps=100), steps_of(one, range(101), total_steps=100)
        for two in INNER:
            joined = s.join([one, two], ["50%"])
            start = at(two, 0, total_steps=100)
            below_peak = reached * abs(start - 1)  # what begins below its base rate is meant to
            assert abs(at(joined, 100) - at(joined, 99)) <= largest + below_peak + 1e-12, joined


def test_a_cooldown_starts_at_the_rate_that_is_there() -> None:
    for inner in INNER:
        cooled = s.cooldown(inner, "25%")
        assert [at(cooled, step) for step in range(151)] == [at(inner, step) for step in range(151)], inner
        assert at(cooled, 200) == 0, inner
        assert steps_of(cooled, range(150, 201)) <= at(inner, 150) / 50 + 1e-12, inner


def test_a_stretch_to_the_same_length_changes_nothing() -> None:
    for inner in INNER:
        stretched = s.stretch(inner, "200st")
        assert [at(stretched, step) for step in range(300)] == [at(inner, step) for step in range(300)], inner


def test_a_stretch_meets_the_same_ends() -> None:
    for inner, length in itertools.product(INNER, (130, 1000)):
        stretched = s.stretch(inner, f"{length}st")
        assert at(stretched, 0) == at(inner, 0, total_steps=length), stretched
        assert at(stretched, 200) == at(inner, length, total_steps=length), stretched
        assert all(math.isfinite(at(stretched, step)) for step in range(300)), stretched


def test_configurations_name_their_parts() -> None:
    parts: Any = [{"scheduler": "linear", "end": 0.5}, {"scheduler": "floor", "inner": {"scheduler": "cosine"}}]
    said = s.join(parts, [5])
    assert said == s.join([s.linear(end=0.5), s.floor(s.cosine())], [5])


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: s.by_name("warmup", {"inner": 0.1}), "must be a schedule"),
    (lambda: s.by_name("warmup", {"inner": {"scheduler": "cosin"}}), "did you mean cosine"),
    (lambda: at(s.warmup(s.constant(), "4st", "exponential"), 0), "needs a start above 0"),
    (lambda: at(s.join([s.constant(), s.linear()], []), 0), "2 parts need 1 lengths, got 0"),
    (lambda: s.custom("math"), "must be a place such as my_module:my_function"),
    (lambda: s.custom("math:nothing"), "cannot be imported"),
]


def test_refusals() -> None:
    for build, message in REFUSED:
        with pytest.raises(ValueError, match=message):
            build()


def halving(progress: Progress, every: int = 10) -> float:
    return 0.5 ** (progress.step // every)


def test_custom_calls_the_function_that_is_named() -> None:
    curve = s.custom(f"{__name__}:halving", {"every": 20})
    assert [at(curve, step) for step in (0, 19, 20, 40)] == [1, 1, 0.5, 0.25]
