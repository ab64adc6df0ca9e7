"""Curves in the terminal, made of characters: they work over ssh, and in a log."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence

HEIGHT = 13
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_DECADES_FOR_LOG = 2.5


def wants_log(curves: Sequence[Sequence[float]]) -> bool:
    """Whether curves need a logarithmic scale: one spends a tenth of its time 2.5 decades below its peak, none is 0."""
    return all(min(values) > 0 for values in curves) and any(
        math.log10(max(values) / sorted(values)[len(values) // 10]) > _DECADES_FOR_LOG for values in curves
    )


def text_plot(
    curves: Mapping[str, Sequence[float]],
    epochs: float,
    width: int,
    height: int = HEIGHT,
    log: bool = False,
    unicode: bool | None = None,
    join: tuple[float, str] | None = None,
    axis: tuple[str, Sequence[str]] | None = None,
) -> list[str]:
    """Draw curves over the epochs of a run, or over something else.

    One curve is drawn in braille dots, several each with a letter of its own and a legend; where the terminal has
    no such characters, with asterisks.

    Args:
        curves: Values at equal distances from the first to the last epoch, by name; NaN after the end of a curve.
        epochs: At the right end.
        width: Characters in a line, axis included.
        height: Lines of the drawing, without the axis; 4 k + 1 puts a label on every quarter.
        log: Whether the rates are on a logarithmic scale; all must be above 0.
        unicode: Whether the terminal has braille; None asks it.
        join: An epoch to be marked by a vertical line, and what it is.
        axis: What the curves are drawn over, if not epochs, and the labels of its quarters.

    Returns:
        The lines.
    """
    unicode = _has_braille() if unicode is None else unicode
    low, high = _range([value for values in curves.values() for value in _drawn(values)], log)
    labels = _labels(low, high, height, log)
    margin = max(map(len, labels)) + 1
    columns = max(16, width - margin - 2)
    scale = _Scale(low, high, log)
    if len(curves) == 1 and unicode:
        body = _braille(next(iter(curves.values())), columns, height, scale)
    else:
        body = _letters(list(curves.values()), columns, height, scale)
    edge, corner, line, upright, foot = ("┤", "└", "─", "│", "┴") if unicode else ("|", "+", "-", "|", "+")
    ground = line * columns
    if join:
        at = min(columns - 1, math.floor(columns * join[0] / epochs))
        body = [f"{row[:at]}{upright if row[at] == ' ' else row[at]}{row[at + 1 :]}" for row in body]
        ground = f"{ground[:at]}{foot}{ground[at + 1 :]}"
    lines = [f"{label:>{margin}} {edge}{text}".rstrip() for label, text in zip(labels, body, strict=True)]
    lines.append(f"{'':{margin}} {corner}{ground}")
    name, quarters = axis or ("epoch", [f"{epochs * quarter / 4:.4g}" for quarter in range(5)])
    lines += [f"{'':{margin + 2}}{row}" for row in _axis(name, quarters, columns)]
    if len(curves) > 1:
        lines += [f"{'':{margin + 2}}{_mark(index)} {name}" for index, name in enumerate(curves)]
    return [*lines, f"{'':{margin + 2}}{upright} {join[1]}"] if join else lines


class _Scale:
    """Where a value is between the bottom (0) and the top (1)."""

    def __init__(self, low: float, high: float, log: bool) -> None:
        self.log = log
        self.low, self.high = (math.log(low), math.log(high)) if log else (low, high)

    def row(self, value: float, rows: int) -> int:
        """The row of a value, counted from the top."""
        value = math.log(value) if self.log else value
        return rows - 1 - round((value - self.low) / (self.high - self.low) * (rows - 1))


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = (min(values), max(values)) if log else (min(0.0, *values), max(values))
    return (low, high) if high > low else (low, low + 1.0)


def _labels(low: float, high: float, height: int, log: bool) -> list[str]:
    """Rates at the quarters of the height; the other lines stay blank."""
    labels = [""] * height
    for quarter in range(5):
        share = 1 - quarter / 4
        value = low * (high / low) ** share if log else low + (high - low) * share
        labels[round((height - 1) * quarter / 4)] = f"{value:.3g}"
    return labels


def _braille(values: Sequence[float], columns: int, height: int, scale: _Scale) -> list[str]:
    rows = 4 * height
    cells = [[0] * columns for _ in range(height)]
    before: int | None = None
    for x, part in _parts(values, 2 * columns):
        top, bottom = scale.row(max(part), rows), scale.row(min(part), rows)
        if before is not None:  # a jump is drawn as a line, up to the row beside where it came from
            top, bottom = min(top, before + 1), max(bottom, before - 1)
        before = scale.row(part[-1], rows)
        for y in range(top, bottom + 1):
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]


def _letters(curves: Sequence[Sequence[float]], columns: int, height: int, scale: _Scale) -> list[str]:
    cells = [[" "] * columns for _ in range(height)]
    for number, values in reversed(list(enumerate(curves))):
        mark = _mark(number) if len(curves) > 1 else "*"
        for x, part in _parts(values, columns):
            for y in range(scale.row(max(part), height), scale.row(min(part), height) + 1):
                cells[y][x] = mark
    return ["".join(row) for row in cells]


def _mark(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return letters[number % len(letters)]


def _parts(values: Sequence[float], columns: int) -> Iterator[tuple[int, Sequence[float]]]:
    """What falls into each column that the curve reaches: one value at least."""
    for x in range(columns):
        begin = x * len(values) // columns
        if part := _drawn(values[begin : max(begin + 1, (x + 1) * len(values) // columns)]):
            yield x, part


def _drawn(values: Sequence[float]) -> Sequence[float]:
    return [value for value in values if value == value]


def _axis(name: str, quarters: Sequence[str], columns: int) -> tuple[str, str]:
    """Labels below the left end, the quarters and the right end, and what they are of."""
    text = [" "] * (columns + 8)
    for quarter, label in enumerate(quarters):
        begin = min(max(0, round((columns - 1) * quarter / 4) - len(label) // 2), columns - len(label))
        text[begin : begin + len(label)] = label
    return "".join(text).rstrip(), f"{name:^{columns}}".rstrip()


def _has_braille() -> bool:
    try:
        "⣿┤└─".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
