"""What a run that goes on may change of its plan, and what the policies make of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrtrain.errors import RequestError
from lrtrain.parameters.bound import flat
from lrtrain.parameters.signatures import Affects
from lrtrain.parameters.spans import Span
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.plan.start import POLICIES
from lrtrain.settings import Settings

WEIGHTS_ONLY = f"resume_plan=weights_only ({POLICIES['weights_only']})"

Changes = Mapping[str, tuple[Any, Any]]


def compare(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Each setting that differs, with both values, leaving out those that affect neither the rates nor the data."""
    before, after, told = flat(old.plain()), flat(new.plain()), old.effects() | new.effects()
    return {
        key: (before.get(key), after.get(key))
        for key in [*before, *(key for key in after if key not in before)]
        # As text, which tells 1 batch from all of them, 1.0.
        if json.dumps(before.get(key), default=str) != json.dumps(after.get(key), default=str)
        and _affected(key, told) is not Affects.NOTHING
    }


def check_policy(changed: Changes, told: Mapping[str, Affects], policy: str | None, effect: str = "") -> None:
    """Refuse a changed plan that nobody decided on, or a policy that cannot do what is asked.

    Args:
        changed: Each changed key, old and new.
        told: What each key affects.
        policy: What was decided.
        effect: What else changes with them.

    Raises:
        RequestError: Names each changed key, old and new, and the policies to choose from.
    """
    if policy is not None and policy not in POLICIES:
        raise RequestError(f"resume_plan={policy}: there are {', '.join(POLICIES)}")
    if not changed:
        return
    listed = "; ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())
    listed += f" ({effect})" if effect else ""
    choice = "; ".join(f"{name}: {POLICIES[name]}" for name in POLICIES if not _beyond(name, changed, told))
    if policy is None:
        raise RequestError(f"the plan has changed: {listed}. Decide by resume_plan= ({choice})")
    if beyond := _beyond(policy, changed, told):
        raise RequestError(f"resume_plan={policy} cannot change {', '.join(beyond)}: {listed}. Possible is {choice}")


def _beyond(policy: str, changed: Iterable[str], told: Mapping[str, Affects]) -> list[str]:
    """The changed keys that a policy has no meaning for."""
    if policy == "weights_only":
        return []
    able = {Affects.LENGTH, Affects.CURVE} if policy in ("append", "switch") else {Affects.LENGTH}
    return [key for key in changed if _affected(key, told) not in able]


def _affected(key: str, told: Mapping[str, Affects]) -> Affects:
    """What a key affects, or that whose part it is."""
    return told.get(key) or told.get(key.partition(".")[0]) or Affects.RUN


def go_on(
    segments: Sequence[Segment], settings: Settings, policy: str | None, step: int, steps_per_epoch: int
) -> list[Segment]:
    """The plans that a run has been given until an update, and the one that it goes on with, where that is another.

    Args:
        segments: Until now.
        settings: Of the run that goes on.
        policy: What a changed plan means.
        step: The update.
        steps_per_epoch: Updates in an epoch, as the data has them now.

    Raises:
        RequestError: The data is not what it was, or the run has done more updates than it is to have.
    """
    last = segments[-1]
    if steps_per_epoch != last.steps_per_epoch:
        raise RequestError(
            f"an epoch of the run had {last.steps_per_epoch:,} updates, and would have {steps_per_epoch:,}: its data "
            f"has changed. Restore it, or give {WEIGHTS_ONLY}"
        )
    present = Segment(settings, steps_per_epoch, policy, step)
    if present.total_steps < step:
        in_epochs = Span.parse(settings.epochs).unit == "ep"
        least = math.ceil(step / steps_per_epoch) if in_epochs else f"{step}st"
        raise RequestError(
            f"the run has done {step:,} updates, and epochs={settings.plain()['epochs']} are {present.total_steps:,} "
            f"only: give epochs={least} or more, or resume_plan=weights_only"
        )
    return [*segments, *([present] if compare(last.settings, settings) else [])]


def check_devices(settings: Settings, before: int, now: int) -> None:
    """Refuse to go on with a run on another number of devices than that it was saved on.

    Raises:
        RequestError: Says what would change.
    """
    if before != now:
        effect = describe_devices(settings, settings, before, now)
        raise RequestError(
            f"the run was on {before} devices, and this would be on {now}: {effect}. Give trainer.devices={before}, "
            f"or {WEIGHTS_ONLY}"
        )


def describe_devices(old: Settings, new: Settings, before: int | None, now: int | None) -> str:
    """What another number of devices brings with it; nothing where it is the same, or not known."""
    if not before or not now or before == now:
        return ""
    pairs = {
        "global batch": (old.batch_size * before, new.batch_size * now),
        "updates an epoch": (steps_per_epoch(old, before), steps_per_epoch(new, now)),
    }
    listed = ", ".join(f"{name} {was} -> {will}" for name, (was, will) in pairs.items())
    return f"{listed}, another order of samples and other random numbers"
