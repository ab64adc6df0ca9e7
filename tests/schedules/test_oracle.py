"""Every family against an independent NumPy form of its formula, on random parameters."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lrtrain.parameters.signatures import defaults
from lrtrain.schedules import Progress, by_name, formula, registered

Array = npt.NDArray[np.float64]
TOLERANCE = 1e-12
TRIALS = 60


class Run(NamedTuple):
    """Updates in an epoch, in the run, and in its warm-up; and the positions to look at."""

    epoch: int
    total: int
    start: int
    t: Array

    @property
    def z(self) -> Array:
        return np.clip((self.t - self.start) / (self.total - self.start), 0, 1)

    def clock(self, per: str, every: int) -> Array:
        return self.t / every if per == "step" else np.floor(self.t / self.epoch) * self.epoch / every

    def cool(self, length: int) -> Array:
        length = min(length, self.total - self.start)
        begin = self.total - length
        return np.where(self.t >= self.total, 1, np.clip((self.t - begin) / max(length, 1), 0, 1))


class Draw:
    """Random parameters: `updates` of a length, and how it is written."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def number(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def one(self, *words: Any) -> Any:
        return words[self.whole(0, len(words) - 1)]

    def length(self, run: Run, low: int = 1) -> tuple[str, int]:
        unit = self.one("st", "ep", "%")
        if unit == "st":
            updates = self.whole(low, run.total)
            return f"{updates}st", updates
        if unit == "ep":
            epochs = self.whole(max(low, 1), 5)
            return f"{epochs}ep", epochs * run.epoch
        percent = self.whole(max(low, 1), 60)
        return f"{percent}%", max(round(percent * run.total / 100), low)


Case = tuple[dict[str, Any], Array]


def fade(weight: Array, end: float) -> Array:
    return end + (1 - end) * weight


def constant(run: Run, draw: Draw) -> Case:
    return {}, np.ones_like(run.t)


def exponential(run: Run, draw: Draw) -> Case:
    gamma, (every, length), per = draw.number(0.5, 1), draw.length(run), draw.one("epoch", "step")
    return {"gamma": gamma, "every": every, "per": per}, gamma ** run.clock(per, length)


def step(run: Run, draw: Draw) -> Case:
    gamma, (every, length) = draw.number(0.1, 1), draw.length(run)
    return {"gamma": gamma, "every": every}, gamma ** (run.t // length)


def multistep(run: Run, draw: Draw) -> Case:
    gamma, marks = draw.number(0.1, 1), sorted([draw.whole(1, run.total) for _ in range(3)] + [draw.whole(1, 3)] * 2)
    reached = np.searchsorted(np.array(marks), run.t, side="right")
    return {"gamma": gamma, "milestones": [f"{mark}st" for mark in marks]}, gamma ** reached.astype(float)


def inverse_time(run: Run, draw: Draw) -> Case:
    decay, (every, length), per, stairs = draw.number(0, 2), draw.length(run), draw.one("epoch", "step"), draw.one(0, 1)
    clock = run.clock(per, length)
    values = {"decay": decay, "every": every, "per": per, "staircase": bool(stairs)}
    return values, 1 / (1 + decay * (np.floor(clock) if stairs else clock))


def inverse_sqrt(run: Run, draw: Draw) -> Case:
    (text, scale), shifted = draw.length(run), draw.one(False, True)
    since = np.clip(run.t - run.start, 0, None)
    curve = np.sqrt(scale / (since + scale)) if shifted else np.minimum(1, np.sqrt(scale / np.maximum(run.t, 1)))
    return {"timescale": text, "shifted": shifted}, curve


def noam(run: Run, draw: Draw) -> Case:
    text, peak = draw.length(run)
    s = run.t + 1
    return {"peak_at": text}, np.minimum(s**-0.5, s * peak**-1.5) / peak**-0.5


def power(run: Run, draw: Draw) -> Case:
    (text, scale), exponent = draw.length(run), draw.number(0.1, 2)
    values = {"timescale": text, "exponent": exponent}
    return values, np.minimum(1, (np.maximum(run.t, 1) / scale) ** -exponent)


def linear(run: Run, draw: Draw) -> Case:
    end = draw.number(0, 1)
    return {"end": end}, 1 - run.z * (1 - end)


def cosine(run: Run, draw: Draw) -> Case:
    end, n, k = draw.number(0, 1), draw.one(1.0, draw.number(0.3, 3)), draw.one(1.0, draw.number(0.3, 3))
    curve = end + (1 - end) * (0.5 + 0.5 * np.cos(np.pi * run.z**k)) ** n
    return {"end": end, "exponent": n, "k_decay": k}, curve


def polynomial(run: Run, draw: Draw) -> Case:
    n, end, k = draw.number(0.3, 3), draw.number(0, 1), draw.number(0.3, 3)
    return {"power": n, "end": end, "k_decay": k}, end + (1 - end) * (1 - run.z**k) ** n


def tanh(run: Run, draw: Draw) -> Case:
    lb, ub, end = draw.number(-8, -0.5), draw.number(0.5, 8), draw.number(0, 1)
    timm = (1 - np.tanh(lb * (1 - run.z) + ub * run.z)) / 2
    first, last = (1 - np.tanh(lb)) / 2, (1 - np.tanh(ub)) / 2
    return {"lb": lb, "ub": ub, "end": end}, fade((timm - last) / (first - last), end)


def rex(run: Run, draw: Draw) -> Case:
    d, end = draw.number(0, 0.95), draw.number(0, 1)
    return {"d": d, "end": end}, fade((1 - run.z) / ((1 - d) + d * (1 - run.z)), end)


def sqrt(run: Run, draw: Draw) -> Case:
    end = draw.number(0, 1)
    return {"end": end}, 1 - (1 - end) * np.sqrt(run.z)


def geometric(run: Run, draw: Draw) -> Case:
    end = draw.number(1e-6, 1)
    return {"end": end}, np.exp(run.z * np.log(end))


def wsd(run: Run, draw: Draw) -> Case:
    (text, length), end = draw.length(run, 0), draw.one(0.0, draw.number(0.01, 1))
    shape = draw.one("linear", "cosine", "1-sqrt", "exponential", "square", "mirror_cosine")
    u = run.cool(length)
    bell = (1 + np.cos(np.pi * u)) / 2
    curve = {
        "linear": fade(1 - u, end),
        "cosine": fade(bell, end),
        "1-sqrt": fade(1 - np.sqrt(u), end),
        "exponential": end**u if end else (0.01**u - 0.01) / 0.99,
        "square": fade(1 - u**2, end),
        "mirror_cosine": fade(2 * (1 - u) - bell, end),
    }[shape]
    return {"decay_length": text, "shape": shape, "end": end}, curve


def power_cool(run: Run, draw: Draw) -> Case:
    (text, length), n, end = draw.length(run), draw.number(0.3, 4), draw.number(0, 1)
    length = min(length, run.total - run.start)
    left = np.maximum(run.total - run.t, 0)
    return {"decay_length": text, "power": n, "end": end}, fade(np.minimum(1, (left / length) ** n), end)


def knee(run: Run, draw: Draw) -> Case:
    (text, length), end = draw.length(run, 0), draw.number(0, 1)
    turn = min(run.start + length, run.total)
    u = np.where(run.t >= run.total, 1, np.clip((run.t - turn) / max(run.total - turn, 1), 0, 1))
    return {"explore": text, "end": end}, 1 - u * (1 - end)


def trapezoid(run: Run, draw: Draw) -> Case:
    (up, rise), (down, fall), end = draw.length(run), draw.length(run), draw.number(0, 1)
    rise = min(rise, run.total - run.start)
    fall = min(fall, run.total - run.start - rise)
    t = np.maximum(run.t - run.start, 0)
    value = np.minimum(np.minimum((t + 1) / rise, 1), fade(np.clip((run.total - run.t) / max(fall, 1), 0, 1), end))
    # On the way up the end value is no limit, and after it there is no way up.
    value = np.where(t < rise - 1, (t + 1) / rise, value)
    return {"up": up, "down": down, "end": end}, np.where(run.t >= run.total, end, value)


def one_cycle(run: Run, draw: Draw) -> Case:
    share, div, last_div = draw.number(0.1, 0.45), draw.number(1, 50), draw.number(1, 1e4)
    shape, three = draw.one("cosine", "linear"), draw.one(False, True)
    length = run.total - run.start
    first, last, peak = 1 / div, 1 / div / last_div, max(share * (length + 1) - 1, 0)
    times = [0.0, peak, 2 * peak, length] if three else [0.0, peak, length]
    heights = [first, 1.0, first, last] if three else [first, 1.0, last]
    t = np.clip(run.t - run.start, 0, length)
    if peak == 0:
        times, heights = ([0.0, length], [first if three else 1.0, last])
    if shape == "linear":
        curve = np.interp(t, times, heights)
    else:
        # A cosine ramp is a line whose parameter went through half a cosine.
        phase = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
        corners = np.array(times)
        u = (t - corners[phase]) / (corners[phase + 1] - corners[phase])
        tops = np.array(heights)
        curve = tops[phase + 1] + (tops[phase] - tops[phase + 1]) * (1 + np.cos(np.pi * u)) / 2
    values = {"pct_start": share, "div_factor": div, "final_div_factor": last_div, "shape": shape, "three_phase": three}
    return values, curve


def cyclic(run: Run, draw: Draw) -> Case:
    low, (up, rise), (down, fall), gamma = draw.number(0, 1), draw.length(run), draw.length(run), draw.number(0.9, 1)
    shape = draw.one("triangular", "triangular2", "exp_range")
    cycle = np.floor(1 + run.t / (rise + fall))
    cycle += (run.t - cycle * (rise + fall)) >= 0
    x = run.t - (cycle - 1) * (rise + fall)
    height = {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": gamma**run.t}[shape]
    triangle = np.minimum(x / rise, (rise + fall - x) / fall)
    values = {"low": low, "up": up, "down": down, "shape": shape, "gamma": gamma}
    return values, low + (1 - low) * triangle * height


def cycles(run: Run, draw: Draw) -> tuple[dict[str, Any], Array, Array]:
    """Restarts one after another, as the paper writes them: T_i = T_0 growth ** i, each on a whole update."""
    (text, length), growth = draw.length(run), draw.one(1.0, 2.0, 3.0, draw.number(1.01, 4))
    begins, exact = [0], 0.0
    for cycle in range(10_000):
        exact += length * growth**cycle
        begins.append(round(exact))
        if exact > run.t.max():
            break
    corners = np.array(begins, dtype=float)
    cycle_of = np.searchsorted(corners, run.t, side="right") - 1
    u = (run.t - corners[cycle_of]) / (corners[cycle_of + 1] - corners[cycle_of])
    return {"period": text, "growth": growth}, cycle_of.astype(float), u


def cosine_restarts(run: Run, draw: Draw) -> Case:
    values, cycle, u = cycles(run, draw)
    decay, end = draw.number(0.3, 1), draw.number(0, 1)
    return {**values, "gamma": decay, "end": end}, fade(decay**cycle * (1 + np.cos(np.pi * u)) / 2, end)


def polynomial_restarts(run: Run, draw: Draw) -> Case:
    values, cycle, u = cycles(run, draw)
    decay, end, n = draw.number(0.3, 1), draw.number(0, 1), draw.number(0.3, 3)
    return {**values, "power": n, "gamma": decay, "end": end}, fade(decay**cycle * (1 - u) ** n, end)


def polynomial_cycles(run: Run, draw: Draw) -> Case:
    """Keras: the decay steps are multiplied until they are no fewer than the updates done."""
    (text, length), n, end = draw.length(run), draw.number(0.3, 3), draw.number(0, 1)
    steps = np.where(run.t == 0, 1, np.ceil(run.t / length)) * length
    return {"period": text, "power": n, "end": end}, (1 - end) * (1 - run.t / steps) ** n + end


def cosine_waves(run: Run, draw: Draw) -> Case:
    waves, end = draw.whole(1, 9), draw.number(0, 1)
    return {"waves": waves, "end": end}, fade((1 + np.cos(2 * np.pi * (waves - 0.5) * run.z)) / 2, end)


def chebyshev(run: Run, draw: Draw) -> Case:
    levels, low, (every, length) = draw.whole(0, 6), draw.number(0.01, 1), draw.length(run)
    order = [0]
    for _ in range(levels):
        order = [entry for index in order for entry in (index, 2 * len(order) - 1 - index)]
    roots = (1 + low) / 2 - (1 - low) / 2 * np.cos((np.arange(len(order)) + 0.5) * np.pi / len(order))
    place = (run.t // length % len(order)).astype(int)
    return {"levels": levels, "low": low, "every": every}, low / roots[np.array(order)[place]]


def piecewise(run: Run, draw: Draw) -> Case:
    times = sorted({draw.whole(1, run.total) for _ in range(5)})
    heights = [draw.number(0, 2) for _ in times]
    kind = draw.one("constant", "linear", "cosine")
    xs, ys = np.array([0, *times], dtype=float), np.array([1, *heights])
    place = np.minimum(np.searchsorted(xs, run.t, side="right") - 1, len(xs) - 1)
    after = np.minimum(place + 1, len(xs) - 1)
    u = np.clip((run.t - xs[place]) / np.maximum(xs[after] - xs[place], 1), 0, 1)
    curve = {
        "constant": ys[place],
        "linear": np.interp(run.t, xs, ys),
        "cosine": ys[after] + (ys[place] - ys[after]) * (1 + np.cos(np.pi * u)) / 2,
    }[kind]
    points = [[f"{time}st", height] for time, height in zip(times, heights, strict=True)]
    return {"points": points, "interpolation": kind}, curve


def noise(run: Run, draw: Draw) -> Case:
    amount, seed, per = draw.number(0, 1), draw.whole(0, 2**31), draw.one("epoch", "step")
    position = (run.t if per == "step" else run.t // run.epoch).astype(np.uint64)
    with np.errstate(over="ignore"):
        word = np.full_like(position, seed) * np.uint64(0xD1342543DE82EF95)
        word = word + (position + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    unit = (word >> np.uint64(11)).astype(np.float64) / 2**53
    return {"amount": amount, "noise_seed": seed, "per": per}, 1 + amount * (2 * unit - 1)


ORACLES: dict[str, Callable[[Run, Draw], Case]] = {
    oracle.__name__: oracle
    for oracle in (
        *(constant, exponential, step, multistep, inverse_time, inverse_sqrt, noam, power),
        *(linear, cosine, polynomial, tanh, rex, sqrt, geometric, wsd, power_cool, knee, trapezoid),
        *(one_cycle, cyclic, cosine_restarts, polynomial_restarts, polynomial_cycles, cosine_waves),
        *(chebyshev, piecewise, noise),
    )
}


def runs(draw: Draw) -> Run:
    epoch, epochs = draw.whole(1, 40), draw.whole(1, 30)
    total = epoch * epochs
    start = draw.one(0, draw.whole(0, total - 1))
    places = {0, 1, total // 2, total - 1, total, total + 1, 10 * total, start, start + 1}
    places |= {draw.whole(0, total) for _ in range(20)}
    return Run(epoch, total, start, np.array(sorted(places), dtype=float))


def test_against_numpy() -> None:
    for name, oracle in ORACLES.items():
        draw = Draw(zlib.crc32(name.encode()))
        for _ in range(TRIALS):
            run = runs(draw)
            parameters, expected = oracle(run, draw)
            value = by_name(name, parameters)
            found = [value(Progress(int(t), run.epoch, run.total, run.start)) for t in run.t]
            np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{value!r} in {run}")


def test_covers_every_family() -> None:
    required = inspect.Parameter.empty
    taken = {name: defaults(formula(factory)) for name, factory in registered().items()}
    families = {name for name, own in taken.items() if required not in own.values() and "parts" not in own}
    assert families == set(ORACLES)
