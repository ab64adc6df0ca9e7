"""The objective that the data's targets ask for."""

from __future__ import annotations

from typing import Annotated, Any

from lrtrain.objectives import objective
from lrtrain.objectives.building import Names, Objective
from lrtrain.objectives.targets import Targets
from lrtrain.parameters.rules import OptionalText


def auto(
    targets: Targets,
    /,
    *,
    loss: Annotated[OptionalText, "its loss; null for the usual one"] = None,
    metrics: Names = (),
) -> Objective:
    """What the data's targets ask for: classification of names, regression of numbers, multilabel of zeros and ones.

    Args:
        targets: Of the data.
        loss: of the objective that it turns out to be; null takes its own.
        metrics: further ones of torchmetrics: [f1_macro].

    Raises:
        ValueError: That objective has no such loss, or no such metric.
    """
    settings: dict[str, Any] = {} if loss is None else {"loss": loss}
    return objective(targets.objective, metrics=metrics, **settings).make(targets)  # type: ignore[no-any-return]
