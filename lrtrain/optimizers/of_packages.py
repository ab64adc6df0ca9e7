"""Optimizers of other packages, which an extra of ours installs."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from lrtrain.optimizers.building import builds
from lrtrain.optimizers.of_torch import _PROBABILITY, L2, Betas, Decay, Eps, _Pair
from lrtrain.parameters.rules import Choice, Either, NonNegative, Number, OrNull, Positive, PositiveCount, Probability

_Near: TypeAlias = Annotated[
    _Pair, "how near to the average the gradient is taken, and the decay of its average square"
]
_R: TypeAlias = Annotated[NonNegative, "power of the update's number in the average's weights"]
_Power: TypeAlias = Annotated[NonNegative, "power of the rate in the average's weights"]


@builds("schedulefree:SGDScheduleFree", extra="schedulefree")
def schedulefree_sgd(
    *,
    momentum: Annotated[Probability, "how near to the average the gradient is taken"] = 0.9,
    weight_decay: L2 = 0.0,
    r: _R = 0.0,
    weight_lr_power: _Power = 2.0,
) -> None:
    """SGD that needs no schedule, and is judged by its average: use scheduler=constant, and lrtrain's own warmup=5%.

    Source: Defazio et al. 2024, arXiv:2405.15682; pip install "lrtrain[schedulefree]".
    """


@builds("schedulefree:AdamWScheduleFree", extra="schedulefree")
def schedulefree_adamw(
    *, betas: _Near = (0.9, 0.999), eps: Eps = 1e-8, weight_decay: L2 = 0.0, r: _R = 0.0, weight_lr_power: _Power = 2.0
) -> None:
    """AdamW in the manner of `schedulefree_sgd`."""


@builds("schedulefree:RAdamScheduleFree", extra="schedulefree")
def schedulefree_radam(
    *,
    betas: _Near = (0.9, 0.999),
    eps: Eps = 1e-8,
    weight_decay: L2 = 0.0,
    r: _R = 0.0,
    weight_lr_power: _Power = 2.0,
    silent_sgd_phase: Annotated[bool, "leave the weights as they are in the first few updates"] = True,
) -> None:
    """RAdam in the manner of `schedulefree_sgd`."""


@builds("prodigyopt:Prodigy", extra="prodigy")
def prodigy(
    *,
    betas: Betas = (0.9, 0.999),
    beta3: Annotated[
        float | None, OrNull(_PROBABILITY), "of the averages that find the rate; null: the root of the second beta"
    ] = None,
    eps: Eps = 1e-8,
    weight_decay: Decay = 0.0,
    decouple: Annotated[bool, "weight decay as in AdamW; false adds it to the gradient"] = True,
    use_bias_correction: Annotated[bool, "correct the averages for beginning at 0, as Adam does"] = False,
    safeguard_warmup: Annotated[bool, "leave the schedule's rate out of its estimate's divisor, for a warm-up"] = False,
    d0: Annotated[Positive, "the first guess of the rate"] = 1e-6,
    d_coef: Annotated[Positive, "multiplies the rate it finds"] = 1.0,
    growth_rate: Annotated[
        float, Either((Number(low=1), Choice((math.inf,)))), "of the rate, at most, per update; .inf for any"
    ] = math.inf,
    slice_p: Annotated[PositiveCount, "look at every such entry of the weights only, to find the rate"] = 1,
) -> None:
    """Adam that finds its rate itself: leave lr at 1, and use scheduler=constant or cosine.

    Source: Mishchenko & Defazio 2023, arXiv:2306.06101; pip install "lrtrain[prodigy]".
    """
