"""Reads from a function's signature and docstring what its parameters are, and checks arguments by it.

Positional-only parameters are no settings: a schedule's position, what a model is given. They are left for the call.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from types import SimpleNamespace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import Choice

UNKNOWN = "is not a setting"
"""What is said of a key that nothing has."""


class Affects(Enum):
    """What a setting changes in a run that goes on; the third part of its annotation, and `RUN` where there is none."""

    NOTHING = "neither the rates nor the data"
    LENGTH = "the length of the run"
    CURVE = "the learning rate"
    RUN = "the training itself"


class SettingError(RequestError):
    """A setting is not admitted; the text is one line.

    Args:
        path: The setting, such as ``trainer.precision``.
        said: What is wrong with it; completes the path to a sentence.
        known: The names that there are, where this one is not among them.
        value: What was given instead of one of them; None where that is the path itself.
    """

    def __init__(self, path: str, said: str, known: tuple[str, ...] = (), value: object = None) -> None:
        super().__init__(f"{path} {said}")
        self.path, self.said, self.known, self.value = path, said, known, value

    @property
    def is_unknown(self) -> bool:
        """Whether there is no such setting."""
        return self.said.startswith(UNKNOWN)


def check_choice(kind: str, name: str, known: tuple[str, ...]) -> None:
    """Refuse a name that no model, dataset and so on has.

    Raises:
        SettingError: It is not among those that are known.
    """
    if name not in known:
        article = "an" if kind[0] in "aeiou" else "a"
        raise SettingError(f"{kind}.name", f"must be the name of {article} {kind}, got {name!r}", known, name)


@cache
def signature(function: Callable[..., Any]) -> inspect.Signature:
    """The function's signature without its positional-only part; a class is taken as its constructor."""
    whole = inspect.signature(function)
    return whole.replace(parameters=[p for p in whole.parameters.values() if p.kind is not p.POSITIONAL_ONLY])


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The evaluated annotations of the parameters; of others, such as a returned module of torch, none is looked at."""
    annotations = {
        name: p.annotation for name, p in signature(function).parameters.items() if p.annotation is not p.empty
    }
    scope = vars(sys.modules[function.__module__])
    return get_type_hints(SimpleNamespace(__annotations__=annotations), scope, include_extras=True)


@cache
def rules(function: Callable[..., Any]) -> dict[str, Any]:
    """The rule of each parameter, read from its annotation; None where there is none."""
    return {name: _rule(_hints(function).get(name)) for name in signature(function).parameters}


@cache
def effects(function: Callable[..., Any]) -> dict[str, Affects]:
    """What each parameter affects, where its annotation says so."""
    found = {
        name: [part for part in get_args(hint)[1:] if isinstance(part, Affects)]
        for name, hint in _hints(function).items()
    }
    return {name: parts[0] for name, parts in found.items() if parts}


def _rule(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        own = [part for part in get_args(hint)[1:] if not isinstance(part, Affects | str)]
        return own[0] if own else _rule(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return Choice(get_args(hint))
    return Choice((True, False)) if hint is bool else None


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Each parameter with its default; `inspect.Parameter.empty` where one must be given."""
    return {name: parameter.default for name, parameter in signature(function).parameters.items()}


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """What each parameter means: a text in its annotation, or else what the docstring's Args section says."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    said = {
        name: [part for part in get_args(hint)[1:] if isinstance(part, str)] for name, hint in _hints(function).items()
    }
    own = {name: parts[-1] for name, parts in said.items() if parts and get_origin(_hints(function)[name]) is Annotated}
    return {name: " ".join(text.split()) for name, text in entries} | own


def bind(
    function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object], path: str | None = None
) -> dict[str, Any]:
    """Check the parameters of `function`, and fill in its defaults.

    Args:
        function: Whose.
        args: By position.
        kwargs: By name.
        path: What stands before the names of the parameters in errors; None for the function's own name.

    Raises:
        SettingError: An argument is unknown, missing or outside its rule; the message says which.
    """
    own, before = signature(function), f"{function.__name__}: " if path is None else path
    known = tuple(own.parameters)
    unknown = [f"{before}{name}" for name in kwargs if name not in own.parameters]
    if unknown and path is not None:
        raise SettingError(unknown[0], f"{UNKNOWN}; there are {', '.join(known) or 'none'}", known)
    try:
        bound = own.bind(*args, **kwargs)
    except TypeError as error:
        raise SettingError(before.strip(), f"{error} (it takes {', '.join(known) or 'no parameters'})", known) from None
    bound.apply_defaults()
    return {name: _parsed(rules(function)[name], value, f"{before}{name}") for name, value in bound.arguments.items()}


def _parsed(rule: Any, value: Any, path: str) -> Any:
    try:
        return rule.parse(value) if rule else value
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(path, str(error)) from None
