"""What the learning rate will do over a run: its rates, a sentence about them, and what a user would not expect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lrtrain.parameters.signatures import rules
from lrtrain.schedules import Feedback, Horizon, Progress, Schedule, Span, formula, registered, updates


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
        frozen: Updates at the beginning of the run that do not change them.
    """

    lr_mult: float
    schedule: Callable[[Progress], float]
    frozen: int = 0


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
        policy: How it follows an earlier plan of the run; None for the first.
        begins: The update where it does.
        scaling: How the base rate comes from that of another batch; empty where it does not.
    """

    strategy: str
    lr: float
    schedule: Callable[[Progress], float]
    feedback: Feedback | None
    horizon: Horizon
    warmup: int = 0
    groups: Mapping[str, Group] = MappingProxyType({})
    hyperparameters: Mapping[str, Callable[[Progress], float]] = MappingProxyType({})
    policy: str | None = None
    begins: int = 0
    scaling: str = ""

    def rate(self, step: int) -> float:
        """The rate of the update `step`, as the scheduler computes it."""
        return self.lr * self.schedule(self.horizon.at(step))

    def rates(self) -> Iterator[float]:
        """The rate of every update 0..total-1, and the one that holds after the last."""
        length, total = self.horizon
        curve, lr = self.schedule, self.lr
        return (lr * curve(Progress(step, length, total)) for step in range(total + 1))

    @property
    def per_epoch(self) -> bool:
        """Whether the rate holds within an epoch, looked up in the first, the middle and the last after the warm-up."""
        length, total = self.horizon
        ramped, epochs = -(-self.warmup // length), -(-total // length)
        return all(
            self.rate(step) == self.rate(epoch * length)
            for epoch in {min(ramped, epochs - 1), (ramped + epochs) // 2, epochs - 1}
            if epoch < epochs
            for step in range(epoch * length, min((epoch + 1) * length, total), max(1, length // 64))
        )

    def sentence(self) -> str:
        """What the rate will do, in one line."""
        epochs, total = self.horizon.epochs, self.horizon.total_steps
        changes = "per epoch" if self.per_epoch else "per update"
        text = (
            f"{self.strategy}: {self.rate(0):.4g} -> {self.rate(total - 1):.4g} over {epochs:.4g} "
            f"epoch{'s' * (epochs != 1)}, {total:,} updates, {changes}"
        )
        if self.warmup:
            text += f", after a warm-up of {self.warmup:,} updates to {self.lr:.4g}"
        if self.feedback:
            text += f"; {self.feedback.name} multiplies by {self.feedback.parameters['factor']:g}"
        return f"{text}; {self.scaling}" if self.scaling else text

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
        return [*self._only_warms_up(), *self._not_reached(), *self._not_finished(), *self._over()]

    def _only_warms_up(self) -> Iterator[str]:
        """A warm-up that leaves no update to what follows it."""
        if self.warmup >= self.horizon.total_steps:
            yield f"the warm-up of {self.warmup:,} updates is the whole run: nothing of {self.strategy} is left"

    def _not_reached(self) -> Iterator[str]:
        """Milestones after the last update, and periods that are longer than the run."""
        total = self.horizon.total_steps
        idle = {part.name for part in _parts(self.schedule) if not _inner(part) and self._is_idle(part)}
        # A point at the very end is where a curve arrives; a drop there is one that no update sees.
        unseen = self.rate(max(0, total - 2)) == self.rate(total - 1) != self.rate(total)
        for owner, key, span, length, listed in self.spans():
            late = length > total or (length == total and unseen)
            if (late and listed) or (length >= total and owner in idle):
                what = f"{key.removesuffix('s')} {span}" if listed else f"{key}={span}"
                yield f"{owner}: {what} is never reached: the run ends at epoch {self.horizon.epochs:.4g}"

    def _not_finished(self) -> Iterator[str]:
        """A schedule that comes to its end, or to the end of its cycle, only after the run."""
        base, total = _base(self.schedule), self.horizon.total_steps
        if not isinstance(base, Schedule):
            return
        last, now = base(self.horizon.at(total - 1)), base(self.horizon.at(total))
        if base.name == "until" and (end := updates(base.parameters["end"], self.horizon.at(0))) > total:
            yield (
                f"{_shown(base)}: does not finish within the run: it has come to {self.lr * now:.4g} when the run ends "
                f"at epoch {self.horizon.epochs:.4g}, on its way to {self.lr * base(self.horizon.at(end)):.4g}"
            )
        if not any(getattr(rule, "cycle", False) for rule in rules(formula(registered()[base.name])).values()):
            return
        sampled = [base(self.horizon.at(step)) for step in range(0, total, max(1, total // 1000))]
        lowest = min(sampled[sampled.index(max(sampled)) :])
        if last > lowest + 0.25 * max(sampled):
            yield (
                f"{base.name}: the run ends in the middle of a cycle, at {self.lr * last:.4g}; the lowest rate before "
                f"was {self.lr * lowest:.4g}"
            )

    def _over(self) -> Iterator[str]:
        """A decay that is over while the run goes on."""
        total, stride = self.horizon.total_steps, max(1, self.horizon.total_steps // 1000)
        last, first = self.rate(total - 1), total - 1
        while first >= stride and self.rate(first - stride) == last:
            first -= stride
        while first and self.rate(first - 1) == last:
            first -= 1
        idle, ends_at_zero = 2 * (total - first) >= total - self.begins, last == 0 and total - first > 1
        if not (ends_at_zero or (self.policy in ("keep", "stretch") and idle)):
            return
        peak = max(map(self.rate, range(0, total, stride)))
        if ends_at_zero or last < peak:
            text = f"the decay is over at update {first:,}: the {total - first:,} updates from there on have a rate of "
            text += f"{last:.4g}, where it was up to {peak:.4g}"
            yield text + ("; resume_plan=append or switch has a decay over what is left" if self.policy else "")

    def _is_idle(self, part: Schedule) -> bool:
        """Whether the schedule is still where it began when the run ends."""
        total = self.horizon.total_steps
        values = {part(self.horizon.at(step)) for step in range(0, total, max(1, total // 64))}
        return len(values | {part(self.horizon.at(total - 1))}) == 1


def _shown(schedule: Schedule) -> str:
    """The name of what is under a changed clock."""
    inner = schedule.parameters["inner"]
    return inner.name if isinstance(inner, Schedule) else repr(inner)


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
