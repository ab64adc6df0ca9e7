"""Imports of what is large."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
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
    with collected_seldom():
        try:
            with signals.deferred():
                importlib.import_module("torch")
                _leave_compiler_for_later()
                with _plots_left_for_later():
                    importlib.import_module("torchmetrics")
                return importlib.import_module(module)
        finally:
            gc.freeze()


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Have the garbage collector look less often where much is made that stays."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
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


def _leave_compiler_for_later() -> None:
    """Spare a run that compiles nothing the import of torch's compiler, which takes a third of the start.

    Lightning asks what has come of compiling, and an optimizer says at each step where a graph would break and what is
    not to be compiled: without a compiler, nothing, nowhere, and all. Whatever else is asked for imports it.
    """
    if _COMPILER in sys.modules:
        return
    later = sys.modules[_COMPILER] = _CompilerLater()
    sys.meta_path.insert(0, _PartFinder(later))
    torch: Any = sys.modules["torch"]
    use = torch.use_deterministic_algorithms

    @functools.wraps(use)
    def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
        if mode or _COMPILER_OF_KERNELS in sys.modules:
            use(mode, warn_only=warn_only)
        else:  # it is told too, and begins with the same
            torch.set_deterministic_debug_mode("default")

    torch.use_deterministic_algorithms = use_deterministic_algorithms


_COMPILER, _COMPILER_OF_KERNELS = "torch._dynamo", "torch._inductor"


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


class _OfCompiler(type):
    """The type of a class of the compiler's: nothing is of it before there is a compiler."""

    def __instancecheck__(cls, instance: object) -> bool:
        module = sys.modules[_COMPILER]
        return not isinstance(module, _CompilerLater) and isinstance(instance, module.OptimizedModule)


class _CompiledModule(metaclass=_OfCompiler):
    """Stands in for the class of a compiled module."""


class _CompilerLater(_Later):
    """Stands in for the compiler until it is asked for more than runs ask that compile nothing."""

    OptimizedModule = _CompiledModule

    def __init__(self) -> None:
        super().__init__(_COMPILER, __path__=[])
        self._left_out: list[Any] = []
        self._swap = threading.Lock()  # several threads may ask at once

    def graph_break(self, *_: Any) -> None:
        """No graph is made."""

    def disable(self, function: Any, *_: Any, **__: Any) -> Any:
        """The function itself, which torch keeps in this attribute of it until there is a compiler."""
        self._left_out.append(function)
        return function

    def give_way(self) -> None:
        """Let the next import be that of the module itself."""
        with self._swap:
            if sys.modules.get(_COMPILER) is self:
                del sys.modules[_COMPILER]
                vars(sys.modules["torch"]).pop("_dynamo", None)
                for function in self._left_out:
                    vars(function).pop("__dynamo_disable", None)

    @property
    def real(self) -> ModuleType:
        """The module itself, in the place of this."""
        self.give_way()
        return super().real


class _PartFinder(MetaPathFinder):
    """Finds a part of the compiler where only what stands in for the whole is there: imports the whole first."""

    def __init__(self, later: _CompilerLater) -> None:
        self._later = later

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        """That of the part, which has been imported by then."""
        if fullname.rpartition(".")[0] != _COMPILER:
            return None
        with suppress(ValueError):  # another thread has
            sys.meta_path.remove(self)
        self._later.give_way()
        part = importlib.import_module(fullname)
        del sys.modules[fullname]  # else the import would go by the part's own specification, and execute it again
        return ModuleSpec(fullname, _Loaded(part))


class _Loaded(Loader):
    """Loads a module that the search for it has imported."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, _: ModuleSpec) -> ModuleType:
        """The module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed; what it said of itself is restored."""
        module.__spec__, module.__loader__ = self._spec, self._spec.loader if self._spec else None
