"""Parameter groups: whose rate is whose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from lrtrain.errors import RequestError


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
        RequestError: A pattern matches no parameter.
    """
    layers = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        pattern = next((pattern for pattern in lr_mults if re.fullmatch(pattern, name)), "")
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


def _label(pattern: str, *parts: str) -> str:
    """A group's name in logs: its pattern without what only matches anything."""
    return "_".join(filter(None, (re.sub(r"\\?\.(\*|\+)?$|\W+$", "", pattern), *parts))) or "rest"
