"""What holds for every schedule, whatever its parameters: it is finite, and not below 0; it ends, and stays there."""

from __future__ import annotations

import copy
import inspect
import itertools
import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import lrtrain.schedules
from lrtrain.parameters.rules import Choice, Length, ListOf, Number
from lrtrain.parameters.signatures import defaults, rules
from lrtrain.schedules import Observed, Progress, Schedule, formula, greedy, registered
from lrtrain.schedules.piecewise import Curve

# The families with an end, and the value they end at.
ENDS: dict[str, Callable[[dict[str, Any]], float]] = {
    **dict.fromkeys(
        ("linear", "cosine", "polynomial", "tanh", "rex", "sqrt", "geometric", "wsd", "power_cool", "knee"),
        lambda p: p["end"],
    ),
    "trapezoid": lambda p: p["end"],
    "cosine_waves": lambda p: p["end"],
    "one_cycle": lambda p: 1 / p["div_factor"] / p["final_div_factor"],
}
RISING = {"one_cycle", "trapezoid", "cosine_waves"}
FAMILIES = [
    name
    for name, factory in registered().items()
    if inspect.Parameter.empty not in defaults(formula(factory)).values() and "parts" not in defaults(formula(factory))
]

SPANS = st.one_of(
    st.integers(1, 10_000).map(lambda n: f"{n}st"),
    st.floats(1e-6, 200).map(lambda n: f"{n:.4g}ep"),
    st.floats(1e-6, 200).map(lambda n: f"{n:.4g}%"),
    st.integers(1, 100),
)


def values_of(rule: Any, name: str) -> st.SearchStrategy[Any]:
    """Values that a rule admits."""
    if isinstance(rule, Number):
        # A factor above 1 overflows in the end, as it must.
        high = 1.0 if name == "gamma" else min(rule.high, 1e6)
        if rule.integer:
            return st.integers(int(rule.low), int(high))
        return st.floats(max(rule.low, -1e6), high, exclude_min=rule.open_low, exclude_max=rule.open_high)
    if isinstance(rule, Length):
        return SPANS if rule.positive else SPANS | st.just(0)
    if isinstance(rule, Choice):
        return st.sampled_from(rule.options)
    if isinstance(rule, Curve):
        times = st.lists(SPANS, min_size=1, max_size=5)
        return times.map(lambda spans: [[span, n % 3] for n, span in enumerate(spans)]).filter(_admitted)
    if isinstance(rule, ListOf):
        return st.sets(st.integers(1, 200), min_size=1, max_size=5).map(sorted)
    raise AssertionError(f"no values are known for {rule}")


def _admitted(points: Any) -> bool:
    try:
        Curve().parse(points)
    except ValueError:
        return False
    return True


@st.composite
def schedules(draw: st.DrawFn, name: str) -> Schedule:
    factory = registered()[name]
    limits = rules(formula(factory))
    parameters = {key: draw(values_of(rule, key)) for key, rule in limits.items() if key != "progress"}
    return factory(**parameters)  # type: ignore[no-any-return]


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, int, int]:
    epoch, epochs = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    return epoch, epoch * epochs, draw(st.just(0) | st.integers(0, epoch * epochs))


def test_finite_and_never_below_zero_up_to_an_end_that_holds() -> None:
    for name in FAMILIES:
        check_curve(name)


def check_curve(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(schedules(name), runs(), st.integers(0, 50_000))
    def check(value: Schedule, run: tuple[int, int, int], far: int) -> None:
        _, total, start = run
        for step in {0, 1, total // 2, total - 1, total, total + 1, 10 * total, start, far}:
            factor = value(Progress(step, *run))
            assert math.isfinite(factor), step
            assert factor >= 0, step
            if name not in {"piecewise", "noise"}:
                assert factor <= 1 + 1e-15, step
        if name in ENDS:
            for step in (total, total + 1, 2 * total, 2 * total + 1, 10 * total):
                assert value(Progress(step, *run)) == ENDS[name](value.parameters), step
        if name in ENDS.keys() - RISING:
            every = max(1, total // 200)
            factors = [value(Progress(step, *run)) for step in range(0, total + 3, every)]
            assert all(factor == 1 for factor in factors[: start // every]), "begins at its peak"
            assert value(Progress(start, *run)) == 1 or start == total
            assert all(later <= factor + 1e-15 for factor, later in pairwise(factors)), "never rises"

    check()


def test_is_a_value() -> None:
    for name in FAMILIES:
        check_value(name)


def check_value(name: str) -> None:
    @settings(max_examples=10, deadline=None)
    @given(schedules(name))
    def check(value: Schedule) -> None:
        copies = pickle.loads(pickle.dumps(value)), copy.deepcopy(value), eval(repr(value), vars(lrtrain.schedules))
        for other in copies:
            assert other == value
            assert hash(other) == hash(value)
            assert other(Progress(7, 4, 20)) == value(Progress(7, 4, 20))

    check()


def test_very_short_runs() -> None:
    for name, total in itertools.product(FAMILIES, (1, 2, 3)):
        value = registered()[name]()
        for epoch, start in itertools.product({1, total}, range(total + 1)):
            factors = [value(Progress(step, epoch, total, start)) for step in range(total + 2)]
            assert all(0 <= factor <= 1.1 for factor in factors), (name, epoch, total, start)
            if name in ENDS:
                assert factors[total] == ENDS[name](value.parameters), (name, epoch, total, start)


def test_a_period_of_no_updates_is_one() -> None:
    for name in FAMILIES:
        limits = rules(formula(registered()[name]))
        periods = [key for key, rule in limits.items() if isinstance(rule, Length) and rule.positive]
        tiny = registered()[name](**dict.fromkeys(periods, "0.001ep"))
        one = registered()[name](**dict.fromkeys(periods, "1st"))
        for step in range(30):
            assert tiny(Progress(step, 4, 20)) == one(Progress(step, 4, 20)), (name, step)


def test_noise_is_even_and_differs_by_seed() -> None:
    draws = [
        [lrtrain.schedules.noise(amount=1, noise_seed=seed)(Progress(t, 1)) for t in range(4000)] for seed in (0, 1)
    ]
    for values in draws:
        counts = [sum(low / 5 <= value < (low + 2) / 5 for value in values) for low in range(0, 10, 2)]
        assert all(abs(count - 800) < 4 * math.sqrt(4000 * 0.2 * 0.8) for count in counts)
    same = sum((a - 1) * (b - 1) for a, b in zip(*draws, strict=True)) / 4000
    assert abs(same) < 4 / 3 / math.sqrt(4000)


# The metric at each validation, and the scale after it; patience 1, factor 1/2, so all scales are powers of 2.
GREEDY: list[tuple[str, dict[str, Any], list[float], list[float]]] = [
    ("keeps improving", {}, [5, 4, 3, 2, 1], [1, 2, 2, 4, 4]),
    ("never improves", {}, [5, 5, 5, 5, 5], [1, 1, 0.5, 0.5, 0.25]),
    ("one bad in between starts the count again", {}, [5, 6, 4, 6, 3, 6], [1, 1, 1, 1, 1, 1]),
    ("not a number is bad", {}, [5, math.nan, math.inf, 4], [1, 1, 0.5, 0.5]),
    ("no rise above the greatest", {"max_scale": 3}, [5, 4, 3, 2], [1, 2, 2, 3]),
    ("no reduction below the least", {"min_scale": 0.4}, [5, 5, 5, 5, 5], [1, 1, 0.5, 0.5, 0.4]),
    ("a cool-down neither counts nor sets the best", {"cooldown": 1}, [5, 4, 1, 3, 2], [1, 2, 2, 2, 4]),
    ("too small an improvement is bad", {"threshold": 0.1}, [5, 4.6, 4.6], [1, 1, 0.5]),
    ("a larger metric may be the better one", {"mode": "max"}, [1, 2, 2, 2], [1, 2, 2, 1]),
    ("an average decides", {"smooth": 0.5}, [4, 2, 2, 2, 9], [1, 2, 2, 4, 4]),
]


def test_greedy() -> None:
    for what, parameters, metrics, scales in GREEDY:
        rule: Any = greedy(**{"factor": 0.5, "patience": 1, **parameters})
        states = itertools.accumulate(metrics, rule, initial=Observed())
        assert [state.scale for state in states][1:] == scales, what


def test_cycles_that_hardly_grow_are_cycles() -> None:
    for growth in (1 + 1e-15, 1 + 1e-13, 1 + 1e-9):
        value = lrtrain.schedules.polynomial_restarts(period="3st", growth=growth)
        assert {round(value(Progress(step)), 12) for step in range(3000)} <= {1, round(2 / 3, 12), round(1 / 3, 12)}


def test_many_waves_end_exactly() -> None:
    assert lrtrain.schedules.cosine_waves(waves=10**10)(Progress(30, 1, 30)) == 0
