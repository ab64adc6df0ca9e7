"""Lengths of time in a run."""

from __future__ import annotations

import math
import re
from typing import NamedTuple, TypeAlias

_SPAN = re.compile(r"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*(ep|st|%)?\s*", re.IGNORECASE)


class Span(NamedTuple):
    """A length of time: ``5ep`` (epochs), ``300st`` (optimizer updates) or ``10%`` (of the whole run)."""

    value: float
    unit: str

    @classmethod
    def parse(cls, text: SpanLike) -> Span:
        """Read a span; a bare number counts epochs.

        Raises:
            ValueError: Not a length, negative, or not finite.
        """
        if isinstance(text, Span):
            return text
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError(f"must be a length such as 5ep, 300st or 10%, got {text!r}")
        match = _SPAN.fullmatch(str(text))
        if not match or not math.isfinite(float(match[1])):
            raise ValueError(f"must be a length such as 5ep, 300st or 10% (a bare number counts epochs), got {text!r}")
        value = float(match[1])
        return cls(int(value) if value.is_integer() else value, (match[2] or "ep").lower())

    def __str__(self) -> str:
        return f"{self.value!r}{self.unit}"

    def __repr__(self) -> str:
        return repr(str(self))


SpanLike: TypeAlias = Span | str | int | float
