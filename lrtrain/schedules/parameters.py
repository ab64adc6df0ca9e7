"""What a schedule's parameters may be: each rule is written once, in the annotation of the parameter it is for."""

from __future__ import annotations

import collections.abc
import inspect
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from lrtrain.schedules.progress import Span, SpanLike

_LARGEST = 1e300  # far from where products overflow, and from integers that no float can hold


@dataclass(frozen=True)
class Number:
    """A finite number between two bounds, which belong to it unless `open_low` or `open_high` says otherwise."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    integer: bool = False

    def parse(self, value: object) -> float:
        """Return the value if the rule admits it, else raise ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise ValueError(f"must be {self}, got {value!r}")
        if self.integer and value != int(value):
            raise ValueError(f"must be {self}, got {value!r}")
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        if below or above:
            raise ValueError(f"must be {self}, got {value!r}")
        return int(value) if self.integer else float(value)

    def __str__(self) -> str:
        kind = "a whole number" if self.integer else "a number"
        if math.isinf(self.high):
            return kind if math.isinf(self.low) else f"{kind} {'>' if self.open_low else '>='} {self.low:.12g}"
        ends = f"{self.low:.12g}, {self.high:.12g}"
        return f"{kind} in {'(' if self.open_low else '['}{ends}{')' if self.open_high else ']'}"


@dataclass(frozen=True)
class Length:
    """A span of time; `positive` refuses 0."""

    positive: bool = False

    def parse(self, value: object) -> Span:
        """Return the span if the rule admits it, else raise ValueError."""
        span = Span.parse(value)  # type: ignore[arg-type]
        if self.positive and span.value <= 0:
            raise ValueError(f"must be longer than 0, got {value!r}")
        return span

    def __str__(self) -> str:
        return "a length: 5ep, 300st, 10%"


@dataclass(frozen=True)
class Every:
    """A span of time in a run, or in minutes: ``1ep``, ``500st``, ``10min``; or ``auto``."""

    def parse(self, value: object) -> Span:
        """Return the span, with the unit ``min`` for minutes and ``auto`` for auto, or raise ValueError."""
        if value == "auto":
            return Span(0, "auto")
        minutes = re.fullmatch(r"\s*(\d+\.?\d*)\s*min\s*", str(value))
        try:
            span = Span(float(minutes[1]), "min") if minutes else Length(positive=True).parse(value)
        except ValueError:
            raise ValueError(f"must be {self}, got {value!r}") from None
        return span

    def __str__(self) -> str:
        return "auto, or a length such as 1ep, 500st or 10min"


@dataclass(frozen=True)
class Rate:
    """A learning rate, or a share of the base rate such as ``1%``."""

    def parse(self, value: object) -> object:
        """Return the value if the rule admits it, else raise ValueError."""
        if isinstance(value, str) and re.fullmatch(r"\d+\.?\d*%", value):
            return value
        try:
            return Number(low=0).parse(value)
        except ValueError:
            raise ValueError(f"must be {self}, got {value!r}") from None

    def __str__(self) -> str:
        return "a number >= 0, or a share such as 1%"


@dataclass(frozen=True)
class Text:
    """A name or a path."""

    def parse(self, value: object) -> str:
        """Return the value as text if the rule admits it, else raise ValueError."""
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value) or "\0" in str(value):
            raise ValueError(f"must be {self}, got {value!r}")
        return str(value)

    def __str__(self) -> str:
        return "a name or a path"


@dataclass(frozen=True)
class Table:
    """Values by name."""

    def parse(self, value: object) -> object:
        """Return the value if it is a mapping, else raise ValueError."""
        if not isinstance(value, collections.abc.Mapping):
            raise ValueError(f"must be {self}, got {value!r}")
        return value

    def __str__(self) -> str:
        return "a table such as {name:value}"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[object, ...]

    def parse(self, value: object) -> object:
        """Return the value if it is one of the options, else raise ValueError."""
        for option in self.options:
            if value == option and type(value) is type(option):
                return option
        raise ValueError(f"must be {self}, got {value!r}")

    def __str__(self) -> str:
        words = [str(option).lower() if isinstance(option, bool) else str(option) for option in self.options]
        return " or ".join(words)


@dataclass(frozen=True)
class Optional:
    """None, or what another rule admits."""

    rule: Any

    def parse(self, value: object) -> object:
        """Return the value if it is None or the rule admits it, else raise ValueError."""
        return None if value is None else self.rule.parse(value)

    def __str__(self) -> str:
        return f"null or {self.rule}"


@dataclass(frozen=True)
class Pattern:
    """A regular expression."""

    def parse(self, value: object) -> str:
        """Return the text if it is a regular expression, else raise ValueError."""
        try:
            re.compile(value)  # type: ignore[call-overload]
        except (re.error, TypeError) as error:
            raise ValueError(f"must be {self}, got {value!r}: {error}") from None
        return str(value)

    def __str__(self) -> str:
        return "a regular expression"


@dataclass(frozen=True)
class Batches:
    """A number of batches, or a share of them as Lightning tells the two apart: by the type."""

    def parse(self, value: object) -> float:
        """Return the value if the rule admits it, else raise ValueError."""
        if not isinstance(value, bool) and (
            (isinstance(value, int) and value >= 1) or (isinstance(value, float) and 0 < value <= 1)
        ):
            return value
        raise ValueError(f"must be {self}, got {value!r}")

    def __str__(self) -> str:
        return "a whole number of batches >= 1, or a share of them up to 1.0"


@dataclass(frozen=True)
class Instead:
    """A key that is not used here; says what to write."""

    advice: str

    def parse(self, value: object) -> object:
        """Raise ValueError."""
        raise ValueError(f"is not used here: write {self.advice}")


@dataclass(frozen=True)
class Either:
    """What one of several rules admits."""

    rules: tuple[Any, ...]

    def parse(self, value: object) -> object:
        """Return what the first rule that admits the value makes of it, else raise ValueError."""
        for rule in self.rules:
            with suppress(ValueError):
                return rule.parse(value)
        raise ValueError(f"must be {self}, got {value!r}")

    def __str__(self) -> str:
        return " or ".join(map(str, self.rules))


@dataclass(frozen=True)
class Sequence:
    """A list of at least `least` values that follow one rule; `rising` refuses numbers that do not grow."""

    each: Any
    least: int = 0
    rising: bool = False

    def parse(self, value: object) -> tuple[object, ...]:
        """Return the values as a tuple if the rule admits each, else raise ValueError."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be {self}, got {value!r}")
        values = tuple(self.each.parse(item) for item in value)
        if len(values) < self.least:
            raise ValueError(f"must have {self.least} entries or more, got {value!r}")
        if self.rising and not _is_rising(values):
            raise ValueError(f"must be in rising order, got {list(values)!r}")
        return values

    def __str__(self) -> str:
        return f"a list, each {self.each}"


def _is_rising(values: tuple[Any, ...]) -> bool:
    comparable = all(getattr(value, "unit", None) == getattr(values[0], "unit", None) for value in values)
    return not comparable or all(a < b for a, b in pairwise(values))


NonNegative: TypeAlias = Annotated[float, Number(low=0)]
Positive: TypeAlias = Annotated[float, Number(low=0, open_low=True)]
Fraction: TypeAlias = Annotated[float, Number(low=0, high=1)]
Factor: TypeAlias = Annotated[float, Number(low=0, high=1, open_low=True, open_high=True)]
Count: TypeAlias = Annotated[int, Number(low=0, integer=True)]
PositiveCount: TypeAlias = Annotated[int, Number(low=1, integer=True)]
Duration: TypeAlias = Annotated[SpanLike, Length()]
Period: TypeAlias = Annotated[SpanLike, Length(positive=True)]
Milestones: TypeAlias = Annotated[
    collections.abc.Sequence[SpanLike], Sequence(Length(positive=True), least=1, rising=True)
]


@cache
def rules(function: Callable[..., Any]) -> dict[str, Any]:
    """The rule of each parameter, read from its annotation; None where there is none."""
    hints = get_type_hints(function, include_extras=True)
    return {name: _rule(hints.get(name)) for name in signature(function).parameters}


def _rule(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]
    if get_origin(hint) is Literal:
        return Choice(get_args(hint))
    return Choice((True, False)) if hint is bool else None


@cache
def signature(function: Callable[..., Any]) -> inspect.Signature:
    """The function's signature without its positional-only part: the position, or the state and the metric."""
    whole = inspect.signature(function)
    return whole.replace(parameters=[p for p in whole.parameters.values() if p.kind is not p.POSITIONAL_ONLY])


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Each parameter with its default; `inspect.Parameter.empty` where one must be given."""
    return {name: parameter.default for name, parameter in signature(function).parameters.items()}


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring's Args section says of each parameter."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def bind(function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, Any]:
    """Check the parameters of `function`, and fill in its defaults.

    Raises:
        ValueError: An argument is unknown, missing or outside its rule; the message says which.
    """
    try:
        bound = signature(function).bind(*args, **kwargs)
    except TypeError as error:
        known = ", ".join(signature(function).parameters) or "no parameters"
        raise ValueError(f"{function.__name__}: {error} (it takes {known})") from None
    bound.apply_defaults()
    checked = {}
    for name, value in bound.arguments.items():
        rule = rules(function)[name]
        try:
            checked[name] = rule.parse(value) if rule else value
        except ValueError as error:
            raise ValueError(f"{function.__name__}: {name} {error}") from None
    return checked
