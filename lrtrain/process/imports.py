"""Imports of what is large."""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType

from lrtrain.process import signals

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
