"""A schedule over a whole run: its rates, a sentence about them, and what is wrong with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, NamedTuple

from lrtrain.schedules.feedback import Feedback
from lrtrain.schedules.progress import Horizon, Progress, Span, updates
from lrtrain.schedules.schedule import Schedule


class Resolved(NamedTuple):
    """A length of time among a schedule's parameters, and what it is in this run.

    Attributes:
        owner: Name of the schedule that has it.
        key: Name of the parameter.
        span: As it was written.
        updates: In optimizer updates.
        listed: It is one of several, such as a milestone.
    """

    owner: str
    key: str
    span: Span
    updates: int
    listed: bool


class Group(NamedTuple):
    """The rate of some of the parameters.

    Attributes:
        lr_mult: Multiplies the base rate.
        schedule: Their own multiplier over time.
    """

    lr_mult: float
    schedule: Callable[[Progress], float]


class Plan(NamedTuple):
    """What the learning rate will do.

    Attributes:
        strategy: Its name, for people.
        lr: Base rate.
        schedule: The multiplier over time.
        feedback: The rule that looks at the validation, if any; its scale is not foreseen.
        horizon: How long the run is.
        warmup: Updates that ramp up to the schedule.
        groups: The parameters that have rates of their own, by the pattern of their names.
        hyperparameters: Other settings that have values over time.
    """

    strategy: str
    lr: float
    schedule: Callable[[Progress], float]
    feedback: Feedback | None
    horizon: Horizon
    warmup: int = 0
    groups: Mapping[str, Group] = MappingProxyType({})
    hyperparameters: Mapping[str, Callable[[Progress], float]] = MappingProxyType({})

    def rate(self, step: int) -> float:
        """The rate of the update `step`, as the scheduler computes it."""
        return self.lr * self.schedule(self.horizon.at(step))

    def rates(self, start: int = 0, stop: int | None = None) -> Iterator[float]:
        """The rate of every update 0..total-1, and the one that holds after the last; or of a part of them."""
        stop = self.horizon.total_steps + 1 if stop is None else stop
        begin, ramped, inner = 0, start, self.schedule
        if isinstance(inner, Schedule) and inner.name == "warmup":
            # After the warm-up its schedule is asked directly: for a million updates that saves half of the time.
            begin = updates(inner.parameters["length"], self.horizon.at(0))
            ramped, inner = min(max(start, begin), stop), inner.parameters["inner"]
        ramp = map(self.schedule, self._positions(range(start, ramped), 0))
        rest = _every(inner, self._positions(range(ramped, stop), begin))
        return map(float(self.lr).__mul__, chain(ramp, rest))

    def _positions(self, steps: range, start: int) -> Iterator[Progress]:
        """Positions in the run, made without a Python frame each."""
        _, length, total, _ = self.horizon.at(0)
        values = zip(steps, repeat(length), repeat(total), repeat(start), strict=False)
        return map(functools.partial(tuple.__new__, Progress), values)

    @property
    def per_epoch(self) -> bool:
        """Whether the rate holds within an epoch, looked up in the first, the middle and the last after the warm-up."""
        length, epochs = self.horizon
        ramped = -(-self.warmup // length)
        return all(
            self.rate(step) == self.rate(epoch * length)
            for epoch in {min(ramped, epochs - 1), (ramped + epochs) // 2, epochs - 1}
            if epoch < epochs
            for step in range(epoch * length, (epoch + 1) * length, max(1, length // 64))
        )

    def sentence(self) -> str:
        """What the rate will do, in one line."""
        epochs = self.horizon.epochs
        total = self.horizon.total_steps
        changes = "per epoch" if self.per_epoch else "per update"
        text = (
            f"{self.strategy}: {self.rate(0):.4g} -> {self.rate(total - 1):.4g} over {epochs} epoch{'s' * (epochs > 1)}"
            f", {total:,} updates, {changes}"
        )
        if self.warmup:
            text += f", after a warm-up of {self.warmup:,} updates to {self.lr:.4g}"
        if self.feedback:
            text += f", and times {self.feedback.parameters['factor']:g} whenever {self.feedback.name} says so"
        return text

    def spans(self) -> list[Resolved]:
        """Every length of time that the schedule was given, resolved in this run."""
        start = self.horizon.at(0)
        return [
            Resolved(part.name, key, span, updates(span, start), value is not span)
            for part in _parts(self.schedule)
            for key, value in part.parameters.items()
            for span in _spans(value)
        ]

    def warnings(self) -> list[str]:
        """What a user would not expect of this run, one line each; nothing where all is well."""
        return [*self._not_reached(), *self._not_finished()]

    def _not_reached(self) -> Iterator[str]:
        """Milestones after the last update, and periods that are longer than the run."""
        total, epochs = self.horizon.total_steps, self.horizon.epochs
        idle = {part.name for part in _parts(self.schedule) if not _inner(part) and self._is_idle(part)}
        # A point at the very end is where a curve arrives; a drop there is one that no update sees.
        unseen = self.rate(max(0, total - 2)) == self.rate(total - 1) != self.rate(total)
        for owner, key, span, length, listed in self.spans():
            late = length > total or (length == total and unseen)
            if (late and listed) or (length >= total and owner in idle):
                what = f"{key.removesuffix('s')} {span}" if listed else f"{key}={span}"
                yield f"{owner}: {what} is never reached: the run ends at epoch {epochs}"

    def _not_finished(self) -> Iterator[str]:
        """A schedule that comes to its end, or to the end of its cycle, only after the run."""
        base, total = _base(self.schedule), self.horizon.total_steps
        if not isinstance(base, Schedule) or any(length > total for *_, length, _ in self.spans()):
            return
        try:
            now, then, later = (base(self.horizon.at(step)) for step in (total, 10 * total, 24 * total - total // 3))
        except OverflowError:  # a curve that grows without end has none to finish at
            return
        sampled = [base(self.horizon.at(step)) for step in range(0, total, max(1, total // 1000))]
        last = base(self.horizon.at(total - 1))
        lowest = min(sampled[sampled.index(max(sampled)) :])
        if then == later and abs(now - then) > 1e-6:
            yield (
                f"{base.name}: does not finish within the run: it has come to {self.lr * now:.4g} when the run ends at "
                f"epoch {self.horizon.epochs}, on its way to {self.lr * then:.4g}"
            )
        elif then != later and last > lowest + 0.25 * max(sampled):
            yield (
                f"{base.name}: the run ends in the middle of a cycle, at {self.lr * last:.4g}; the lowest rate before "
                f"was {self.lr * lowest:.4g}"
            )

    def _is_idle(self, part: Schedule) -> bool:
        """Whether the schedule is still where it began when the run ends."""
        total = self.horizon.total_steps
        values = {part(self.horizon.at(step)) for step in range(0, total, max(1, total // 64))}
        return len(values | {part(self.horizon.at(total - 1))}) == 1


def _every(schedule: Callable[[Progress], float], positions: Iterator[Progress]) -> Iterator[float]:
    """``map(schedule, positions)``, without the frame of the schedule's own call."""
    if type(schedule) is not Schedule:
        return map(schedule, positions)
    return map(schedule._function, positions, *map(repeat, schedule._values))


def _parts(schedule: object) -> Iterator[Schedule]:
    """A schedule and those that it is made of, the outermost first."""
    if isinstance(schedule, Schedule):
        yield schedule
        for inner in _inner(schedule):
            yield from _parts(inner)


_OTHER_CLOCK = ("stretch", "until", "join", "append", "switch", "stretched_rest")
"""Combinators whose parts see another clock than the run's: their lengths are not resolved here."""


def _inner(schedule: Schedule) -> list[object]:
    if schedule.name in _OTHER_CLOCK:
        return []
    values: list[Any] = []
    for value in schedule.parameters.values():
        values += value if isinstance(value, tuple) and not isinstance(value, Span) else [value]
    return [value for value in values if isinstance(value, Schedule)]


def _base(schedule: object) -> object:
    """What is under the combinators that leave the clock alone: warm-up, floor, hold."""
    while isinstance(schedule, Schedule) and (inner := _inner(schedule)):
        if len(inner) > 1:
            return None
        schedule = inner[0]
    return schedule


def _spans(value: object) -> Iterator[Span]:
    """The lengths in a parameter: itself, or those in a list, also of pairs."""
    if isinstance(value, Span):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _spans(item)
