"""How an optimizer is built of its settings: its class is imported only then."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lrtrain.parameters.places import by_path

if TYPE_CHECKING:
    from torch.optim import Optimizer

Groups: TypeAlias = Sequence[dict[str, Any]]

LEFT_OUT = {
    "LBFGS": "evaluates the loss several times an update, which the schedule would count as one",
    "SparseAdam": "takes sparse gradients only, whose norm cannot be recorded",
}
"""Optimizers of torch that cannot be trained with, and why."""


class _Class(NamedTuple):
    """Where an optimizer's class is, and the extra of ours that installs it if torch does not."""

    place: str
    extra: str | None


_CLASSES: dict[str, _Class] = {}


def builds(
    place: str, extra: str | None = None, fuses_on: Sequence[str] = ("cpu", "cuda")
) -> Callable[[Callable[..., None]], Callable[..., Optimizer]]:
    """A decorator: the keywords of a function declare an optimizer's settings, and the function becomes what builds it.

    That takes the groups and the base rate by position, and the settings by name.

    Args:
        place: Of the class, which takes the settings by their names.
        extra: That installs its package.
        fuses_on: Devices on which torch's kernel for all parameters is right.
    """

    def decorate(declared: Callable[..., None]) -> Callable[..., Optimizer]:
        name = declared.__name__
        _CLASSES[name] = _Class(place, extra)

        @functools.wraps(declared)
        def make(groups: Groups, lr: float, /, **settings: Any) -> Optimizer:
            return build(optimizer_class(name), groups, lr, settings, fuses_on)

        return make

    return decorate


def optimizer_class(name: str, function: str | None = None) -> type[Optimizer]:
    """The class that a name stands for; that of ``custom`` is at `function`.

    Raises:
        ValueError: It cannot be imported, is not an optimizer, or is one of `LEFT_OUT`.
    """
    optim = import_module("torch.optim")
    place, extra = _CLASSES.get(name) or _Class(str(function), None)
    if extra and find_spec(package := place.partition(":")[0]) is None:
        raise ValueError(f'optimizer={name} needs the package {package}: pip install "lrtrain[{extra}]"')
    try:
        found = by_path(place)
    except ValueError as error:
        raise ValueError(f"optimizer={name} {error}") from error
    if not (isinstance(found, type) and issubclass(found, optim.Optimizer)):
        raise ValueError(f"optimizer.function={place} is not a torch.optim.Optimizer")
    for kind, reason in LEFT_OUT.items():
        if issubclass(found, getattr(optim, kind)):
            raise ValueError(f"optimizer.function={place} {reason}: choose another")
    return found


def build(
    kind: type[Optimizer],
    groups: Groups,
    lr: float,
    settings: Mapping[str, Any],
    fuses_on: Sequence[str] = ("cpu", "cuda"),
) -> Optimizer:
    """Build an optimizer of copies of the groups; a list among the settings becomes a tuple.

    Where ``fused`` is None, all parameters are updated by one kernel if torch has it for their device.

    Raises:
        ValueError: The optimizer does not admit a setting.
    """
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    if settings.get("fused", False) is None:
        parameters = (parameter for group in groups for parameter in group["params"])
        if all(parameter.device.type in fuses_on and parameter.is_floating_point() for parameter in parameters):
            settings["fused"] = True
    return kind([dict(group) for group in groups], lr=lr, **settings)  # type: ignore[call-arg]
