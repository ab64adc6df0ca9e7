"""torch's optimizers, with torch's names and defaults.

Those of `building.LEFT_OUT` are not here. What a setting means stands in its annotation, as many share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from lrtrain.optimizers.building import builds
from lrtrain.parameters.rules import ListOf, NonNegative, Number, OptionalFlag, OrNull, Positive, Probability

_POSITIVE = Number(low=0, open_low=True)
_PROBABILITY = Number(low=0, high=1, open_high=True)
_Pair: TypeAlias = Annotated[Sequence[float], ListOf(_PROBABILITY, least=2)]
_Ends: TypeAlias = Annotated[Sequence[float], ListOf(_POSITIVE, least=2, rising=True)]

Betas: TypeAlias = Annotated[_Pair, "decay of the averages of the gradient and of its square"]
Eps: TypeAlias = Annotated[Positive, "added to the divisor"]
Momentum: TypeAlias = Annotated[Probability, "share of the last step in the next"]
Nesterov: TypeAlias = Annotated[bool, "look ahead by the momentum"]
L2: TypeAlias = Annotated[NonNegative, "times the weights, added to the gradient"]
Decay: TypeAlias = Annotated[NonNegative, "each update shrinks the weights by this times the rate"]
Decoupled: TypeAlias = Annotated[bool, "shrink the weights by weight_decay instead, as AdamW does"]
Largest: TypeAlias = Annotated[bool, "divide by the largest average square so far (Reddi et al. 2018)"]
Fused: TypeAlias = Annotated[OptionalFlag, "update all weights by one kernel; null: where torch has it for the device"]


@builds("torch.optim:SGD")
def sgd(
    *,
    momentum: Momentum = 0.9,
    dampening: Annotated[NonNegative, "share of the gradient that is left out of the momentum"] = 0.0,
    weight_decay: L2 = 0.0,
    nesterov: Nesterov = False,
    fused: Fused = None,
) -> None:
    """Stochastic gradient descent with momentum."""


@builds("torch.optim:Adam")
def adam(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Eps = 1e-8,
    weight_decay: L2 = 0.0,
    amsgrad: Largest = False,
    fused: Fused = None,
    decoupled_weight_decay: Decoupled = False,
) -> None:
    """Steps by the average gradient over the root of its average square: Kingma & Ba 2015, arXiv:1412.6980."""


@builds("torch.optim:AdamW")
def adamw(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Eps = 1e-8,
    weight_decay: Decay = 0.01,
    amsgrad: Largest = False,
    fused: Fused = None,
) -> None:
    """Adam whose weight decay does not pass through the averages: Loshchilov & Hutter 2019, arXiv:1711.05101."""


@builds("torch.optim:NAdam")
def nadam(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Eps = 1e-8,
    weight_decay: L2 = 0.0,
    momentum_decay: Annotated[NonNegative, "how fast the momentum grows to the first beta"] = 0.004,
    decoupled_weight_decay: Decoupled = False,
) -> None:
    """Adam with Nesterov momentum: Dozat 2016."""


@builds("torch.optim:RAdam")
def radam(
    *, betas: Betas = (0.9, 0.999), eps: Eps = 1e-8, weight_decay: L2 = 0.0, decoupled_weight_decay: Decoupled = False
) -> None:
    """Adam that warms up by itself: Liu et al. 2020, arXiv:1908.03265."""


@builds("torch.optim:Adamax")
def adamax(
    *,
    betas: Annotated[_Pair, "decay of the average of the gradient, and of its largest size"] = (0.9, 0.999),
    eps: Eps = 1e-8,
    weight_decay: L2 = 0.0,
) -> None:
    """Adam under the infinity norm: Kingma & Ba 2015, arXiv:1412.6980."""


@builds("torch.optim:Adagrad", fuses_on=("cpu",))
def adagrad(
    *,
    weight_decay: L2 = 0.0,
    initial_accumulator_value: Annotated[NonNegative, "what the sum begins at"] = 0.0,
    eps: Eps = 1e-10,
    fused: Fused = None,
) -> None:
    """Divides the gradient by the root of the sum of its squares so far: Duchi et al. 2011.

    torch's lr_decay is left to the schedule: inverse_time every=1st per=step.
    """


@builds("torch.optim:Adadelta")
def adadelta(
    *,
    rho: Annotated[Probability, "decay of both averages"] = 0.9,
    eps: Annotated[Positive, "added to both averages"] = 1e-6,
    weight_decay: L2 = 0.0,
) -> None:
    """Scales the gradient by the size of past steps over that of past gradients: Zeiler 2012, arXiv:1212.5701."""


@builds("torch.optim:Adafactor")
def adafactor(
    *,
    beta2_decay: Annotated[float, Number(high=0), "c of the average square's decay, 1 - t ** c at update t"] = -0.8,
    eps: Annotated[
        Sequence[float | None],
        ListOf(OrNull(_POSITIVE), least=2),
        "least average square (null: the smallest number of the weights' type), and least size of the weights",
    ] = (None, 1e-3),
    d: Annotated[Positive, "clips the update at this root mean square"] = 1.0,
    weight_decay: Decay = 0.0,
) -> None:
    """Adam with a factored second moment: Shazeer & Stern 2018, arXiv:1804.04235."""


@builds("torch.optim:RMSprop")
def rmsprop(
    *,
    alpha: Annotated[Probability, "decay of the average square"] = 0.99,
    eps: Eps = 1e-8,
    weight_decay: L2 = 0.0,
    momentum: Momentum = 0.0,
    centered: Annotated[bool, "divide by the standard deviation instead"] = False,
) -> None:
    """Divides the gradient by the root of its average square: Tieleman & Hinton 2012."""


@builds("torch.optim:Rprop")
def rprop(
    *,
    etas: Annotated[_Ends, "factors of a step size where the sign changes, and where it stays"] = (0.5, 1.2),
    step_sizes: Annotated[_Ends, "the least and the largest"] = (1e-6, 50.0),
) -> None:
    """A step size for each weight, from the signs of whole-data gradients; lr is the first: Riedmiller & Braun 1993."""


@builds("torch.optim:ASGD")
def asgd(
    *,
    lambd: Annotated[NonNegative, "how fast its rate decays, and the weights shrink"] = 1e-4,
    alpha: Annotated[Probability, "power of that decay"] = 0.75,
    t0: Annotated[NonNegative, "update at which averaging begins"] = 1e6,
    weight_decay: L2 = 0.0,
) -> None:
    """Stochastic gradient descent with an average of the weights: Polyak & Juditsky 1992.

    It has a decay of its own, lr / (1 + lambd * lr * t) ** alpha at update t, and uses a rate one update late.
    """
