"""A schedule as a value: a function of the library, by name, with its parameters filled in and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec

from lrtrain.parameters.bound import Bound
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.signatures import bind
from lrtrain.schedules.progress import Progress

P = ParamSpec("P")


class Registered(Bound):
    """A function that is registered by its name, which is all that a pickle of it holds besides the parameters."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.name, self.parameters)


class Schedule(Registered):
    """The learning rate's multiplier as a pure function of `Progress`.

    Example:
        >>> from lrtrain.schedules import Progress, inverse_time
        >>> inverse_time(decay=0.01)(Progress(step=50, steps_per_epoch=1, total_steps=100))
        0.6666666666666666
    """

    __slots__ = ()

    def __call__(self, progress: Progress) -> float:
        """The multiplier at a position."""
        return self._function(progress, *self._values)  # type: ignore[no-any-return]


Factory = Callable[..., Any]
_FACTORIES: dict[type, dict[str, Factory]] = {}


def registering(kind: type) -> Callable[[Callable[..., Any]], Factory]:
    """A decorator that turns a function into the factory of its bound values and registers it by name."""

    def register(function: Callable[..., Any]) -> Factory:
        name = function.__name__

        def factory(*args: Any, **kwargs: Any) -> Any:
            return kind(name, function, bind(function, args, kwargs))

        factory.__name__, factory.__qualname__, factory.__module__ = name, function.__qualname__, function.__module__
        factory.__doc__, factory.__wrapped__ = function.__doc__, function  # type: ignore[attr-defined]
        _FACTORIES.setdefault(kind, {})[name] = factory
        return factory

    return register


def schedule(function: Callable[Concatenate[Progress, P], float]) -> Callable[P, Schedule]:
    """Make a pure function of `Progress` a named schedule.

    The function's other parameters are checked, by the rules in their annotations, when the schedule is built.
    """
    return registering(Schedule)(function)


def registered(kind: type = Schedule) -> Mapping[str, Factory]:
    """The factories of a kind, by name."""
    return _FACTORIES.setdefault(kind, {})


def formula(factory: Factory) -> Callable[..., Any]:
    """The plain function behind a factory: its signature and docstring say what it takes."""
    return factory.__wrapped__  # type: ignore[attr-defined, no-any-return]


def by_name(name: str, parameters: Mapping[str, Any], kind: type = Schedule) -> Any:
    """Build the schedule (or feedback) called `name`.

    Raises:
        ValueError: No such name (the message has the nearest), or a parameter that it does not admit.
    """
    factories = registered(kind)
    if not isinstance(name, str):
        raise ValueError(f"the name of a {kind.__name__.lower()} is a word, got {name!r}")
    if name not in factories:
        raise ValueError(f"no {kind.__name__.lower()} is called {name!r}; {nearest(name, list(factories))}")
    return factories[name](**parameters)


def _rebuild(kind: type, name: str, parameters: dict[str, Any]) -> Any:
    return by_name(name, parameters, kind)
