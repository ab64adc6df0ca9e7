"""Noise as a schedule: to be multiplied with another one."""

from __future__ import annotations

from lrtrain.parameters.rules import Count, Fraction
from lrtrain.schedules.decay import Clock
from lrtrain.schedules.progress import Progress
from lrtrain.schedules.registry import schedule

_WORD = 0xFFFFFFFFFFFFFFFF


@schedule
def noise(progress: Progress, /, amount: Fraction = 0.1, noise_seed: Count = 0, per: Clock = "epoch") -> float:
    """Shake the rate: ``1 + amount * x``, x drawn evenly from [-1, 1) anew for each epoch or update.

    The draw is a hash of the seed and the position (the finaliser of SplitMix64), so it is the same in every run,
    on every machine and after every resumption.

    Source: timm's lr_noise; Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".

    Args:
        amount: largest deviation, as a share of the rate.
        noise_seed: another number, another noise.
        per: a new draw for each epoch, or for each update.
    """
    position = int(progress.step if per == "step" else progress.epoch)  # a stretched clock has fractions
    word = (noise_seed * 0xD1342543DE82EF95 + (position + 1) * 0x9E3779B97F4A7C15) & _WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return 1 + amount * (((word ^ word >> 31) >> 11) * 2.0**-52 - 1)
