"""The convex last-iterate bound against published values, closed forms and the definition."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lrtrain.schedules.theory import against_linear, last_iterate_bound

Array = NDArray[np.float64]
Shape = Callable[[int], Array]


def _z(updates: int) -> Array:
    return np.arange(updates) / updates


def _wsd(updates: int, decay: float) -> Array:
    return np.minimum(1, (1 - _z(updates)) / decay)


SHAPES: dict[str, Shape] = {
    "linear": lambda n: 1 - _z(n),
    "1-sqrt": lambda n: 1 - np.sqrt(_z(n)),
    "cosine": lambda n: (1 + np.cos(np.pi * _z(n))) / 2,
    "1/sqrt": lambda n: 1 / np.sqrt(np.arange(1, n + 1)),
    "wsd20": lambda n: _wsd(n, 0.2),
    "constant": lambda n: np.ones(n),
    "wsd80": lambda n: _wsd(n, 0.8),
    "wsd60": lambda n: _wsd(n, 0.6),
    "rex": lambda n: (1 - _z(n)) / (1 - _z(n) / 2),
    "poly1.5": lambda n: (1 - _z(n)) ** 1.5,
    "wsd40": lambda n: _wsd(n, 0.4),
    "sqrt-decay": lambda n: (1 - _z(n)) ** 0.5,
    "poly2": lambda n: (1 - _z(n)) ** 2,
    "cosine10": lambda n: 0.1 + 0.9 * (1 + np.cos(np.pi * _z(n))) / 2,
    "linear10": lambda n: 1 - 0.9 * _z(n),
    "exp1%": lambda n: 0.01 ** _z(n),
    "wsd10": lambda n: _wsd(n, 0.1),
    "step.5/.75": lambda n: 0.1 ** ((_z(n) >= 0.5).astype(float) + (_z(n) >= 0.75)),
    "exp.1%": lambda n: 0.001 ** _z(n),
    "step.3/.6/.9": lambda n: 0.1 ** ((_z(n) >= 0.3).astype(float) + (_z(n) >= 0.6) + (_z(n) >= 0.9)),
}

PUBLISHED = {
    ("linear", 60): 0.264809,
    ("1-sqrt", 60): 0.266219,
    ("cosine", 60): 0.272700,
    ("1/sqrt", 60): 0.281685,
    ("wsd20", 60): 0.291030,
    ("constant", 60): 0.307224,
    ("linear", 100): 0.203608,
    ("1-sqrt", 100): 0.204682,
    ("cosine", 100): 0.209114,
    ("1/sqrt", 100): 0.225314,
    ("wsd20", 100): 0.223028,
    ("constant", 100): 0.248543,
    ("linear", 400): 0.100630,
    ("1-sqrt", 400): 0.101243,
    ("cosine", 400): 0.103386,
    ("1/sqrt", 400): 0.122264,
    ("wsd20", 400): 0.109323,
    ("constant", 400): 0.137545,
}
BEST_RATE = {
    "linear": 0.049563,
    "1-sqrt": 0.073797,
    "cosine": 0.048242,
    "1/sqrt": 0.212086,
    "wsd20": 0.025374,
    "constant": 0.018176,
}
RANKING = {
    "linear": 2.0018,
    "wsd80": 2.0042,
    "wsd60": 2.0190,
    "rex": 2.0194,
    "poly1.5": 2.0421,
    "wsd40": 2.0601,
    "cosine": 2.0609,
    "sqrt-decay": 2.1214,
    "poly2": 2.1220,
    "wsd20": 2.1637,
    "cosine10": 2.1763,
    "linear10": 2.1823,
    "exp1%": 2.2826,
    "wsd10": 2.2882,
    "step.5/.75": 2.4949,
    "exp.1%": 2.6489,
    "1/sqrt": 2.7539,
    "step.3/.6/.9": 2.7893,
    "constant": 3.1418,
}


@pytest.mark.parametrize(("name", "updates"), PUBLISHED)
def test_published_bounds_to_six_digits(name: str, updates: int) -> None:
    assert last_iterate_bound(SHAPES[name](updates)).omega == pytest.approx(PUBLISHED[name, updates], abs=5.1e-7)


@pytest.mark.parametrize("name", BEST_RATE)
def test_published_best_base_rates(name: str) -> None:
    assert last_iterate_bound(SHAPES[name](400)).gamma == pytest.approx(BEST_RATE[name], abs=5.1e-7)


def test_published_ranking_of_a_long_run() -> None:
    found = {name: last_iterate_bound(SHAPES[name](4000)).omega * math.sqrt(4000) for name in RANKING}
    assert found == {name: pytest.approx(value, abs=1.01e-4) for name, value in RANKING.items()}
    assert sorted(found, key=found.__getitem__) == list(RANKING)


@pytest.mark.parametrize("updates", [2, 5, 60, 1000])
def test_constant_has_its_closed_form(updates: int) -> None:
    harmonic = math.fsum(1 / k for k in range(1, updates))
    bound = last_iterate_bound(np.ones(updates))
    assert bound.omega == pytest.approx(math.sqrt((1 + harmonic) / updates), rel=1e-12)
    assert bound.gamma == pytest.approx(1 / math.sqrt(updates * (1 + harmonic)), rel=1e-12)


@pytest.mark.parametrize(("updates", "share"), [(100, 0.2), (400, 0.2), (400, 0.5), (1000, 0.1)])
def test_wsd_stays_below_its_theorem(updates: int, share: float) -> None:
    begin = round(updates * (1 - share))
    t, t0 = updates, begin

    def harmonic(n: int) -> float:
        return math.fsum(1 / k for k in range(1, n + 1))

    theorem = math.sqrt(
        4
        / (t + t0)
        * (
            2 / 3
            + (t + 2 * t0) / (3 * (t + t0))
            + harmonic(t + t0 - 2)
            - harmonic(t - t0 + 1)
            - (t - t0) * (t0 - 1) / (3 * (t - t0 + 2) * (t + t0))
            + 1 / (t - t0) ** 2
            + harmonic(t - t0 - 1) / (t - t0 + 1)
        )
    )
    assert last_iterate_bound(_wsd(updates, share)).omega <= theorem


@pytest.mark.parametrize("name", SHAPES)
def test_equals_the_definition(name: str) -> None:
    n, shape = 17, SHAPES[name](17)
    first = 1 / (2 * shape.sum())
    second = (shape**2).sum() / (2 * shape.sum())
    third = sum(shape[k] / shape[k + 1 :].sum() * (shape[k:] ** 2).sum() / shape[k:].sum() for k in range(n - 1)) / 2
    bound = last_iterate_bound(shape)
    assert bound.omega == pytest.approx(2 * math.sqrt(first * (second + third)), rel=1e-12)
    assert bound.gamma == pytest.approx(math.sqrt(first / (second + third)), rel=1e-12)


def test_one_update_is_the_textbook_case() -> None:
    assert tuple(last_iterate_bound([0.1])) == pytest.approx((1.0, 10.0))


def test_updates_that_do_not_move_at_the_end_change_nothing() -> None:
    assert last_iterate_bound([1.0, 0.5, 0.25, 0.0, 0.0]) == last_iterate_bound([1.0, 0.5, 0.25])
    assert last_iterate_bound([0.0, 0.0]) == (math.inf, math.inf)
    assert last_iterate_bound([]) == (math.inf, math.inf)


def test_the_scale_of_the_shape_moves_only_the_best_rate() -> None:
    plain, scaled = last_iterate_bound(SHAPES["cosine"](50)), last_iterate_bound(1e-5 * SHAPES["cosine"](50))
    assert scaled.omega == pytest.approx(plain.omega, rel=1e-12)
    assert scaled.gamma == pytest.approx(1e5 * plain.gamma, rel=1e-12)


def test_against_linear() -> None:
    assert against_linear(last_iterate_bound(SHAPES["linear"](400)), 400) == pytest.approx(1)
    constant = last_iterate_bound(SHAPES["constant"](400))
    assert against_linear(constant, 400) == pytest.approx(0.137545 / 0.100630, rel=1e-5)
