"""A function of the library as a value: by name, with its parameters filled in and checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

from lrtrain.parameters.places import Code
from lrtrain.parameters.signatures import bind
from lrtrain.parameters.spans import Span


class Bound:
    """A function with its parameters filled in; the positional-only ones are left for the call.

    Small, immutable, printable, picklable, and equal to another with the same name and parameters.
    """

    __slots__ = ("_function", "_values", "name", "parameters")
    name: str
    parameters: dict[str, Any]
    _function: Callable[..., Any]
    _values: tuple[Any, ...]

    def __init__(self, name: str, function: Callable[..., Any], parameters: dict[str, Any]) -> None:
        assign = functools.partial(object.__setattr__, self)
        assign("name", name)
        assign("parameters", parameters)
        assign("_function", function)
        assign("_values", tuple(parameters.values()))

    @property
    def function(self) -> Callable[..., Any]:
        """Whose signature says what the parameters are."""
        return self._function

    def make(self, *given: Any) -> Any:
        """Call the function with what only a run has, and its parameters."""
        return self._function(*given, **self.parameters)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self.name} is a value: build another instead of setting {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.name, self.parameters) == (other.name, other.parameters)

    def __hash__(self) -> int:
        return hash((self.name, repr(self.parameters)))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.parameters.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self._function, self.parameters)


class Checked:
    """A frozen dataclass whose fields are checked by their annotations, and kept as parsed.

    Raises:
        SettingError: A field is outside its rule.
    """

    PATH: ClassVar[str] = ""
    """What stands before the names of its fields in a configuration."""

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        for name, value in bind(type(self), (), given, self.PATH).items():
            object.__setattr__(self, name, value)


def plain(value: Any) -> Any:
    """A checked value as a configuration holds it: the inverse of parsing."""
    if value is None or type(value) in (bool, int, float, str):  # most are, and to ask for each kind takes longer
        return value
    if isinstance(value, Span):
        return value.unit if value.unit == "auto" else str(value) if value.value else 0
    if isinstance(value, Code):
        return value.place
    if isinstance(value, Bound):
        return {"scheduler": value.name, **{name: plain(item) for name, item in value.parameters.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def flat(values: Mapping[str, Any], prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """The values of a configuration by their whole keys, such as ``model.name``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        found |= flat(value, f"{path}{separator}", separator) if isinstance(value, Mapping) else {path: value}
    return found
