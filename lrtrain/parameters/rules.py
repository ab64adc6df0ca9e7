"""What a parameter may be.

A rule stands in the annotation of the parameter that it is for, ``Annotated[float, Number(low=0)]``, and nowhere else.
It has a `parse`, which returns the value as it is used or raises ValueError, and gives the same for what it returned;
and a text, which completes "must be".
"""

from __future__ import annotations

import collections.abc
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeAlias

from lrtrain.parameters.spans import Span, SpanLike

_LARGEST = 1e300  # far from where products overflow, and from integers that no float can hold
_MOST_UPDATES = 10**15


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
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise ValueError(f"must be {self}, got {value!r}")
        if abs(value) >= _LARGEST:
            raise ValueError(f"must be below {_LARGEST:g} in size, got {value!r}")
        if self.integer and isinstance(value, float):
            instead = f": write {int(value)}" if value.is_integer() else ""
            raise ValueError(f"must be {self}, got {value!r}{instead}")
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        if below or above:
            raise ValueError(f"must be {self}, got {value!r}")
        return value if self.integer else float(value)

    def __str__(self) -> str:
        kind = "a whole number" if self.integer else "a number"
        if math.isinf(self.high):
            return kind if math.isinf(self.low) else f"{kind} {'>' if self.open_low else '>='} {self.low:.12g}"
        ends = f"{self.low:.12g}, {self.high:.12g}"
        return f"{kind} in {'(' if self.open_low else '['}{ends}{')' if self.open_high else ']'}"


@dataclass(frozen=True)
class Length:
    """A span of time; `positive` refuses 0. Of a `cycle`, the schedule goes through it again and again."""

    positive: bool = False
    cycle: bool = False

    def parse(self, value: object) -> Span:
        """Return the span if the rule admits it, else raise ValueError."""
        span = Span.parse(value)  # type: ignore[arg-type]
        if self.positive and span.value <= 0:
            raise ValueError(f"must be longer than 0, got {value!r}")
        return span

    def __str__(self) -> str:
        return "a length: 5ep, 300st, 10%"


@dataclass(frozen=True)
class RunLength:
    """The length of a run: whole epochs, or optimizer updates."""

    def parse(self, value: object) -> Span:
        """Return the span if it is such a length, else raise ValueError."""
        try:
            span = Span.parse(value)  # type: ignore[arg-type]
            if span.unit == "%":
                raise ValueError
            return Span(Number(low=1, high=_MOST_UPDATES, integer=True).parse(span.value), span.unit)
        except ValueError:
            raise ValueError(f"must be {self}, got {value!r}") from None

    def __str__(self) -> str:
        return "a whole number of epochs >= 1 such as 20, or of updates such as 300st"


@dataclass(frozen=True)
class Every:
    """A span of time in a run, or in minutes: ``1ep``, ``500st``, ``10min``; or ``auto``."""

    def parse(self, value: object) -> Span:
        """Return the span, with the unit ``min`` for minutes and ``auto`` for auto, or raise ValueError."""
        if value == "auto":
            return Span(0, "auto")
        if isinstance(value, Span) and value.unit in ("auto", "min"):
            return value
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
    """A text of at least so many characters, of a `kind` in words."""

    kind: str = "a name or a path"
    least: int = 1

    def parse(self, value: object) -> str:
        """Return the value as text if the rule admits it, else raise ValueError."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"must be {self}, got {value!r}")
        if len(str(value)) < self.least or "\0" in str(value):
            raise ValueError(f"must be {self}, got {value!r}")
        return str(value)

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class FileName:
    """A name that any system lets a file have."""

    def parse(self, value: object) -> str:
        """Return the name as text if the rule admits it, else raise ValueError."""
        text = Text(str(self)).parse(value)
        if not re.fullmatch(r"[\w.,=+%-]{1,100}", text):
            raise ValueError(f"must be {self}, got {value!r}")
        return text

    def __str__(self) -> str:
        return "a name of letters, digits and _ . , = + % -, 100 at most"


@dataclass(frozen=True)
class Address:
    """The address of a service, without a password, which would be written down."""

    def parse(self, value: object) -> str:
        """Return the address if the rule admits it, else raise ValueError, which does not repeat what is in it."""
        text = Text(str(self)).parse(value)
        if re.search(r"//[^/@]*:[^/@]*@", text) or re.search(r"(?i)[?&](password|token|key)[^=]*=", text):
            raise ValueError(f"must be {self}")
        return text

    def __str__(self) -> str:
        return "an address without a password in it"


@dataclass(frozen=True)
class Table:
    """Values by name, which follow one rule where there is one."""

    each: Any = None

    def parse(self, value: object) -> object:
        """Return the value if it is a mapping of what the rule admits, else raise ValueError."""
        if not isinstance(value, collections.abc.Mapping):
            raise ValueError(f"must be {self}, got {value!r}")
        return {name: self.each.parse(item) for name, item in value.items()} if self.each else value

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
class OrNull:
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
        lists = [rule for rule in self.rules if isinstance(rule, ListOf) and rule.each in self.rules]
        in_order = sorted(self.rules, key=lists.__contains__)
        return " or ".join("a list of these" if rule in lists else str(rule) for rule in in_order)


@dataclass(frozen=True)
class ListOf:
    """A list of at least `least` values that follow one rule; `rising` refuses numbers that do not grow.

    Where `repeats`, they may stay the same.
    """

    each: Any
    least: int = 0
    rising: bool = False
    repeats: bool = False

    def parse(self, value: object) -> tuple[object, ...]:
        """Return the values as a tuple if the rule admits each, else raise ValueError."""
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be {self}, got {value!r}")
        values = tuple(self.each.parse(item) for item in value)
        if len(values) < self.least:
            raise ValueError(f"must have {self.least} entries or more, got {value!r}")
        if self.rising and not _is_rising(values, self.repeats):
            raise ValueError(f"must be in rising order, got {list(values)!r}")
        return values

    def __str__(self) -> str:
        return f"a list, each {self.each}"


def _is_rising(values: tuple[Any, ...], repeats: bool) -> bool:
    comparable = all(getattr(value, "unit", None) == getattr(values[0], "unit", None) for value in values)
    return not comparable or all(a < b or (repeats and a == b) for a, b in pairwise(values))


NonNegative: TypeAlias = Annotated[float, Number(low=0)]
Positive: TypeAlias = Annotated[float, Number(low=0, open_low=True)]
Fraction: TypeAlias = Annotated[float, Number(low=0, high=1)]
Factor: TypeAlias = Annotated[float, Number(low=0, high=1, open_low=True, open_high=True)]
Count: TypeAlias = Annotated[int, Number(low=0, integer=True)]
PositiveCount: TypeAlias = Annotated[int, Number(low=1, integer=True)]
Probability: TypeAlias = Annotated[float, Number(low=0, high=1, open_high=True)]
OptionalCount: TypeAlias = Annotated[int | None, OrNull(Number(low=1, integer=True))]
OptionalTable: TypeAlias = Annotated[collections.abc.Mapping[str, Any] | None, OrNull(Table())]
Duration: TypeAlias = Annotated[SpanLike, Length()]
Period: TypeAlias = Annotated[SpanLike, Length(positive=True)]
Cycle: TypeAlias = Annotated[SpanLike, Length(positive=True, cycle=True)]
Milestones: TypeAlias = Annotated[
    collections.abc.Sequence[SpanLike], ListOf(Length(positive=True), least=1, rising=True, repeats=True)
]
OptionalFlag: TypeAlias = Annotated[bool | None, OrNull(Choice((True, False)))]
OptionalText: TypeAlias = Annotated[str | None, OrNull(Text())]
