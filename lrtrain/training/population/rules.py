"""The updates of optimizers, for many runs at once: each value of a group is a tensor with an entry for each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

State = dict[str, Tensor]
Values = Mapping[str, Tensor]


class Rule(NamedTuple):
    """How an optimizer updates a parameter.

    Attributes:
        names: What it has to know of a group, as it is called in there or in `derived`.
        read: Those values at an update, given the group and how many updates were done before.
        state: The names of what it keeps for a parameter, each of the parameter's shape.
        counts: It keeps the number of updates, too.
        update: Changes a parameter and its state in place, given the gradient and the values; all of them have the
            runs first.
    """

    names: tuple[str, ...]
    read: Callable[[Mapping[str, Any], int], tuple[float, ...]]
    state: tuple[str, ...]
    counts: bool
    update: Callable[[Tensor, Tensor, State, Values], None]


def rule_of(optimizer: Optimizer) -> Rule:
    """The rule of an optimizer; what is a flag in its groups is the same in all of them."""
    group = optimizer.param_groups[0]
    if isinstance(optimizer, torch.optim.SGD):
        return _sgd(nesterov=group["nesterov"], moves=any(group["momentum"] for group in optimizer.param_groups))
    assert isinstance(optimizer, torch.optim.Adam), "only these are stacked"
    return _adam(decoupled=group["decoupled_weight_decay"], largest=group["amsgrad"])


def _sgd(*, nesterov: bool, moves: bool) -> Rule:
    """SGD as in torch: Sutskever et al. 2013 with the rate outside of the momentum."""

    def read(group: Mapping[str, Any], done: int) -> tuple[float, ...]:
        kept = 1.0 - group["dampening"] if done else 1.0  # the first gradient is the momentum
        return group["lr"], group["momentum"], kept, group["weight_decay"]

    def update(weight: Tensor, gradient: Tensor, state: State, values: Values) -> None:
        kept, decay = values["kept"], values["weight_decay"]
        if moves and not nesterov:  # in place, as memory that is new costs more than the sums
            step = state["momentum_buffer"].mul_(values["momentum"]).addcmul_(gradient, kept)
            step.addcmul_(weight, kept * decay)
        else:
            step = torch.addcmul(gradient, weight, decay)
        if moves and nesterov:
            buffer = state["momentum_buffer"].mul_(values["momentum"]).addcmul_(step, kept)
            step = torch.addcmul(step, buffer, values["momentum"])
        weight.addcmul_(step, values["lr"], value=-1)

    names = "lr", "momentum", "kept", "weight_decay"
    return Rule(names, read, ("momentum_buffer",) if moves else (), False, update)


def _adam(*, decoupled: bool, largest: bool) -> Rule:
    """Adam and AdamW as in torch."""

    def read(group: Mapping[str, Any], done: int) -> tuple[float, ...]:
        rate, decay = float(group["lr"]), group["weight_decay"]
        first, second = group["betas"]
        unbiased = rate / (1 - first ** (done + 1))
        root = (1 - second ** (done + 1)) ** 0.5
        shrunk, added = (1 - rate * decay, 0.0) if decoupled else (1.0, decay)
        return unbiased, root, first, second, group["eps"], shrunk, added

    def update(weight: Tensor, gradient: Tensor, state: State, values: Values) -> None:
        if decoupled:
            weight.mul_(values["shrunk"])
        else:
            gradient = torch.addcmul(gradient, weight, values["added"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - values["first"])
        square.mul_(values["second"]).addcmul_(gradient * gradient, 1 - values["second"])
        if largest:
            most = state["max_exp_avg_sq"]
            most.copy_(torch.maximum(most, square))
            square = most
        divisor = (square.sqrt() / values["root"]).add_(values["eps"])
        weight.addcmul_(mean / divisor, values["unbiased"], value=-1)

    names = "unbiased", "root", "first", "second", "eps", "shrunk", "added"
    return Rule(names, read, ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if largest else [])), True, update)


def norms(gradients: Sequence[Sequence[Tensor]], order: int = 2) -> Tensor:
    """The norm of each group's tensors, (runs, numbers), of each run: (groups, runs)."""
    return torch.stack([whole(torch.stack([_norm(each, order) for each in group]), order) for group in gradients])


def _norm(rows: Tensor, order: int) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(rows, order, dim=1)
    return found


def whole(norms: Tensor, order: int = 2) -> Tensor:
    """The norm of all tensors of each run, (..., runs), of their own, (..., tensors, runs)."""
    found: Tensor = torch.linalg.vector_norm(norms, order, dim=-2)
    return found


def clip(gradients: Sequence[Sequence[Tensor]], norm: Tensor, most: Tensor, by_value: bool) -> list[list[Tensor]]:
    """The gradients, each run's clipped at its own norm or value, as Lightning does."""
    if by_value:
        limit = most[:, None]
        return [[torch.minimum(torch.maximum(each, -limit), limit) for each in group] for group in gradients]
    share = (most / (norm + 1e-6)).clamp(max=1.0)[:, None]
    return [[each * share for each in group] for group in gradients]
