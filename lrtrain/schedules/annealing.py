"""Schedules with an end: functions of the fraction done of what follows the warm-up; they hold their last value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from lrtrain.parameters.rules import Duration, Fraction, Number, Positive
from lrtrain.schedules.progress import Progress, needs, updates
from lrtrain.schedules.registry import schedule

Share: TypeAlias = Annotated[float, Number(low=0, high=1, open_low=True)]
_STEEP = 0.01
_FALLS: dict[str, Callable[[float], float]] = {
    "linear": lambda u: 1 - u,
    "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2,
    "1-sqrt": lambda u: 1 - math.sqrt(u),
    "exponential": lambda u: (math.pow(_STEEP, u) - _STEEP) / (1 - _STEEP),
    "square": lambda u: 1 - u * u,
    "mirror_cosine": lambda u: 2 * (1 - u) - (1 + math.cos(math.pi * u)) / 2,
}


def _between(weight: float, end: float) -> float:
    """1 where weight is 1 and `end` where it is 0, both exactly."""
    return weight + (1 - weight) * end


def _tail(progress: Progress, length: int) -> float:
    """Share done of the last `length` updates of the run, or of what follows the warm-up where that is less."""
    step, _, total, start = progress
    left = (total or needs("total_steps")) - step
    if left <= 0:
        return 1.0
    length = min(length, left + step - start)
    return (length - left) / length if left < length else 0.0


@schedule
def linear(progress: Progress, /, end: Fraction = 0.0) -> float:
    """A straight line to the end of the run: ``1 - z (1 - end)``, z the fraction done.

    Source: Li, Yumer, Ramanan 2020, "Budgeted Training", arXiv:1905.04753.

    Args:
        end: last value, as a share of the base rate.
    """
    return _between(1 - progress.fraction, end)


@schedule
def cosine(progress: Progress, /, end: Fraction = 0.0, exponent: Positive = 1.0, k_decay: Positive = 1.0) -> float:
    """Half a cosine to the end of the run: ``end + (1 - end) ((1 + cos(pi z ** k_decay)) / 2) ** exponent``.

    With z the fraction done; by default that is ``end + (1 - end) (1 + cos(pi z)) / 2``.

    Source: Loshchilov & Hutter 2017, "SGDR", arXiv:1608.03983, eq. 5, without restarts; the exponent of optax
    cosine_decay_schedule; k_decay of timm CosineLRScheduler with Zhang & Li 2020, arXiv:2004.05909.

    Args:
        end: last value, as a share of the base rate.
        exponent: above 1 the rate falls early, below 1 late.
        k_decay: above 1 the rate stays high for longer.
    """
    z = progress.fraction
    if k_decay != 1:
        z = math.pow(z, k_decay)
    weight = (1 + math.cos(math.pi * z)) / 2
    return _between(weight if exponent == 1 else math.pow(weight, exponent), end)


@schedule
def polynomial(progress: Progress, /, power: Positive = 2.0, end: Fraction = 0.0, k_decay: Positive = 1.0) -> float:
    """A power curve to the end of the run: ``end + (1 - end) (1 - z ** k_decay) ** power``, z the fraction done.

    Power 1 is `linear`. A power of 2b - 1 is the optimal curve of Li et al. (arXiv:2602.06797) for an easy task
    whose spectrum decays with the exponent b.

    Source: torch PolynomialLR; optax polynomial_schedule; timm PolyLRScheduler with Zhang & Li, arXiv:2004.05909.

    Args:
        power: above 1 the rate falls early, below 1 late.
        end: last value, as a share of the base rate.
        k_decay: above 1 the rate stays high for longer.
    """
    return _between(math.pow(1 - math.pow(progress.fraction, k_decay), power), end)


@schedule
def tanh(
    progress: Progress,
    /,
    lb: Annotated[float, Number(low=-20, high=0, open_high=True)] = -7.0,
    ub: Annotated[float, Number(low=0, high=20, open_low=True)] = 3.0,
    end: Fraction = 0.0,
) -> float:
    """Stay high, then fall, then stay low, on a hyperbolic tangent of x = lb + z (ub - lb), z the fraction done.

    That is ``(tanh(ub) - tanh(x)) / (tanh(ub) - tanh(lb))``, which goes from 1 to `end` exactly; timm's
    ``(1 - tanh(x)) / 2`` misses both by a little.

    Source: Hsueh, Li, Wu 2019, arXiv:1806.01593; timm TanhLRScheduler.

    Args:
        lb: where on the tanh the run begins; further from 0 is longer at the peak.
        ub: where on the tanh the run ends; further from 0 is longer at the end value.
        end: last value, as a share of the base rate.
    """
    z, low = progress.fraction, math.tanh(ub)
    return _between((low - math.tanh(lb * (1 - z) + ub * z)) / (low - math.tanh(lb)), end)


@schedule
def rex(
    progress: Progress, /, d: Annotated[float, Number(low=0, high=1, open_high=True)] = 0.5, end: Fraction = 0.0
) -> float:
    """Fall slowly first and fast at the end: ``(1 - z) / ((1 - d) + d (1 - z))``, z the fraction done.

    Source: Chen, Wolfe, Kyrillidis 2022, "REX", arXiv:2107.04197.

    Args:
        d: bend of the curve; 0 is `linear`.
        end: last value, as a share of the base rate.
    """
    left = 1 - progress.fraction
    return _between(left / (1 - d + d * left), end)


@schedule
def sqrt(progress: Progress, /, end: Fraction = 0.0) -> float:
    """Fall fast first and slowly at the end: ``end + (1 - end) (1 - z ** 0.5)``, z the fraction done.

    Source: the 1-sqrt of Haegele et al. 2024, arXiv:2405.18392, over the whole run.

    Args:
        end: last value, as a share of the base rate.
    """
    return _between(1 - math.sqrt(progress.fraction), end)


@schedule
def geometric(progress: Progress, /, end: Share = 0.01) -> float:
    """Lose the same share with every update until the end of the run: ``end ** z``, z the fraction done.

    This is `exponential` when it is the last value, and not the factor, that is known.

    Source: optax exponential_decay with ``transition_steps`` the whole run.

    Args:
        end: last value, as a share of the base rate.
    """
    return math.pow(end, progress.fraction)


@schedule
def wsd(
    progress: Progress,
    /,
    decay_length: Duration = "20%",
    shape: Literal["linear", "cosine", "1-sqrt", "exponential", "square", "mirror_cosine"] = "1-sqrt",
    end: Fraction = 0.0,
) -> float:
    """Hold, then cool down over the last part of the run: ``end + (1 - end) shape(u)``, u the fraction of it done.

    This is warm-up, stable, decay, where the warm-up is the one that every schedule can have; also known as constant
    with cool-down, and as trapezoidal. The shapes are linear ``1 - u``, cosine ``(1 + cos(pi u)) / 2``, 1-sqrt
    ``1 - sqrt(u)``, square ``1 - u ** 2``, mirror_cosine ``2 (1 - u) - (1 + cos(pi u)) / 2`` and exponential, whose
    whole curve is ``end ** u`` where end is above 0, and ``(0.01 ** u - 0.01) / 0.99`` where it is 0.

    Source: Haegele et al. 2024, arXiv:2405.18392; Hu et al. 2024, "MiniCPM", arXiv:2404.06395.

    Args:
        decay_length: of the cool-down, before the end of the run.
        shape: of the cool-down.
        end: last value, as a share of the base rate.
    """
    u = _tail(progress, updates(decay_length, progress))
    if end and shape == "exponential":
        return math.pow(end, u)
    return _between(_FALLS[shape](u), end)


@schedule
def power_cool(
    progress: Progress, /, decay_length: Duration = "70%", power: Positive = 1.2, end: Fraction = 0.0
) -> float:
    """Hold, then cool down as a power of the updates left: ``min(1, (left / decay_length) ** power)``.

    With a power of 2b - 1 this is the optimal curve of Li et al. (arXiv:2602.06797) for a hard task.

    Source: modded-nanogpt, optimizer track.

    Args:
        decay_length: of the cool-down, before the end of the run.
        power: above 1 the rate falls early in the cool-down, below 1 late; 1 is the linear `wsd`.
        end: last value, as a share of the base rate.
    """
    return _between(math.pow(1 - _tail(progress, updates(decay_length, progress)), power), end)


@schedule
def knee(progress: Progress, /, explore: Duration = "50%", end: Fraction = 0.0) -> float:
    """Explore at the full rate, then exploit on a straight line to the end: ``1 - u (1 - end)``, u after the knee.

    This is the linear `wsd`, with the length of its first part given instead of the second.

    Source: Iyer et al. 2020, "Wide-minima density hypothesis and the explore-exploit learning rate schedule",
    arXiv:2003.03977.

    Args:
        explore: time at the full rate, after the warm-up.
        end: last value, as a share of the base rate.
    """
    length = (progress.total_steps or needs("total_steps")) - progress.start - updates(explore, progress)
    return _between(1 - _tail(progress, length), end)


@schedule
def trapezoid(progress: Progress, /, up: Duration = "10%", down: Duration = "20%", end: Fraction = 0.0) -> float:
    """Up, along and down in straight lines: ``min((t + 1) / up, 1, end + (1 - end) left / down)``.

    With t the updates done, and left those to do. Where both slopes do not fit into the run, the way up keeps its
    length. With a `warmup` instead of `up` this is the linear `wsd`.

    Source: Xing et al. 2018, arXiv:1802.08770; Jordan's airbench (a triangle) and modded-nanogpt.

    Args:
        up: length of the way up; its last update has the full rate.
        down: length of the way down, before the end of the run.
        end: last value, as a share of the base rate.
    """
    step, _, total, start = progress
    length = (total or needs("total_steps")) - start
    rise = min(updates(up, progress), length)
    count = max(step - start, 0) + 1
    if count < rise:
        return count / rise
    return _between(1 - _tail(progress, min(updates(down, progress), length - rise)), end)
