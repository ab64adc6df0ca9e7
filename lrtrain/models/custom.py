"""A user's own model, by the place of its class or of a function that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from lrtrain.parameters.places import Place, call
from lrtrain.parameters.rules import OptionalTable

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def custom(
    inputs: Inputs | None,
    outputs: int | None,
    /,
    *,
    function: Annotated[str | None, Place()] = None,
    parameters: OptionalTable = None,
) -> nn.Module:
    """Your own torch.nn.Module.

    Args:
        function: module:class of a torch.nn.Module, or a function that makes one; inputs (inputs.shape is that of one
            sample, as (1, 8, 8)) and classes, or outputs, are passed to it where its signature has these names and
            they are known.
        parameters: its other arguments: {width:64}.

    Raises:
        ValueError: It cannot be imported, fails, or makes no module.
    """
    from torch import nn

    offered = {
        name: value
        for name, value in (("inputs", inputs), ("classes", outputs), ("outputs", outputs))
        if value is not None
    }
    network = call("model.function", str(function), parameters, **offered)
    if not isinstance(network, nn.Module):
        raise ValueError(f"model.function={function} makes a {type(network).__name__}, which is not a torch.nn.Module")
    return network
