"""Imports of what is named by its place, ``module:name``, and of what is large; nothing is evaluated, only imported."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from lrtrain import signals

SELDOM = 20_000, 10, 50
"""New objects before a collection, of those before one of the next generation, and of these before one of all."""


def import_large(module: str) -> ModuleType:
    """Import a module that brings torch and Lightning along, with little work for the garbage collector.

    What is imported stays, and yet the collector would look through all of it many times on the way, and again when
    the process ends: that takes a third of the time from the start to the first step. A signal is heeded at the end:
    raised in the middle of it, its error becomes another one, or leaves half a module behind.
    """
    if module in sys.modules:  # to freeze again would keep the garbage of a sweep's jobs
        return sys.modules[module]
    thresholds = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        with signals.deferred():
            return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.set_threshold(*thresholds)


def by_path(text: str) -> Any:
    """Import what a text such as ``my_module:my_function`` names.

    Raises:
        ValueError: It is no such text, or cannot be imported.
    """
    module, name = _parts(text)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever importing somebody's code runs into
        raise ValueError(f"names {text!r}, which cannot be imported: {_said(error)}") from error


def named_code(value: Any) -> set[str]:
    """The places of code that a configuration names, at any depth."""
    if isinstance(value, Mapping):
        own = {str(value["function"])} if value.get("function") else set()
        return own.union(*map(named_code, value.values()))
    return set().union(*map(named_code, value)) if isinstance(value, list | tuple) else set()


def check_place(text: str) -> None:
    """Check that there is a module of the name that the text has, without importing more than its parents.

    Raises:
        ValueError: The text names no place, or there is no such module.
    """
    module, _ = _parts(text)
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:
        raise ValueError(f"names {text!r}, which cannot be imported: {_said(error)}") from error
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
        raise ValueError(f"{key} names {text!r}, which fails: {_said(error)}") from error


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


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
