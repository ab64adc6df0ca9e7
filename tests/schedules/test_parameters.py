"""What schedules refuse, and that the message says what is wrong with which parameter."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
from conftest import said_of

from lrtrain import schedules as s
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.spans import Span
from lrtrain.schedules import updates

REFUSED: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (s.exponential, {"gamma": 0}, "exponential: gamma must be a number > 0, got 0"),
    (s.exponential, {"gamma": "0.9"}, "exponential: gamma must be a number > 0, got '0.9'"),
    (s.exponential, {"gamma": True}, "gamma must be a number > 0, got True"),
    (s.exponential, {"gamma": math.nan}, "gamma must be a number > 0, got nan"),
    (s.exponential, {"per": "batch"}, "per must be epoch or step, got 'batch'"),
    (s.step, {"every": 0}, "step: every must be longer than 0, got 0"),
    (s.step, {"every": "5 epochs"}, "every must be a length such as 5ep, 300st or 10%"),
    (s.step, {"every": True}, "every must be a length"),
    (s.step, {"gama": 0.5}, "step: got an unexpected keyword argument 'gama' (it takes gamma, every)"),
    (s.multistep, {"milestones": []}, "milestones must have 1 entries or more"),
    (s.multistep, {"milestones": [4, 2]}, "milestones must be in rising order, got ['4ep', '2ep']"),
    (s.multistep, {"milestones": 4}, "milestones must be a list"),
    (s.inverse_time, {"decay": -0.1}, "decay must be a number >= 0, got -0.1"),
    (s.inverse_time, {"staircase": "yes"}, "staircase must be true or false, got 'yes'"),
    (s.inverse_sqrt, {"timescale": 0}, "timescale must be longer than 0"),
    (s.noam, {"peak_at": "0st"}, "peak_at must be longer than 0"),
    (s.power, {"exponent": 0}, "exponent must be a number > 0"),
    (s.linear, {"end": 1.1}, "end must be a number in [0, 1], got 1.1"),
    (s.cosine, {"end": -0.1}, "end must be a number in [0, 1]"),
    (s.polynomial, {"power": 0}, "power must be a number > 0"),
    (s.polynomial, {"k_decay": math.inf}, "k_decay must be a number > 0, got inf"),
    (s.tanh, {"lb": 1}, "lb must be a number in [-20, 0), got 1"),
    (s.tanh, {"ub": 0}, "ub must be a number in (0, 20], got 0"),
    (s.rex, {"d": 1}, "d must be a number in [0, 1), got 1"),
    (s.sqrt, {"end": 2}, "end must be a number in [0, 1]"),
    (s.geometric, {"end": 0}, "end must be a number in (0, 1], got 0"),
    (s.wsd, {"decay_length": -1}, "decay_length must be a length"),
    (s.wsd, {"shape": "sqrt"}, "shape must be linear or cosine or 1-sqrt or exponential or square or mirror_cosine"),
    (s.power_cool, {"power": -1}, "power must be a number > 0"),
    (s.knee, {"explore": "half"}, "explore must be a length"),
    (s.trapezoid, {"up": None}, "up must be a length"),
    (s.one_cycle, {"pct_start": 30}, "pct_start must be a number in [0, 1], got 30"),
    (s.one_cycle, {"div_factor": 0.5}, "div_factor must be a number >= 1"),
    (s.one_cycle, {"final_div_factor": 0}, "final_div_factor must be a number >= 1"),
    (s.one_cycle, {"three_phase": 3}, "three_phase must be true or false"),
    (s.cyclic, {"low": 1.5}, "low must be a number in [0, 1]"),
    (s.cyclic, {"up": 0}, "up must be longer than 0"),
    (s.cyclic, {"gamma": 1.1}, "gamma must be a number in (0, 1]"),
    (s.cosine_restarts, {"growth": 0.5}, "growth must be a number in [1, 100]"),
    (s.cosine_restarts, {"gamma": 0}, "gamma must be a number in (0, 1]"),
    (s.polynomial_restarts, {"period": 0}, "period must be longer than 0"),
    (s.cosine_waves, {"waves": 0}, "waves must be a whole number >= 1"),
    (s.cosine_waves, {"waves": 1.5}, "waves must be a whole number >= 1"),
    (s.chebyshev, {"levels": 21}, "levels must be a whole number in [0, 20]"),
    (s.chebyshev, {"low": 0}, "low must be a number in (0, 1]"),
    (s.piecewise, {"points": []}, "points must have 1 entries or more"),
    (s.piecewise, {"points": [5, 0.1]}, "points must be a pair [length, multiplier] such as [5ep, 0.1], got 5"),
    (s.piecewise, {"points": [[5, -0.1]]}, "points must be a number >= 0, got -0.1"),
    (s.piecewise, {"points": [["50%", 0.1], ["50%", 0.2]]}, "points must be in rising order, got ['50%', '50%']"),
    (s.noise, {"amount": 1.5}, "amount must be a number in [0, 1]"),
    (s.noise, {"noise_seed": 0.5}, "noise_seed must be a whole number >= 0"),
    (s.greedy, {"factor": 1}, "factor must be a number in (0, 1)"),
    (s.greedy, {"max_scale": 0.5}, "max_scale must be a number >= 1"),
]


def test_refusals() -> None:
    for build, parameters, message in REFUSED:
        said = said_of(functools.partial(build, **parameters))
        assert said.startswith(f"{build.__name__}: "), (build.__name__, parameters)
        assert message in said, (build.__name__, parameters)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean cosine_restarts"):
        s.by_name("cosine_restart", {})


def test_a_schedule_asks_for_the_length_that_it_needs() -> None:
    ended = (s.linear(), s.wsd(), s.knee(), s.trapezoid(), s.one_cycle())
    counted = (s.inverse_sqrt(), s.cyclic(), s.cosine_restarts(), s.chebyshev(), s.noise())
    for curve in ended:
        assert "needs total_steps" in said_of(functools.partial(curve, s.Progress(3, 10))), curve
    for curve in counted:
        assert "needs steps_per_epoch" in said_of(functools.partial(curve, s.Progress(3, total_steps=10))), curve


def test_lengths_are_read_in_any_case() -> None:
    read = {"5EP": (5, "ep"), " 300 St ": (300, "st"), "1e3st": (1000, "st"), ".5": (0.5, "ep"), "10%": (10, "%")}
    assert {text: tuple(Span.parse(text)) for text in read} == read


def test_lengths_are_rounded_to_the_nearest_update() -> None:
    run = s.Progress(0, steps_per_epoch=10, total_steps=30)
    for length, count in {"0.26ep": 3, "0.24ep": 2, "2.6st": 3, "2.4st": 2, "12%": 4, "11%": 3, "0.01ep": 0}.items():
        assert updates(length, run) == count, length


def test_near_matches_are_by_the_whole_name_or_its_last_part() -> None:
    options = ["optimizer.momentum", "model.hidden", "lr", *(f"{number}" for number in range(40))]
    for wrong in ("optimizer.momentm", "momentm", "t.momentm"):
        assert nearest(wrong, options) == "did you mean optimizer.momentum?", wrong
    assert nearest("LR", options) == "did you mean lr?"
    assert nearest("xyz", options) == "--help lists them all"
    assert nearest("xyz", options[:3]) == "there are optimizer.momentum, model.hidden, lr"
