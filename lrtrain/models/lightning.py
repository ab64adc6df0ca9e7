"""A user's own LightningModule, which brings its steps and metrics along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from lrtrain.models.custom import custom
from lrtrain.parameters.places import Place
from lrtrain.parameters.rules import OptionalTable

if TYPE_CHECKING:
    from torch import nn

    from lrtrain.datasets import Inputs


def lightning(
    inputs: Inputs | None,
    outputs: int | None,
    /,
    *,
    function: Annotated[str | None, Place()] = None,
    parameters: OptionalTable = None,
) -> nn.Module:
    """Your own LightningModule: its steps and metrics, with our optimizer and schedule.

    Args:
        function: module:class of a LightningModule, whose configure_optimizers is not used; inputs and classes,
            or outputs, are passed to it where its signature has these names and they are known.
        parameters: its other arguments: {width:64}.
    """
    return custom(inputs, outputs, function=function, parameters=parameters)
