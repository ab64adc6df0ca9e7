"""A user's own model, by the place of its class or of a function that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lrtrain.datasets import Inputs
from lrtrain.imports import call


def custom(
    inputs: Inputs | None, classes: int | None, function: str, parameters: Mapping[str, Any] | None
) -> nn.Module:
    """What `function` returns for the parameters.

    It is also given `inputs` and `classes`, where its signature has these names and they are known.

    Raises:
        ValueError: It cannot be imported, fails, or makes no module.
    """
    offered = {name: value for name, value in (("inputs", inputs), ("classes", classes)) if value is not None}
    network = call("model.function", function, parameters, **offered)
    if not isinstance(network, nn.Module):
        raise ValueError(f"model.function={function} makes a {type(network).__name__}, which is no torch.nn.Module")
    return network
