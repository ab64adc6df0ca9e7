"""What decides the learning rate, of the settings of a run and those that it had before."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import Number
from lrtrain.plan.history import Segment
from lrtrain.plan.plan import Group, Plan
from lrtrain.schedules import (
    Horizon,
    Progress,
    append,
    between,
    cooldown,
    floor,
    frozen,
    hold,
    reduced,
    stretch,
    stretched_rest,
    switch,
    until,
    updates,
    warmup,
)
from lrtrain.schedules.combinators import AnySchedule
from lrtrain.settings import CurveSettings, Settings

Curve = Callable[[Progress], float]


def plan_run(history: Sequence[Segment]) -> Plan:
    """Build everything that decides the learning rate.

    Args:
        history: The plans that the run has been given, the present one last; one for a run that has not begun.

    Raises:
        RequestError: A parameter is not admitted, or the phases do not fit into the run.
    """
    present = history[-1]
    settings, length = present.settings, present.horizon
    try:
        _check_phases(present)
        found = Plan(
            settings.strategy,
            settings.base_lr,
            _continued(history, _own_curve),
            settings.feedback,
            length,
            updates(settings.curve.warmup, length.at(0)) if len(history) == 1 else 0,  # else a ramp may be anywhere
            {str(pattern): _group(history, pattern, spec) for pattern, spec in (settings.groups or {}).items()},
            {
                str(name): _hyperparameter(history, name, spec)
                for name, spec in (settings.hyperparameters or {}).items()
            },
            present.policy,
            present.step,
            _scaling(settings),
        )
        _check_ends([found.schedule, *(group.schedule for group in found.groups.values())], length)
        _check_ends(found.hyperparameters.values(), length)
        return found
    except ValueError as error:
        raise RequestError(" ".join(str(error).split())) from error


def _scaling(settings: Settings) -> str:
    """How the base rate comes from that of another batch; empty where it does not."""
    if not settings.lr_scale:
        return ""
    given = f"{settings.lr:.4g} for a batch of {settings.lr_for_batch:,}"
    return f"{given} is {settings.base_lr:.4g} for {settings.batch:,} ({settings.lr_scale})"


def warn_of(settings: Settings, plan: Plan) -> list[str]:
    """What a user would not expect of this run, one line each."""
    found, stop, lr = plan.warnings(), settings.early_stop, settings.lr
    if stop and plan.feedback and stop <= plan.feedback.parameters.get("patience", -1):
        patience = plan.feedback.parameters["patience"]
        found.append(f"early_stop={stop} ends the run before {plan.feedback.name} with patience={patience} can act")
    if settings.optimizer.name == "prodigy" and lr != 1:
        found.append(f"optimizer=prodigy finds its rate itself, and lr={lr:g} multiplies that; it is meant for lr=1")
    if settings.optimizer.name == "rprop":
        found.append("optimizer=rprop ignores the schedule after the first update: it adapts its rates itself")
    if stop:
        total = plan.horizon.total_steps
        risen = max(range(0, total, max(1, total // 1000)), key=plan.rate) / plan.horizon.steps_per_epoch
        if risen > stop:
            found.append(f"early_stop={stop} can end the run while the rate still rises, until epoch {risen:.3g}")
    return found


def under_feedback(settings: Settings, plan: Plan, step: int, state: Mapping[str, Any]) -> Plan:
    """The plan as it goes on from an update where its feedback has reduced the rate already.

    Args:
        settings: That the plan was built from.
        plan: Of the run that goes on.
        step: The update.
        state: Of the feedback by then, as a scheduler's state has it; that of another rule counts for nothing.
    """
    rule = plan.feedback.name if plan.feedback else None
    if state["rule"] != rule or state["scale"] == 1:
        return plan
    return plan._replace(schedule=reduced(plan.schedule, step, state["scale"], settings.least_share))


def _own_curve(settings: Settings) -> Curve:
    """The strategy's own curve, and all that it is combined with."""
    return _combined(settings.curve, settings.least_share, settings.schedule)


def _combined(settings: CurveSettings, least: float, base: Curve) -> Curve:
    """A curve with what the settings combine any curve with; the warm-up is outermost."""
    if settings.horizon is not None:
        base = until(base, settings.horizon)
    if settings.stretch is not None:
        base = stretch(base, settings.stretch)
    if settings.hold is not None:
        base = hold(base, settings.hold)
    if settings.final_cooldown.value:  # type: ignore[union-attr]
        base = cooldown(base, settings.final_cooldown, settings.final_cooldown_shape)
    if least:
        base = floor(base, least)
    if settings.warmup.value:  # type: ignore[union-attr]
        base = warmup(base, settings.warmup, settings.warmup_shape, settings.warmup_start)
    return base


def _continued(history: Sequence[Segment], curve_of: Callable[[Settings], Curve], absolute: bool = False) -> Curve:
    """The curve of a run whose plan may have been changed: each policy has its closed form.

    Args:
        history: The plans, the first first.
        curve_of: The curve of each, had it been the plan all along.
        absolute: These curves are values, not multipliers of the plan's base rate.
    """
    first = history[0]
    curve, planned, lr = curve_of(first.settings), first.total_steps, first.settings.base_lr
    for segment in history[1:]:
        if segment.policy == "keep":
            curve = until(curve, f"{planned}st")
            continue
        if segment.policy == "stretch":
            curve = stretched_rest(curve, segment.step, planned)
        else:
            splice = {"append": append, "switch": switch}[str(segment.policy)]
            ratio = 1.0 if absolute else lr / segment.settings.base_lr
            curve = splice(curve, curve_of(segment.settings), segment.step, planned, ratio)
            lr = segment.settings.base_lr
        planned = segment.total_steps
    return curve


def _group(history: Sequence[Segment], pattern: str, spec: Any) -> Group:
    """The rate of the parameters that a pattern matches; no policy changes these settings."""
    given = dict(spec) if isinstance(spec, Mapping) else {"lr_mult": spec}
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"groups: {pattern!r} is not a regular expression: {error}") from None
    try:
        lr_mult = Number(low=0).parse(given.pop("lr_mult", 1.0))
        held = given.pop("frozen", None)
        base = AnySchedule().parse(given) if given else None

        def own(settings: Settings) -> Curve:
            return _combined(settings.curve, settings.least_share, base) if base else _own_curve(settings)

        curve, still = _continued(history, own), 0
        if held is not None:  # from the beginning of the run, whatever its plan has become
            still = updates(held, history[0].horizon.at(0))
            curve = frozen(curve, f"{still}st")
        return Group(lr_mult, curve, still)
    except ValueError as error:
        raise ValueError(f"groups: {pattern!r}: {error}; write a number, or lr_mult, frozen, scheduler=...") from None


def _hyperparameter(history: Sequence[Segment], name: str, spec: Any) -> Curve:
    """The schedule of another setting, between two values."""
    given = dict(spec) if isinstance(spec, Mapping) else {}
    ends = {end: given.pop(end) for end in ("high", "low") if end in given}
    try:
        own = between(AnySchedule().parse(given), **ends)
    except ValueError as error:
        raise ValueError(f"hyperparameters: {name}: {error}") from None
    return _continued(history, lambda _: own, absolute=True)


def _check_ends(curves: Iterable[Curve], horizon: Horizon) -> None:
    """Refuse what only shows when a curve is evaluated, at both ends of the run."""
    for curve in curves:
        for step in (0, horizon.total_steps):
            try:
                value = curve(horizon.at(step))
            except OverflowError:
                value = math.inf
            except TypeError as error:
                raise ValueError(f"{curve!r} cannot be called: {error}") from None
            if not math.isfinite(value):
                raise ValueError(f"{curve!r} is not finite at update {step:,}")


def _check_phases(present: Segment) -> None:
    """Refuse phases that do not fit one after another into the run, or into what is left for an appended schedule."""
    settings, start = present.settings, present.horizon.at(0)
    curve = settings.curve
    phases = {"warmup": curve.warmup, "final_cooldown": curve.final_cooldown}
    if curve.stretch is None and curve.horizon is None and "decay_length" in settings.schedule.parameters:
        phases = {"warmup": curve.warmup, "decay_length": settings.schedule.parameters["decay_length"], **phases}
    total = start.total_steps or 0
    if present.policy == "append":
        total = max(1, total - present.step)
        start = start._replace(total_steps=total)
    asked = {key: length for key, length in phases.items() if updates(length, start)}
    needed = sum(updates(length, start) for length in asked.values())
    if needed > total:
        said = " and ".join(f"{key}={length}" for key, length in asked.items())
        left = "the run has" if present.policy != "append" else "what is left has"
        raise ValueError(f"{said} {'take' if len(asked) > 1 else 'takes'} {needed:,} updates, but {left} {total:,}")
