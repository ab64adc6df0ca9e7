"""What steps the weights: a function an optimizer, named as in the configuration, whose keywords are its settings.

torch is imported when one is built.
"""

# ruff: noqa: F403
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lrtrain.configs import choices
from lrtrain.optimizers.building import optimizer_class
from lrtrain.optimizers.custom import *
from lrtrain.optimizers.muon import *
from lrtrain.optimizers.of_packages import *
from lrtrain.optimizers.of_torch import *
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.signatures import bind, check_choice

if TYPE_CHECKING:
    from torch import nn

__all__ = ["averages_weights", "function", "optimizer", "split_groups"]


def function(name: str) -> Callable[..., Any]:
    """The function whose signature declares an optimizer's settings.

    Raises:
        SettingError: There is no such optimizer.
    """
    check_choice("optimizer", name, choices("optimizer"))
    return globals()[name]  # type: ignore[no-any-return]


def optimizer(name: str, **settings: Any) -> Bound:
    """An optimizer with its settings; `make(groups, lr)` builds it of copies of the groups.

    Raises:
        SettingError: There is no such optimizer, or it does not admit a setting.
    """
    return Bound(name, function(name), bind(function(name), (), settings, "optimizer."))


def averages_weights(bound: Bound) -> bool:
    """Whether an optimizer has an average of the weights to switch to, as schedule-free ones do.

    Raises:
        ValueError: Its class cannot be had.
    """
    kind = optimizer_class(bound.name, bound.parameters.get("function"))
    return hasattr(kind, "train") and hasattr(kind, "eval")


def split_groups(bound: Bound, network: nn.Module, groups: list[dict[str, Any]], lr: float) -> list[dict[str, Any]]:
    """The parameter groups as an optimizer takes them.

    Args:
        bound: The optimizer.
        network: Whose parameters the groups have.
        groups: With their ``params``, ``lr``, ``name`` and ``pattern``.
        lr: The base rate.

    Raises:
        ValueError: It cannot have such groups.
    """
    if bound.name == "prodigy" and any(group["pattern"] or group["lr"] != groups[0]["lr"] for group in groups):
        raise ValueError("optimizer=prodigy has one rate for all parameters: leave out groups and layer_decay")
    if bound.name == "muon":
        from lrtrain.optimizers.muon_and_adamw import split

        return split(network, groups, lr, bound.parameters["adamw_lr"], bound.parameters["adamw"])
    return groups
