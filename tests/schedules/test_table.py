"""Every schedule at chosen positions: the numbers are worked out from the formulas by hand, never from our output."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lrtrain.parameters.signatures import defaults
from lrtrain.schedules import Feedback, Progress, by_name, formula, registered

CONF = Path(__file__).parents[2] / "conf"
Row = tuple[str, dict[str, Any], tuple[int | None, int | None, int], dict[int, float]]

# Name, parameters, (steps per epoch, total steps, start), and the expected multiplier at each step.
TABLE: list[Row] = [
    ("constant", {}, (None, None, 0), {0: 1, 7: 1, 1000: 1}),
    ("exponential", {"gamma": 0.5}, (4, 40, 0), {0: 1, 3: 1, 4: 0.5, 11: 0.5**2, 40: 0.5**10, 400: 0.5**100}),
    ("exponential", {"gamma": 0.5, "per": "step"}, (4, 40, 0), {0: 1, 3: 0.5**0.75, 4: 0.5, 6: 0.5**1.5}),
    ("exponential", {"gamma": 0.96, "every": "10st", "per": "step"}, (None, None, 0), {0: 1, 5: 0.96**0.5, 10: 0.96}),
    ("step", {"gamma": 0.1, "every": 2}, (3, 30, 0), {0: 1, 5: 1, 6: 0.1, 11: 0.1, 12: 0.1**2, 18: 0.1**3}),
    ("step", {"gamma": 0.5, "every": "10%"}, (3, 30, 0), {2: 1, 3: 0.5, 30: 0.5**10}),
    ("multistep", {"milestones": [2, 4]}, (3, 30, 0), {0: 1, 5: 1, 6: 0.1, 11: 0.1, 12: 0.1**2, 300: 0.1**2}),
    ("multistep", {"gamma": 0.5}, (1, 40, 10), {19: 1, 20: 0.5, 29: 0.5, 30: 0.25, 40: 0.25}),
    ("inverse_time", {"decay": 0.5}, (4, 40, 0), {0: 1, 3: 1, 4: 1 / 1.5, 11: 1 / 2, 12: 1 / 2.5, 40: 1 / 6}),
    ("inverse_time", {"decay": 0.5, "per": "step"}, (4, 40, 0), {0: 1, 2: 1 / 1.25, 4: 1 / 1.5, 40: 1 / 6}),
    (
        "inverse_time",
        {"decay": 0.5, "every": "10st", "per": "step", "staircase": True},
        (None, None, 0),
        {0: 1, 9: 1, 10: 1 / 1.5, 19: 1 / 1.5, 20: 1 / 2},
    ),
    ("inverse_sqrt", {"timescale": "100st"}, (None, None, 0), {0: 1, 100: 1, 400: 1 / 2, 900: 1 / 3, 10_000: 1 / 10}),
    ("inverse_sqrt", {}, (9, None, 0), {0: 1, 8: 1, 9: 1, 36: 1 / 2, 81: 1 / 3}),
    ("noam", {"peak_at": "4st"}, (None, None, 0), {0: 1 / 4, 1: 2 / 4, 3: 1, 15: 1 / 2, 35: 1 / 3, 399: 1 / 10}),
    ("noam", {"peak_at": "4000st"}, (None, None, 0), {0: 1 / 4000, 3999: 1, 15_999: 0.5}),
    ("power", {"timescale": "10st", "exponent": 1}, (None, None, 0), {0: 1, 10: 1, 20: 1 / 2, 1000: 1 / 100}),
    ("power", {}, (10, None, 0), {0: 1, 10: 1, 20: 0.5**0.51, 1000: 0.01**0.51}),
    ("linear", {}, (5, 20, 0), {0: 1, 5: 0.75, 19: 0.05, 20: 0, 200: 0}),
    ("linear", {"end": 0.2}, (5, 20, 10), {0: 1, 10: 1, 15: 0.6, 20: 0.2, 21: 0.2}),
    ("cosine", {}, (5, 20, 0), {0: 1, 5: (1 + math.sqrt(0.5)) / 2, 10: 0.5, 20: 0, 40: 0}),
    ("cosine", {"end": 0.1}, (5, 20, 10), {9: 1, 10: 1, 15: 0.55, 20: 0.1, 30: 0.1}),
    ("polynomial", {}, (5, 20, 0), {0: 1, 5: 0.75**2, 10: 0.25, 19: 0.05**2, 20: 0, 200: 0}),
    ("polynomial", {"power": 0.5, "end": 0.5}, (5, 20, 4), {4: 1, 16: 0.5 + 0.5 * 0.5, 20: 0.5}),
    ("polynomial", {"power": 1, "k_decay": 2}, (5, 20, 0), {0: 1, 10: 1 - 0.25, 15: 1 - 0.5625, 20: 0}),
    ("tanh", {"lb": -3, "ub": 3}, (5, 20, 0), {0: 1, 10: 0.5, 20: 0, 200: 0}),
    (
        "tanh",
        {"lb": -4, "ub": 4, "end": 0.2},
        (5, 20, 0),
        {0: 1, 15: 0.2 + 0.8 * (math.tanh(4) - math.tanh(2)) / (2 * math.tanh(4)), 20: 0.2},
    ),
    ("rex", {}, (5, 20, 0), {0: 1, 10: 0.5 / 0.75, 15: 0.25 / 0.625, 20: 0, 200: 0}),
    ("rex", {"d": 0}, (5, 20, 0), {0: 1, 5: 0.75, 20: 0}),
    ("rex", {"d": 0.9, "end": 0.1}, (5, 20, 10), {10: 1, 15: 0.1 + 0.9 * 0.5 / 0.55, 20: 0.1}),
    ("sqrt", {}, (5, 100, 0), {0: 1, 1: 0.9, 4: 0.8, 25: 0.5, 81: 0.1, 100: 0, 1000: 0}),
    ("sqrt", {"end": 0.2}, (5, 100, 0), {25: 0.6, 100: 0.2}),
    ("geometric", {"end": 0.0001}, (5, 20, 0), {0: 1, 5: 0.1, 10: 0.01, 15: 0.001, 20: 0.0001, 200: 0.0001}),
    ("wsd", {}, (5, 20, 0), {0: 1, 16: 1, 17: 1 - math.sqrt(0.25), 20: 0, 200: 0}),
    ("wsd", {"shape": "linear"}, (5, 20, 0), {15: 1, 16: 1, 17: 0.75, 18: 0.5, 19: 0.25, 20: 0}),
    (
        "wsd",
        {"shape": "linear", "end": 0.15, "decay_length": "60%"},
        (5, 20, 0),
        {8: 1, 14: 0.5 + 0.15 * 0.5, 20: 0.15},
    ),
    ("wsd", {"shape": "cosine", "decay_length": "8st"}, (5, 20, 0), {12: 1, 16: 0.5, 20: 0}),
    ("wsd", {"shape": "square", "decay_length": "2ep"}, (5, 20, 0), {10: 1, 15: 0.75, 20: 0}),
    ("wsd", {"shape": "mirror_cosine", "decay_length": "8st"}, (5, 20, 0), {12: 1, 16: 0.5, 20: 0}),
    (
        "wsd",
        {"shape": "mirror_cosine", "decay_length": "8st"},
        (5, 20, 0),
        {14: 1.5 - (1 + math.sqrt(0.5)) / 2, 18: 0.5 - (1 - math.sqrt(0.5)) / 2},
    ),
    ("wsd", {"shape": "exponential", "end": 0.01, "decay_length": "8st"}, (5, 20, 0), {12: 1, 16: 0.1, 20: 0.01}),
    ("wsd", {"shape": "exponential", "decay_length": "8st"}, (5, 20, 0), {12: 1, 16: (0.1 - 0.01) / 0.99, 20: 0}),
    ("wsd", {"shape": "linear", "decay_length": "100%"}, (5, 20, 10), {0: 1, 10: 1, 15: 0.5, 20: 0}),
    ("wsd", {"decay_length": 0, "end": 0.5}, (5, 20, 0), {0: 1, 19: 1, 20: 0.5}),
    ("power_cool", {}, (5, 20, 0), {0: 1, 6: 1, 13: 0.5**1.2, 20: 0, 200: 0}),
    ("power_cool", {"decay_length": "10st", "power": 3, "end": 0.1}, (5, 20, 0), {10: 1, 15: 0.1 + 0.9 / 8, 20: 0.1}),
    ("knee", {}, (5, 20, 0), {0: 1, 10: 1, 15: 0.5, 19: 0.1, 20: 0, 200: 0}),
    ("knee", {"explore": "5st", "end": 0.5}, (5, 20, 5), {10: 1, 15: 0.75, 20: 0.5}),
    ("knee", {"explore": "100%", "end": 0.5}, (5, 20, 5), {19: 1, 20: 0.5}),
    ("trapezoid", {"up": "4st", "down": "5st"}, (5, 20, 0), {0: 0.25, 2: 0.75, 3: 1, 15: 1, 16: 0.8, 19: 0.2, 20: 0}),
    ("trapezoid", {"up": "20%", "down": "80%", "end": 0.2}, (5, 20, 0), {3: 1, 4: 1, 12: 0.6, 20: 0.2, 99: 0.2}),
    ("trapezoid", {"up": "10st", "down": "20st"}, (5, 20, 0), {4: 0.5, 9: 1, 10: 1, 15: 0.5, 20: 0}),
    ("trapezoid", {"up": "5st", "down": "5st"}, (5, 20, 10), {0: 0.2, 10: 0.2, 14: 1, 15: 1, 16: 0.8, 20: 0}),
    ("one_cycle", {}, (5, 99, 0), {0: 1 / 25, 29: 1, 64: (1 + 1 / 250_000) / 2, 99: 1 / 250_000, 990: 1 / 250_000}),
    (
        "one_cycle",
        {"shape": "linear", "div_factor": 10, "final_div_factor": 10},
        (5, 99, 0),
        {0: 0.1, 29: 1, 64: 1 - 0.99 * 35 / 70, 99: 0.01},
    ),
    (
        "one_cycle",
        {"shape": "linear", "div_factor": 10, "final_div_factor": 10, "three_phase": True},
        (5, 99, 0),
        {0: 0.1, 29: 1, 58: 0.1, 99: 0.01, 100: 0.01},
    ),
    ("one_cycle", {"pct_start": 0, "shape": "linear", "final_div_factor": 1}, (5, 50, 0), {0: 1, 25: 0.52, 50: 0.04}),
    ("cyclic", {}, (5, None, 0), {0: 0.1, 5: 0.55, 10: 1, 15: 0.55, 20: 0.1, 30: 1, 1000: 0.1}),
    ("cyclic", {"up": "2st", "down": "6st", "low": 0.5}, (None, None, 0), {0: 0.5, 1: 0.75, 2: 1, 5: 0.75, 8: 0.5}),
    (
        "cyclic",
        {"shape": "triangular2", "low": 0.2},
        (5, None, 0),
        {0: 0.2, 10: 1, 20: 0.2, 30: 0.2 + 0.4, 50: 0.2 + 0.2, 55: 0.2 + 0.1},
    ),
    (
        "cyclic",
        {"shape": "exp_range", "gamma": 0.9, "low": 0.2},
        (5, None, 0),
        {0: 0.2, 5: 0.2 + 0.4 * 0.9**5, 10: 0.2 + 0.8 * 0.9**10, 30: 0.2 + 0.8 * 0.9**30},
    ),
    ("cosine_restarts", {"period": "10st"}, (None, None, 0), {0: 1, 5: 0.5, 10: 1, 15: 0.5, 20: 1, 1000: 1}),
    (
        "cosine_restarts",
        {"period": "10st", "growth": 2, "gamma": 0.5, "end": 0.1},
        (None, None, 0),
        {0: 1, 5: 0.55, 10: 0.1 + 0.45, 20: 0.1 + 0.225, 30: 0.1 + 0.225, 50: 0.1 + 0.1125, 70: 0.1 + 0.1125},
    ),
    # torch 2.13 misses this fifth restart: int(math.log(243, 3)) is 4.
    ("cosine_restarts", {"period": "1st", "growth": 3}, (None, None, 0), {1: 1, 4: 1, 13: 1, 40: 1, 121: 1, 364: 1}),
    ("cosine_restarts", {"period": "2st", "growth": 1.5}, (None, None, 0), {0: 1, 1: 0.5, 2: 1, 5: 1, 10: 1, 16: 1}),
    ("polynomial_cycles", {"period": 2}, (5, None, 0), {0: 1, 5: 0.5, 10: 0, 15: 0.25, 20: 0, 25: 1 / 6}),
    ("polynomial_restarts", {"period": 2}, (5, None, 0), {0: 1, 5: 0.5, 9: 0.1, 10: 1, 19: 0.1, 20: 1}),
    (
        "polynomial_restarts",
        {"period": "10st", "power": 2, "growth": 2, "gamma": 0.5, "end": 0.2},
        (None, None, 0),
        {0: 1, 5: 0.2 + 0.8 / 4, 10: 0.2 + 0.4, 20: 0.2 + 0.4 / 4, 30: 0.2 + 0.2},
    ),
    ("cosine_waves", {}, (5, 30, 0), {0: 1, 5: 0.5, 10: 0, 15: 0.5, 20: 1, 30: 0, 300: 0}),
    ("cosine_waves", {"waves": 1, "end": 0.2}, (5, 30, 10), {0: 1, 10: 1, 20: 0.6, 30: 0.2}),
    ("cosine_waves", {"waves": 1000}, (5, 30, 0), {0: 1, 30: 0, 60: 0}),
    (
        "chebyshev",
        {"levels": 1, "low": 0.5},
        (5, None, 0),
        {0: 1 / (1.5 - 0.5 * math.sqrt(0.5)), 4: 1 / (1.5 - 0.5 * math.sqrt(0.5)), 5: 1 / (1.5 + 0.5 * math.sqrt(0.5))},
    ),
    # The order of four steps is 1, 4, 2, 3 (Agarwal et al., section 3), counted from 1.
    (
        "chebyshev",
        {"levels": 2, "low": 0.1, "every": "1st"},
        (None, None, 0),
        {
            0: 0.2 / (1.1 - 0.9 * math.cos(math.pi / 8)),
            1: 0.2 / (1.1 + 0.9 * math.cos(math.pi / 8)),
            2: 0.2 / (1.1 - 0.9 * math.sin(math.pi / 8)),
            3: 0.2 / (1.1 + 0.9 * math.sin(math.pi / 8)),
            4: 0.2 / (1.1 - 0.9 * math.cos(math.pi / 8)),
        },
    ),
    ("chebyshev", {"levels": 0, "low": 0.5}, (5, None, 0), {0: 1 / 1.5, 99: 1 / 1.5}),
    ("piecewise", {}, (5, 20, 0), {0: 1, 9: 1, 10: 0.1, 14: 0.1, 15: 0.01, 20: 0.01, 200: 0.01}),
    (
        "piecewise",
        {"points": [[0, 0.5], ["2ep", 1.5], ["20st", 0]], "interpolation": "linear"},
        (5, 20, 0),
        {0: 0.5, 5: 1, 10: 1.5, 15: 0.75, 20: 0, 21: 0},
    ),
    ("piecewise", {"points": [[2, 0]], "interpolation": "cosine"}, (5, 20, 0), {0: 1, 5: 0.5, 10: 0, 11: 0}),
    # The first output of SplitMix64 from the seed 0, as its reference implementation prints it.
    ("noise", {}, (5, 20, 0), {0: 1 + 0.1 * (2 * (0xE220A8397B1DCDAF / 2**64) - 1)}),
    ("noise", {"per": "step"}, (5, 20, 0), {1: 1 + 0.1 * (2 * (0x6E789E6AA1B965F4 / 2**64) - 1)}),
    ("noise", {"amount": 0}, (5, 20, 0), {0: 1, 19: 1}),
]


def test_values() -> None:
    for name, parameters, run, expected in TABLE:
        value = by_name(name, parameters)
        found = {step: value(Progress(step, *run)) for step in expected}
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12), (value, run)


# A schedule that cannot be built without being told of what, such as a combinator, is no family of its own.
FAMILIES = [
    name
    for name, factory in registered().items()
    if inspect.Parameter.empty not in defaults(formula(factory)).values() and "parts" not in defaults(formula(factory))
]


def keys(path: Path) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def test_covers_every_family() -> None:
    assert sorted({row[0] for row in TABLE}) == sorted(FAMILIES)


def test_configurations_have_the_functions_defaults() -> None:
    for name in FAMILIES:
        values = keys(CONF / "scheduler" / f"{name}.yaml")
        assert values.pop("scheduler") == name
        assert list(values) == list(defaults(formula(registered()[name]))), name
        assert by_name(name, values) == registered()[name](), name


def test_feedback_has_a_configuration() -> None:
    for name, factory in registered(Feedback).items():
        values = keys(CONF / "feedback" / f"{name}.yaml")
        assert values.pop("feedback") == name
        assert keys(CONF / "scheduler" / f"{name}.yaml")["scheduler"] == name
        # What the run knows by itself, the metric's direction and the least scale, is no key.
        assert values.keys() == defaults(formula(factory)).keys() - {"mode", "min_scale"}, name
        by_name(name, values, Feedback)


def test_every_configuration_has_a_function() -> None:
    names = {path.stem for path in (CONF / "scheduler").glob("*.yaml")}
    assert {*FAMILIES, *registered(Feedback)} <= names <= {*registered(), *registered(Feedback)}


def test_no_parameter_is_a_key_of_every_run() -> None:
    roots = {line.partition(":")[0] for line in (CONF / "config.yaml").read_text().splitlines() if ":" in line}
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    for name in FAMILIES:
        assert not (roots | groups) & defaults(formula(registered()[name])).keys(), name


def test_help_explains_every_parameter() -> None:
    for name in FAMILIES:
        document = inspect.getdoc(formula(registered()[name])) or ""
        for parameter in defaults(formula(registered()[name])):
            assert f"\n    {parameter}: " in document, (name, parameter)
