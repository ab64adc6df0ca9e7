"""Optimizers of other packages, which an extra of ours installs."""

from __future__ import annotations

import math
from typing import Annotated

from lrtrain.optimizers.building import builds
from lrtrain.optimizers.of_torch import Betas
from lrtrain.parameters.rules import (
    Choice,
    Either,
    NonNegative,
    Number,
    OrNull,
    Positive,
    PositiveCount,
    Probability,
)


@builds("schedulefree:SGDScheduleFree", extra="schedulefree")
def schedulefree_sgd(
    *,
    momentum: Probability = 0.9,
    weight_decay: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
) -> None:
    """SGD that needs no schedule: it averages the weights, and is judged by the average; use scheduler=constant.

    A ramp is lrtrain's own, warmup=5%.

    Source: Defazio et al. 2024, arXiv:2405.15682; pip install "lrtrain[schedulefree]".

    Args:
        momentum: how near to the average the gradient is taken, from 0 to 1.
        weight_decay: times the weights, added to the gradient.
        r: power of the update's number in the average's weights.
        weight_lr_power: power of the rate in them.
    """


@builds("schedulefree:AdamWScheduleFree", extra="schedulefree")
def schedulefree_adamw(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
) -> None:
    """AdamW that needs no schedule: it averages the weights, and is judged by the average; use scheduler=constant.

    A ramp is lrtrain's own, warmup=5%.

    Source: Defazio et al. 2024, arXiv:2405.15682; pip install "lrtrain[schedulefree]".

    Args:
        betas: how near to the average the gradient is taken, and the decay of the average of its square.
        eps: added to the divisor.
        weight_decay: times the weights, added to what steps them.
        r: power of the update's number in the average's weights.
        weight_lr_power: power of the rate in them.
    """


@builds("schedulefree:RAdamScheduleFree", extra="schedulefree")
def schedulefree_radam(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    r: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
    silent_sgd_phase: bool = True,
) -> None:
    """RAdam that needs no schedule: it averages the weights, and is judged by the average; use scheduler=constant.

    A ramp is lrtrain's own, warmup=5%.

    Source: Defazio et al. 2024, arXiv:2405.15682; pip install "lrtrain[schedulefree]".

    Args:
        betas: how near to the average the gradient is taken, and the decay of the average of its square.
        eps: added to the divisor.
        weight_decay: times the weights, added to what steps them.
        r: power of the update's number in the average's weights.
        weight_lr_power: power of the rate in them.
        silent_sgd_phase: leave the weights as they are in the first few updates, which RAdam makes as SGD.
    """


@builds("prodigyopt:Prodigy", extra="prodigy")
def prodigy(
    *,
    betas: Betas = (0.9, 0.999),
    beta3: Annotated[float | None, OrNull(Number(low=0, high=1, open_high=True))] = None,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    decouple: bool = True,
    use_bias_correction: bool = False,
    safeguard_warmup: bool = False,
    d0: Positive = 1e-6,
    d_coef: Positive = 1.0,
    growth_rate: Annotated[float, Either((Number(low=1), Choice((math.inf,))))] = math.inf,
    slice_p: PositiveCount = 1,
) -> None:
    """Adam that finds its rate itself: leave lr at 1, and use scheduler=constant or cosine.

    Source: Mishchenko & Defazio 2023, arXiv:2306.06101; pip install "lrtrain[prodigy]".

    Args:
        betas: decay of the averages of the gradient and of its square.
        beta3: of the averages that find the rate; null: the root of the second beta.
        eps: added to the divisor.
        weight_decay: each update shrinks the weights by this times the rate.
        decouple: weight decay as in AdamW; false adds it to the gradient.
        use_bias_correction: correct the averages for beginning at 0, as Adam does.
        safeguard_warmup: leave the schedule's rate out of the divisor of its estimate, for a warm-up.
        d0: the first guess of the rate.
        d_coef: multiplies the rate it finds.
        growth_rate: of the rate, at most, an update; .inf for any.
        slice_p: look at every such entry of the weights only, to find the rate.
    """
