"""What a model is trained to do with its outputs, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from lrtrain.objectives.reports import Layout, Report
from lrtrain.objectives.targets import MOST_NAMES, Targets
from lrtrain.parameters.places import Place, by_path, said_of
from lrtrain.parameters.rules import Choice, Either, ListOf, Number, OrNull, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import Metric

Function: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
Makers: TypeAlias = "Mapping[str, Callable[[], Metric]]"

Names: TypeAlias = Annotated[Sequence[str], ListOf(Text("the name of a metric"))]
Weights: TypeAlias = Annotated[
    str | Sequence[float] | None,
    OrNull(Either((Choice(("balanced",)), ListOf(Number(low=0, open_low=True), least=1)))),
]


@dataclass(frozen=True)
class Objective:
    """How outputs are judged, measured and given back; all functions are pure.

    Attributes:
        targets: What the outputs are to be.
        unit: What there is an output for, in words: classes, labels, targets.
        words: The loss in words.
        losses: Given outputs and targets, a loss for each sample, or token.
        loss: Their mean, which is minimised.
        rows: Outputs and targets with a row for each target.
        predictions: What outputs mean: probabilities, or values in the data's own unit.
        means: The same in words.
        truths: What targets are, likewise.
        scores: What metrics are given of outputs, where that is something else than the predictions.
        averaged: What of rows of outputs and targets gives a value for each, whose mean is measured like the loss.
        metrics: What else is measured of each validation and test.
        details: What else an evaluation measures.
        report: What an evaluation has found, given its measures by name.
        layout: How predictions are written, given whether there are targets, and of how many of the best classes.
        remarks: What is odd about the targets, one line each.
    """

    targets: Targets
    unit: str
    words: str
    losses: Function
    loss: Function
    predictions: Callable[[Tensor], Tensor]
    means: str
    report: Callable[[Mapping[str, NDArray[np.float64]]], Report]
    layout: Callable[[bool, int | None], Layout]
    metrics: Makers
    averaged: Mapping[str, Function] = field(default_factory=dict)
    details: Makers = field(default_factory=dict)
    rows: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda outputs, targets: (outputs, targets)
    truths: Callable[[Tensor], Tensor] = lambda targets: targets
    scores: Callable[[Tensor], Tensor] | None = None
    remarks: Sequence[str] = ()

    def sentence(self, why: str = "") -> str:
        """What is told of a sample, why it is that, and by which loss."""
        names, count = self.targets.names or (), self.targets.outputs
        shown = ", ".join(names[:MOST_NAMES]) + ", ..." * (len(names) > MOST_NAMES)
        said = (
            f"objective={self.targets.objective} of {count:,} {self.unit}{f' ({shown})' * bool(names)} by {self.words}"
        )
        return f"{said}, as {why}" if why else said

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of what is measured, the loss first."""
        return ("loss", *self.averaged, *self.metrics)


class Loss(Choice):
    """The rule of a loss: one of its names, or the place of a user's own function."""

    def parse(self, value: object) -> object:
        """Return the value if the rule admits it, else raise ValueError."""
        return Place().parse(value) if isinstance(value, str) and ":" in value else super().parse(value)

    def __str__(self) -> str:
        return f"{super().__str__()}, or a place such as my_module:my_loss"


def loss_of(
    name: str, own: Mapping[str, Callable[..., Tensor]], options: Mapping[str, Any], rows: Any
) -> tuple[Function, Function]:
    """The loss of each sample and their mean.

    Args:
        name: Of one of our `own` losses, or the place of a user's function of outputs and targets, which returns the
            loss of each sample, or their mean.
        own: The losses that there are.
        options: Of ours.
        rows: Makes of outputs and targets a row for each target.

    Raises:
        ValueError: The function cannot be imported.
    """
    if name in own:
        function = own[name]
        return (
            lambda outputs, targets: function(*rows(outputs, targets), reduction="none", **options),
            lambda outputs, targets: function(*rows(outputs, targets), **options),
        )
    try:
        theirs = by_path(name)
    except ValueError as error:
        raise ValueError(f"objective.loss {error}") from error

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        outputs, targets = rows(outputs, targets)
        try:
            found: Tensor = theirs(outputs, targets)
        except Exception as error:  # whatever calling somebody's code runs into
            raise ValueError(f"objective.loss names {name!r}, which fails: {said_of(error)}") from error
        return found.expand(len(targets)) if found.dim() == 0 else found.reshape(len(targets), -1).mean(-1)

    return losses, lambda outputs, targets: losses(outputs, targets).mean()


def check_options(loss: str, owned: Mapping[str, tuple[bool, Sequence[str]]]) -> None:
    """Refuse keys that a loss does not have.

    Args:
        loss: Its name.
        owned: By key: whether it is given, and the losses that have it.

    Raises:
        ValueError: Names the key.
    """
    for key, (given, losses) in owned.items():
        if given and loss not in losses:
            raise ValueError(f"objective.{key} is of objective.loss={' or '.join(losses)}, not of {loss}: leave it out")
