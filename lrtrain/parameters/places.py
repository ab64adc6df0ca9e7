"""Code that is named by its place, ``module:name``: nothing is evaluated, only imported."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PlaceText:
    """The place of a user's code, which is not looked for before it is used: a run's folder may name any."""

    def parse(self, value: object) -> str:
        """Return the text if it is that of a place, else raise ValueError."""
        if not isinstance(value, str):
            raise ValueError(f"must be {self}, got {value!r}")
        _parts(value)
        return value

    def __str__(self) -> str:
        return "a place such as my_module:MyClass"


@dataclass(frozen=True)
class Place(PlaceText):
    """The place of a user's code; its module is looked for, and imported only when it is used."""

    def parse(self, value: object) -> str:
        """Return the text if it names a place in a module that is there, else raise ValueError."""
        place = super().parse(value)
        _check_place(place)
        return place


class Code:
    """A function that a configuration names by its place.

    Args:
        function: Itself.
        place: Where it is.
    """

    def __init__(self, function: Callable[..., Any], place: str) -> None:
        self.function, self.place = function, place

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and self.function == other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        return self.place

    def __reduce__(self) -> tuple[Any, ...]:
        return _code, (self.place,)


def _code(place: str) -> Code:
    function = by_path(place)
    return Code(getattr(function, "__wrapped__", function), place)


@dataclass(frozen=True)
class Function:
    """A function, or its place; imported at once, as its values are asked for before anything is trained."""

    def parse(self, value: Any) -> Callable[..., Any]:
        """Return the function, or raise ValueError."""
        if not callable(value) and not isinstance(value, str):
            raise ValueError(f"must be {self}, got {value!r}")
        return value if callable(value) else _code(value)

    def __str__(self) -> str:
        return "a place such as my_module:my_schedule"


def by_path(text: str) -> Any:
    """Import what a text such as ``my_module:my_function`` names.

    Raises:
        ValueError: It is no such text, or cannot be imported.
    """
    module, name = _parts(text)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever importing somebody's code runs into
        raise ValueError(f"names {text!r}, which cannot be imported: {said_of(error)}") from error


def named_code(value: Any) -> set[str]:
    """The places of code that a configuration names, at any depth."""
    if isinstance(value, Mapping):
        told = (value.get(key) for key in ("function", "loss"))  # nothing else is a place: Place, Function
        listed = value.get("callbacks")
        short = [item for item in listed if isinstance(item, str)] if isinstance(listed, list | tuple) else []
        own = {said for said in (*told, *short) if isinstance(said, str) and ":" in said}
        return own.union(*map(named_code, value.values()))
    return set().union(*map(named_code, value)) if isinstance(value, list | tuple) else set()


def _check_place(text: str) -> None:
    """Check that there is a module of the name that the text has, without importing more than its parents.

    Raises:
        ValueError: The text names no place, or there is no such module.
    """
    module, _ = _parts(text)
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:
        raise ValueError(f"names {text!r}, which cannot be imported: {said_of(error)}") from error
    if found is None:
        raise ValueError(f"names {text!r}, which cannot be imported: there is no module {module} here")


def call(key: str, text: str, parameters: Mapping[str, Any] | None, **offered: Any) -> Any:
    """Call what a text names.

    Args:
        key: Of the configuration, for the error.
        text: The place.
        parameters: Arguments by name.
        offered: Further arguments, for those names that its signature has.

    Raises:
        ValueError: It cannot be imported, or failed.
    """
    try:
        function = by_path(text)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from error
    try:
        taken = {name: value for name, value in offered.items() if name in _parameters(function)}
        return function(**(taken | dict(parameters or {})))
    except Exception as error:  # whatever calling somebody's code runs into
        raise ValueError(f"{key} names {text!r}, which fails: {said_of(error)}") from error


def _parameters(function: Any) -> Mapping[str, Any]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # what is not written in Python may not tell
        return {}


def _parts(text: str) -> tuple[str, str]:
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ValueError(f"must be a place such as my_module:my_function, got {text!r}")
    return module, name


def said_of(error: Exception) -> str:
    """What somebody's code has raised, and at which of its lines."""
    others = *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*others, "<"))]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"
