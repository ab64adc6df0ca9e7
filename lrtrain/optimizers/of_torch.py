"""torch's optimizers, with torch's names and defaults.

Those of `building.LEFT_OUT` are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from lrtrain.optimizers.building import builds
from lrtrain.parameters.rules import ListOf, NonNegative, Number, OptionalFlag, OrNull, Positive, Probability

_POSITIVE = Number(low=0, open_low=True)
Betas: TypeAlias = Annotated[Sequence[float], ListOf(Number(low=0, high=1, open_high=True), least=2)]
Ends: TypeAlias = Annotated[Sequence[float], ListOf(_POSITIVE, least=2, rising=True)]


@builds("torch.optim:SGD")
def sgd(
    *,
    momentum: Probability = 0.9,
    dampening: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    nesterov: bool = False,
    fused: OptionalFlag = None,
) -> None:
    """Stochastic gradient descent with momentum.

    Args:
        momentum: share of the last step in the next.
        dampening: share of the gradient that is left out of the momentum.
        weight_decay: times the weights, added to the gradient.
        nesterov: look ahead by the momentum.
        fused: update all weights by one kernel; null does where torch has it for the device.
    """


@builds("torch.optim:Adam")
def adam(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    amsgrad: bool = False,
    fused: OptionalFlag = None,
    decoupled_weight_decay: bool = False,
) -> None:
    """Steps by the average gradient over the root of its average square.

    Source: Kingma & Ba 2015, arXiv:1412.6980.

    Args:
        betas: decay of the averages of the gradient and of its square.
        eps: added to the divisor.
        weight_decay: times the weights, added to the gradient.
        amsgrad: divide by the largest average square so far (Reddi et al. 2018).
        fused: update all weights by one kernel; null does where torch has it for the device.
        decoupled_weight_decay: shrink the weights by it instead; true is adamw.
    """


@builds("torch.optim:AdamW")
def adamw(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
    amsgrad: bool = False,
    fused: OptionalFlag = None,
) -> None:
    """Adam whose weight decay does not pass through the averages.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101.

    Args:
        betas: decay of the averages of the gradient and of its square.
        eps: added to the divisor.
        weight_decay: each update shrinks the weights by this times the rate.
        amsgrad: divide by the largest average square so far (Reddi et al. 2018).
        fused: update all weights by one kernel; null does where torch has it for the device.
    """


@builds("torch.optim:NAdam")
def nadam(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum_decay: NonNegative = 0.004,
    decoupled_weight_decay: bool = False,
) -> None:
    """Adam with Nesterov momentum.

    Source: Dozat 2016.

    Args:
        betas: decay of the averages of the gradient and of its square.
        eps: added to the divisor.
        weight_decay: times the weights, added to the gradient.
        momentum_decay: how fast the momentum grows to the first beta.
        decoupled_weight_decay: shrink the weights by it instead, as AdamW does.
    """


@builds("torch.optim:RAdam")
def radam(
    *,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    decoupled_weight_decay: bool = False,
) -> None:
    """Adam that warms up by itself.

    Source: Liu et al. 2020, arXiv:1908.03265.

    Args:
        betas: decay of the averages of the gradient and of its square.
        eps: added to the divisor.
        weight_decay: times the weights, added to the gradient.
        decoupled_weight_decay: shrink the weights by it instead, as AdamW does.
    """


@builds("torch.optim:Adamax")
def adamax(*, betas: Betas = (0.9, 0.999), eps: Positive = 1e-8, weight_decay: NonNegative = 0.0) -> None:
    """Adam under the infinity norm.

    Source: Kingma & Ba 2015, arXiv:1412.6980.

    Args:
        betas: decay of the average of the gradient, and of its largest size.
        eps: added to the divisor.
        weight_decay: times the weights, added to the gradient.
    """


@builds("torch.optim:Adagrad", fuses_on=("cpu",))
def adagrad(
    *,
    weight_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
    eps: Positive = 1e-10,
    fused: OptionalFlag = None,
) -> None:
    """Divides the gradient by the root of the sum of its squares so far.

    Source: Duchi et al. 2011. torch's lr_decay is left to the schedule: inverse_time every=1st per=step.

    Args:
        weight_decay: times the weights, added to the gradient.
        initial_accumulator_value: what the sum begins at.
        eps: added to the divisor.
        fused: update all weights by one kernel; null does where torch has it for the device.
    """


@builds("torch.optim:Adadelta")
def adadelta(*, rho: Probability = 0.9, eps: Positive = 1e-6, weight_decay: NonNegative = 0.0) -> None:
    """Scales the gradient by the root mean square of past steps over that of past gradients.

    Source: Zeiler 2012, arXiv:1212.5701.

    Args:
        rho: decay of both averages.
        eps: added to both averages.
        weight_decay: times the weights, added to the gradient.
    """


@builds("torch.optim:Adafactor")
def adafactor(
    *,
    beta2_decay: Annotated[float, Number(high=0)] = -0.8,
    eps: Annotated[Sequence[float | None], ListOf(OrNull(_POSITIVE), least=2)] = (None, 1e-3),
    d: Positive = 1.0,
    weight_decay: NonNegative = 0.0,
) -> None:
    """Adam with a factored second moment.

    Source: Shazeer & Stern 2018, arXiv:1804.04235.

    Args:
        beta2_decay: c of the average square's decay, 1 - t ** c at update t.
        eps: least average square, where null is the smallest number of the weights' type; and least size of the weights
            that a step is in proportion to.
        d: clips the update at this root mean square.
        weight_decay: each update shrinks the weights by this times the rate.
    """


@builds("torch.optim:RMSprop")
def rmsprop(
    *,
    alpha: Probability = 0.99,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    momentum: Probability = 0.0,
    centered: bool = False,
) -> None:
    """Divides the gradient by the root of its average square.

    Source: Tieleman & Hinton 2012.

    Args:
        alpha: decay of the average square.
        eps: added to the divisor.
        weight_decay: times the weights, added to the gradient.
        momentum: share of the last step in the next.
        centered: divide by the standard deviation instead.
    """


@builds("torch.optim:Rprop")
def rprop(*, etas: Ends = (0.5, 1.2), step_sizes: Ends = (1e-6, 50.0)) -> None:
    """A step size for each weight, from the signs of whole-data gradients; lr is the first one.

    Source: Riedmiller & Braun 1993.

    Args:
        etas: factors of a step size where the sign changes, and where it stays.
        step_sizes: the least and the largest.
    """


@builds("torch.optim:ASGD")
def asgd(
    *,
    lambd: NonNegative = 1e-4,
    alpha: Probability = 0.75,
    t0: NonNegative = 1e6,
    weight_decay: NonNegative = 0.0,
) -> None:
    """Stochastic gradient descent with an average of the weights, and a decay of its own.

    At update t its rate is lr / (1 + lambd * lr * t) ** alpha; it uses a rate one update late.

    Source: Polyak & Juditsky 1992.

    Args:
        lambd: how fast its rate decays, and the weights shrink.
        alpha: power of that decay.
        t0: update at which averaging begins.
        weight_decay: times the weights, added to the gradient.
    """
