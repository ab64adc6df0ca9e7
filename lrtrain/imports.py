"""What is named by its place, ``module:name``; nothing is evaluated, only imported."""

from __future__ import annotations

import importlib
from typing import Any


def by_path(text: str) -> Any:
    """Import what a text such as ``my_module:my_function`` names.

    Raises:
        ValueError: It is no such text, or cannot be imported.
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise ValueError(f"must be a place such as my_module:my_function, got {text!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"names {text!r}, which cannot be imported: {error}") from error
