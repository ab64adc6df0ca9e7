"""Parameter groups: whose rate is whose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from lrtrain.errors import RequestError


class Frozen(NamedTuple):
    """What is held as it is.

    Attributes:
        until: The first update that is to change it.
        parameters: That are not updated.
        layers: Whose statistics stay.
    """

    until: int
    parameters: list[nn.Parameter]
    layers: list[nn.Module]


def find_frozen(model: nn.Module, until: Mapping[str, int]) -> list[Frozen]:
    """What of a model is frozen.

    The statistics of a normalisation belong to its parameters; of one without any, their own name counts.

    Args:
        model: In which names are looked up.
        until: The first update that changes what a pattern matches; 0 where it is never frozen.
    """

    def of(name: str) -> int:
        return until.get(_chosen(until, name), 0)

    parts: dict[int, Frozen] = {held: Frozen(held, [], []) for held in until.values() if held}
    for name, parameter in model.named_parameters():
        if held := of(name):
            parts[held].parameters.append(parameter)
    for path, layer in model.named_modules():
        if getattr(layer, "running_mean", None) is not None:
            own = [name for name, _ in layer.named_parameters(recurse=False)] or ["running_mean"]
            if held := min(of(f"{path}.{name}" if path else name) for name in own):
                parts[held].layers.append(layer)
    return list(parts.values())


def parameter_groups(
    model: nn.Module,
    lr: float,
    lr_mults: Mapping[str, float],
    *,
    no_decay: bool = False,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Split a model's parameters into groups for an optimizer.

    Args:
        model: Whose parameters.
        lr: Base rate.
        lr_mults: Multiplier of the rate by pattern, a regular expression that a parameter's whole name must match;
            the first that does counts.
        no_decay: Put biases and the weights of normalisation layers, which have fewer than two dimensions, into groups
            without weight decay.
        layer_decay: Multiplies the rate once for every layer between a parameter and the output; a layer is a direct
            child of the model that has parameters (Clark et al. 2020, arXiv:2003.10555).

    Returns:
        Groups with their ``params``, ``lr``, ``name``, the ``pattern`` that chose them ("" for none), and the settings
        that are ``fixed``, whatever schedule the others have.

    Raises:
        RequestError: A pattern matches no parameter, or one by some of its names only.
    """
    _check_ties(model, lr_mults)
    layers = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        pattern = _chosen(lr_mults, name)
        layer = layers.index(name.partition(".")[0]) if layer_decay != 1 and "." in name else len(layers) - 1
        undecayed = no_decay and parameter.ndim < 2
        label = _label(pattern, f"layer{layer}" if layer_decay != 1 else "", "no_decay" if undecayed else "")
        rate = lr * lr_mults.get(pattern, 1.0) * layer_decay ** (len(layers) - 1 - layer)
        group = groups.setdefault(label, {"params": [], "lr": rate, "name": label, "pattern": pattern})
        group["params"].append(parameter)
        if undecayed:
            group["weight_decay"] = 0.0
            group["fixed"] = ("weight_decay",)
    for pattern in lr_mults.keys() - {group["pattern"] for group in groups.values()}:
        names = ", ".join(name for name, _ in model.named_parameters())
        raise RequestError(f"groups: {pattern!r} matches no parameter; there are {names}")
    return list(groups.values())


def _chosen(patterns: Iterable[str], name: str) -> str:
    """The first pattern that matches a name; "" for none."""
    return next((pattern for pattern in patterns if re.fullmatch(pattern, name)), "")


def _check_ties(model: nn.Module, patterns: Iterable[str]) -> None:
    """Refuse to give a parameter that has several names another rate by each."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    for tied in names.values():
        chosen = [_chosen(patterns, name) for name in tied]
        if len(set(chosen)) > 1:
            found = ", ".join(f"{name} by {pattern or 'none'}" for name, pattern in zip(tied, chosen, strict=True))
            raise RequestError(
                f"groups: {' and '.join(tied)} are the same weights, but matched by different patterns ({found}): give "
                f"one for all of them, such as {'|'.join(map(re.escape, tied))}"
            )


def _label(pattern: str, *parts: str) -> str:
    """A group's name in logs: its pattern without what only matches anything."""
    return "_".join(filter(None, (re.sub(r"\\?\.(\*|\+)?$|\W+$", "", pattern), *parts))) or "rest"
