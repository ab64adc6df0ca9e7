"""Imports of what is large."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

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
            importlib.import_module("torch")
            with _plots_left_for_later():
                importlib.import_module("torchmetrics")
            return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.set_threshold(*thresholds)


@contextmanager
def _plots_left_for_later() -> Iterator[None]:
    """Spare torchmetrics two imports that take a fourth of the start: matplotlib, to plot, and scipy.signal, to patch.

    Its plots import matplotlib once they are drawn. Real modules that are there already are not replaced.
    """

    @contextmanager
    def styled(*styles: Any) -> Iterator[None]:
        with pyplot.real.style.context(*styles):
            yield

    pyplot = _Later("matplotlib.pyplot", Figure=object, style=SimpleNamespace(context=styled))
    axes, colors = _Later("matplotlib.axes", Axes=object), _Later("matplotlib.colors", Colormap=object)
    matplotlib = _Later("matplotlib", axes=axes, colors=colors, pyplot=pyplot)
    signal = _Later("scipy.signal", hamming=None)
    ours = [matplotlib, pyplot, axes, colors] if "matplotlib" not in sys.modules else []
    ours += [signal] if "scipy.signal" not in sys.modules else []
    sys.modules.update({each.__name__: each for each in ours})
    try:
        yield
    finally:
        for each in ours:
            del sys.modules[each.__name__]


class _Later(ModuleType):
    """Stands in for a module, which is imported once it is asked for more than it is known to hold."""

    def __init__(self, name: str, **known: Any) -> None:
        super().__init__(name)
        vars(self).update(known)

    @property
    def real(self) -> ModuleType:
        """The module itself."""
        return importlib.import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as inspect asks of every module
            raise AttributeError(name)
        return getattr(self.real, name)
