"""An optimizer of the user's, or of a package, by its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from lrtrain.optimizers.building import Groups, build, optimizer_class
from lrtrain.parameters.places import Place, said_of
from lrtrain.parameters.rules import OptionalTable

if TYPE_CHECKING:
    from torch.optim import Optimizer


def custom(
    groups: Groups,
    lr: float,
    /,
    *,
    function: Annotated[str | None, Place()] = None,
    parameters: OptionalTable = None,
) -> Optimizer:
    """Your own optimizer, or one of a package.

    Args:
        function: module:class of a torch.optim.Optimizer, such as pytorch_optimizer:Lion.
        parameters: its arguments besides the parameters and lr: {weight_decay:0.1}.

    Raises:
        ValueError: It cannot be imported, fails, or is no optimizer.
    """
    kind = optimizer_class("custom", function)
    try:
        return build(kind, groups, lr, parameters or {})
    except Exception as error:  # whatever calling somebody's code runs into
        raise ValueError(f"optimizer.function={function} fails: {said_of(error)}") from error
