"""The optimizers, by their names in the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from torch import nn
from torch.optim import LBFGS, Optimizer, SparseAdam

from lrtrain.imports import by_path
from lrtrain.training.muon import split

OPTIMIZERS = {
    "sgd": "torch.optim:SGD",
    "adam": "torch.optim:Adam",
    "adamw": "torch.optim:AdamW",
    "nadam": "torch.optim:NAdam",
    "radam": "torch.optim:RAdam",
    "adamax": "torch.optim:Adamax",
    "adagrad": "torch.optim:Adagrad",
    "adadelta": "torch.optim:Adadelta",
    "adafactor": "torch.optim:Adafactor",
    "rmsprop": "torch.optim:RMSprop",
    "rprop": "torch.optim:Rprop",
    "asgd": "torch.optim:ASGD",
    "muon": "lrtrain.training.muon:Muon",
    "schedulefree_sgd": "schedulefree:SGDScheduleFree",
    "schedulefree_adamw": "schedulefree:AdamWScheduleFree",
    "schedulefree_radam": "schedulefree:RAdamScheduleFree",
    "prodigy": "prodigyopt:Prodigy",
}
"""Where each is; imported when it is asked for.

Of torch's own, those of `LEFT_OUT` are not there.
"""

LEFT_OUT: dict[type[Optimizer], str] = {
    LBFGS: "evaluates the loss several times an update, which the schedule would count as one",
    SparseAdam: "takes sparse gradients only, whose norm cannot be recorded",
}
"""Optimizers that cannot be trained with, and why."""

EXTRAS = {"schedulefree": "schedulefree", "prodigyopt": "prodigy"}
"""The extra of ours that installs a package."""


def optimizer_class(name: str, function: str | None = None) -> type[Optimizer]:
    """The class that a name stands for; that of ``custom`` is at `function`.

    Raises:
        ValueError: It cannot be imported, is no optimizer, or is one of `LEFT_OUT`.
    """
    if name == "custom" and not function:
        raise ValueError("optimizer=custom needs optimizer.function=MODULE:CLASS")
    place = function if name == "custom" else OPTIMIZERS[name]
    assert place is not None
    package = place.partition(":")[0].partition(".")[0]
    if package in EXTRAS and find_spec(package) is None:
        raise ValueError(f'optimizer={name} needs the package {package}: pip install "lrtrain[{EXTRAS[package]}]"')
    try:
        found = by_path(place)
    except ValueError as error:
        raise ValueError(f"optimizer={name} {error}") from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise ValueError(f"optimizer.function={place} is not a torch.optim.Optimizer")
    for kind, reason in LEFT_OUT.items():
        if issubclass(found, kind):
            raise ValueError(f"optimizer.function={place} {reason}: choose another")
    return found


def averages_itself(kind: type[Optimizer]) -> bool:
    """Whether an optimizer has an average of the weights to switch to, as schedule-free ones do."""
    return hasattr(kind, "train") and hasattr(kind, "eval")


def own_groups(
    name: str, network: nn.Module, groups: list[dict[str, Any]], lr: float, **settings: Any
) -> list[dict[str, Any]]:
    """The parameter groups as an optimizer takes them.

    Raises:
        ValueError: It cannot have such groups.
    """
    if name == "prodigy" and any(group["pattern"] or group["lr"] != groups[0]["lr"] for group in groups):
        raise ValueError("optimizer=prodigy has one rate for all parameters: leave out groups and layer_decay")
    if name == "muon":
        return split(network, groups, lr, settings["adamw_lr"], settings["adamw"])
    return groups


def optimizer(name: str, groups: Sequence[dict[str, Any]], lr: float, **settings: Any) -> Optimizer:
    """Build an optimizer of copies of the groups; `settings` are its arguments, a list becomes a tuple.

    Where ``fused`` is None, all parameters are updated by one kernel if torch has it for their device.

    Raises:
        ValueError: There is no such optimizer, or it does not admit a setting.
    """
    kind = optimizer_class(name, settings.get("function"))
    if name == "custom":
        settings = dict(settings["parameters"] or {})
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    if settings.get("fused", False) is None and _can_fuse(name, groups):
        settings["fused"] = True
    return kind([dict(group) for group in groups], lr=lr, **settings)  # type: ignore[call-arg]


def _can_fuse(name: str, groups: Sequence[dict[str, Any]]) -> bool:
    devices = ("cpu",) if name == "adagrad" else ("cpu", "cuda")
    parameters = (parameter for group in groups for parameter in group["params"])
    return all(parameter.device.type in devices and parameter.is_floating_point() for parameter in parameters)
