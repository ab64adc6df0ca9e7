"""Muon, with AdamW for what it is not for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from lrtrain.optimizers.building import builds
from lrtrain.optimizers.of_torch import Nesterov, _Pair
from lrtrain.parameters.rules import Choice, ListOf, NonNegative, Number, OrNull, Pattern, Positive, Probability


@builds("lrtrain.optimizers.muon_and_adamw:Muon")
def muon(
    *,
    weight_decay: Annotated[NonNegative, "each update shrinks the hidden weights by this times the rate"] = 0.1,
    momentum: Annotated[Probability, "of the gradients that are orthogonalized"] = 0.95,
    nesterov: Nesterov = True,
    ns_coefficients: Annotated[
        Sequence[float], ListOf(Number(), least=3), "of the polynomial that orthogonalizes, by Newton and Schulz"
    ] = (3.4445, -4.775, 2.0315),
    eps: Annotated[Positive, "least norm that a gradient is divided by"] = 1e-7,
    ns_steps: Annotated[int, Number(low=1, high=99, integer=True), "how often the polynomial is applied"] = 5,
    adjust_lr_fn: Annotated[
        str | None, OrNull(Choice(("original", "match_rms_adamw"))), "match_rms_adamw takes AdamW's rates"
    ] = None,
    adamw: Annotated[
        Sequence[str] | None,
        OrNull(ListOf(Pattern())),
        "names of the weights that AdamW takes, as patterns, besides those of fewer than two dimensions; null: the "
        "embeddings and the last layer",
    ] = None,
    adamw_lr: Annotated[Positive, "AdamW's base rate; the schedule multiplies it too"] = 3e-4,
    adamw_betas: Annotated[_Pair, "AdamW's averages of the gradient and of its square"] = (0.9, 0.999),
    adamw_eps: Annotated[Positive, "AdamW's least divisor"] = 1e-8,
    adamw_weight_decay: Annotated[NonNegative, "AdamW's weight decay"] = 0.01,
) -> None:
    """Orthogonalized momentum for the hidden weights, AdamW for the others, under one schedule.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """
