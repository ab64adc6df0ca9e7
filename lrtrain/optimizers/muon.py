"""Muon, with AdamW for what it is not for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from lrtrain.optimizers.building import builds
from lrtrain.optimizers.of_torch import Betas
from lrtrain.parameters.rules import Choice, ListOf, NonNegative, Number, OrNull, Pattern, Positive, Probability


@builds("lrtrain.optimizers.muon_and_adamw:Muon")
def muon(
    *,
    weight_decay: NonNegative = 0.1,
    momentum: Probability = 0.95,
    nesterov: bool = True,
    ns_coefficients: Annotated[Sequence[float], ListOf(Number(), least=3)] = (3.4445, -4.775, 2.0315),
    eps: Positive = 1e-7,
    ns_steps: Annotated[int, Number(low=1, high=99, integer=True)] = 5,
    adjust_lr_fn: Annotated[str | None, OrNull(Choice(("original", "match_rms_adamw")))] = None,
    adamw: Annotated[Sequence[str] | None, OrNull(ListOf(Pattern()))] = None,
    adamw_lr: Positive = 3e-4,
    adamw_betas: Betas = (0.9, 0.999),
    adamw_eps: Positive = 1e-8,
    adamw_weight_decay: NonNegative = 0.01,
) -> None:
    """Orthogonalized momentum for the hidden weights, AdamW for the others, under one schedule.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.

    Args:
        weight_decay: each update shrinks the hidden weights by this times the rate.
        momentum: of the gradients that are orthogonalized.
        nesterov: look ahead by the momentum.
        ns_coefficients: of the polynomial that orthogonalizes, by Newton and Schulz.
        eps: least norm that a gradient is divided by.
        ns_steps: how often the polynomial is applied.
        adjust_lr_fn: original (null) or match_rms_adamw, which takes AdamW's rates.
        adamw: names of the weights that AdamW takes, as patterns; null: the embeddings and the last layer. It takes
            what has fewer than two dimensions in any case.
        adamw_lr: AdamW's base rate; the schedule multiplies it too.
        adamw_betas: AdamW's averages of the gradient and of its square.
        adamw_eps: AdamW's least divisor.
        adamw_weight_decay: AdamW's weight decay.
    """
