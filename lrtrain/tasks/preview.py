"""task=preview: show what the learning rate will do, before a second of training is paid; imports no torch."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from lrtrain import __version__
from lrtrain.errors import RequestError
from lrtrain.parameters.rules import ListOf, OptionalCount, OrNull, Text
from lrtrain.plan.changes import compare, go_on
from lrtrain.plan.curve import plan_run, under_feedback, warn_of
from lrtrain.plan.history import Segment, as_of, read_history
from lrtrain.plan.length import steps_per_epoch as length_of
from lrtrain.plan.plan import Plan
from lrtrain.plan.start import POLICIES, Start
from lrtrain.process import signals
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import read_table, write_bytes, write_text
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.schedules import Feedback, by_name, constant, registered
from lrtrain.settings import Settings
from lrtrain.tasks import Job

if TYPE_CHECKING:
    from lrtrain.report.curves import Curve, Picture
    from lrtrain.schedules.theory import Bound

MOST = 10**7
"""Updates of a run that is shown, which take a minute or two."""


def run(
    job: Job,
    /,
    *,
    steps_per_epoch: OptionalCount = None,
    overlay: Annotated[Sequence[str], ListOf(Text())] = (),
    run: Annotated[str | None, OrNull(Text())] = None,
) -> Summary:
    """Write the rate of every update and its picture, and print the curve and what is to be said of it.

    Args:
        steps_per_epoch: optimizer updates in an epoch; null takes the dataset's
        overlay: other strategies, with their defaults, in the same picture: [cosine, linear]
        run: the folder of a finished run: shows also what it really used

    Raises:
        RequestError: The run to compare with or to go on with, or another strategy, is not there.
    """
    began, settings = time.perf_counter(), job.settings
    shown = preview(settings, job.start, steps_per_epoch=steps_per_epoch, overlay=overlay, run=run)
    from lrtrain.report.curves import png

    with ClaimedFolder(job.folder, locks=job.locks) as folder:
        folder.check_unused()
        folder.write_request(job.asked)
        write_text(folder.schedule_table, "step,epoch,lr\n" + _rows(shown.curve))
        write_bytes(folder.schedule_picture, png(shown.picture))
        shown.print()
        summary = shown.summarise(time.perf_counter() - began)
        summary.write(folder.summary)
        folder.begun = True
    print(folder.path)
    return summary


def preview(
    settings: Settings,
    start: Start | None = None,
    *,
    steps_per_epoch: int | None = None,
    overlay: Sequence[str] = (),
    run: str | None = None,
) -> Preview:
    """What the learning rate will do; writes nothing."""
    with signals.deferred():
        from lrtrain.report.curves import overlay as overlaid
        from lrtrain.report.curves import picture, replanned

    if start and start.resumes and steps_per_epoch:
        raise RequestError("steps_per_epoch= is for a run that has not begun; leave it out with resume")
    change = _change(settings, start, overlay) if start and start.resumes else None
    segment = Segment(settings, steps_per_epoch or length_of(settings))
    plan = change.new if change else plan_run([segment])
    title, curve = plan.sentence(), _curve(plan)
    used = _used_rates(run) if run else {}
    others = {name: _curve(plan_run([segment._replace(settings=_with_defaults(settings, name))])) for name in overlay}
    curves = {plan.strategy: curve} | {name: other for name, other in others.items() if name != plan.strategy}
    if change:
        old = _curve(change.old) if change.changed else None
        curves = {"new plan": curve, "old plan": old} if old else curves
        drawn = replanned(old, curve, change.step, change.label, title, used)
    else:
        drawn = overlaid(curves, title, used) if others else picture(curve, title, used)
    return Preview(settings, plan, curve, curves, drawn, change, used, run or "", bool(others))


class Preview(NamedTuple):
    """The rates of a run that has not been trained.

    Attributes:
        settings: Of the run.
        plan: What its rate will do.
        curve: Its rates.
        curves: Those that are drawn with it, by name.
        picture: All of them.
        change: Of a run that is to go on under another plan.
        used: The rates that a run has really used, by update.
        run: Its folder.
        ranked: The curves are compared.
    """

    settings: Settings
    plan: Plan
    curve: Curve
    curves: Mapping[str, Curve]
    picture: Picture
    change: _Change | None
    used: Mapping[int, float]
    run: str
    ranked: bool

    def bound(self) -> tuple[Bound, float]:
        """The convex bound of the curve, and that over the one of the best shape known."""
        from lrtrain.schedules.theory import against_linear, last_iterate_bound

        bound = last_iterate_bound(self.curve.used)
        return bound, against_linear(bound, len(self.curve.used))

    def print(self) -> None:
        """The curve in the terminal, and the numbers behind it."""
        settings, change, curve = self.settings, self.change, self.curve
        from lrtrain.report.ranking import print_plot, print_ranking, rank

        print(self.plan.sentence())
        print_plot(self.curves, (change.step / curve.steps_per_epoch, change.label) if change else None)
        if change:
            print("\n".join(change.facts()))
        print("\n".join([*_facts(self.plan, curve), _fact("theory", _theory(self.plan, *self.bound()))]))
        if settings.groups or settings.hyperparameters or settings.layer_decay != 1:
            print(_fact("groups", "have rates of their own; this is the one of the parameters that no group names"))
        for warning in warn_of(settings, self.plan):
            print(f"warning: {warning}")
        if self.used:
            print(_fact("the run", _difference(curve, self.used, self.run)))
        if self.ranked:
            print_ranking(rank(self.curves))

    def summarise(self, seconds: float) -> Summary:
        """What a reader of run folders finds in each of them, and what only a preview says."""
        from lrtrain.report.curves import jumps

        plan, curve, now = self.plan, self.curve, datetime.now(UTC).isoformat(timespec="seconds")
        bound, ratio = self.bound()
        extra: dict[str, Any] = {
            "warmup": plan.warmup,
            "lengths": {f"{owner}.{key}": f"{span} = {length}" for owner, key, span, length, _ in plan.spans()},
            "jumps": jumps(curve)[:100],
            "warnings": warn_of(self.settings, plan),
            "theory": {"vs_linear": ratio, **bound._asdict()},
            "steps_per_epoch": curve.steps_per_epoch,
        }
        return Summary(
            status="finished",
            ended_by="end",
            task="preview",
            strategy=plan.strategy,
            schedule=plan.sentence(),
            seed=self.settings.seed,
            steps=len(curve.used),
            epochs=plan.horizon.epochs,
            monitor=self.settings.monitor,
            wall_s=round(seconds, 3),
            ended=now,
            lr={"first": curve.used[0], "peak": max(curve.used), "last": curve.used[-1], "end": curve.rates[-1]},
            versions={"lrtrain": __version__},
            config=self.settings.plain(),
            extra=extra | ({"change": self.change.summary()} if self.change else {}),
        )


class _Change(NamedTuple):
    """The plan of a run that is to be resumed, and the one that it would go on with.

    Attributes:
        old: Of the run until now.
        new: That of the whole run, if it is resumed as asked for.
        step: The first update to come.
        policy: How the new plan follows the old one; None where it is the same.
        changed: Each key that differs, old and new.
        scale: What the feedback multiplies the rate by, by now.
    """

    old: Plan
    new: Plan
    step: int
    policy: str | None
    changed: dict[str, tuple[Any, Any]]
    scale: float

    @property
    def label(self) -> str:
        """What is drawn beside the join."""
        epoch = f"{self.step / self.new.horizon.steps_per_epoch:.4g}"
        return f"update {self.step:,}, epoch {epoch}" + (f": {self.policy}" if self.policy else "")

    def facts(self) -> list[str]:
        """The numbers behind the join, a line each."""
        rates = f"{self.new.rate(max(0, self.step - 1)):.6g} -> {self.new.rate(self.step):.6g}"
        lines = [_fact("join", f"{rates} at update {self.step:,}")]
        if self.policy:
            changed = "; ".join(f"{key} {old} -> {new}" for key, (old, new) in self.changed.items())
            lines += [_fact("old plan", self.old.sentence()), _fact("changed", changed)]
            lines.append(_fact(self.policy, POLICIES[self.policy]))
        if self.scale != 1:
            lines.append(
                _fact("feedback", f"goes on from {self.scale:g} of the curve; what it did before is not drawn")
            )
        return lines

    def summary(self) -> dict[str, Any]:
        """The same for the summary."""
        return {"step": self.step, "policy": self.policy, "old": self.old.sentence(), "changed": self.changed}


def _change(settings: Settings, start: Start, overlay: Sequence[str]) -> _Change:
    """What resuming a run as asked for does to its plan; raises RequestError where there is nothing to resume."""
    from lrtrain.training.saved import feedback_states, sound_checkpoint  # import torch: a checkpoint is torch's

    assert start.folder is not None
    if overlay:
        raise RequestError("overlay= draws other strategies from the start; leave it out with resume")
    history = start.folder.history
    checkpoint = sound_checkpoint(start.folder)
    step = checkpoint.step
    before = as_of(read_history(history), step)
    last = before[-1]
    # How many devices there are, Lightning may find out only later.
    length = length_of(settings) if settings.trainer.device_count else last.steps_per_epoch
    after = go_on(before, settings, start.policy, step, length)
    present = after[-1].settings
    try:
        then, state = feedback_states(checkpoint, last.settings.metric, present.metric)
        old = under_feedback(last.settings, plan_run(before), step, then)
        new = under_feedback(present, plan_run(after), step, state)
    except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise RequestError(f"{checkpoint.path} is not a valid lrtrain checkpoint ({error!r}): start over") from error
    changed = compare(last.settings, settings)
    same_rule = state["rule"] == (new.feedback.name if new.feedback else None)
    policy, scale = start.policy if changed else None, state["scale"] if same_rule else 1.0
    return _Change(old, new, step, policy, changed, scale)


def _with_defaults(settings: Settings, name: str) -> Settings:
    """The settings with another strategy in the place of their own."""
    try:
        if name in registered(Feedback):
            return replace(settings, scheduler=name, schedule=constant(), feedback=by_name(name, {}, Feedback))
        return replace(settings, scheduler=name, schedule=by_name(name, {}), feedback=None)
    except ValueError as error:
        raise RequestError(f"overlay: {error}") from error


def _curve(plan: Plan) -> Curve:
    from lrtrain.report.curves import Curve

    length, total = plan.horizon
    if total > MOST:
        raise RequestError(f"the run has {total:,} updates, of which {MOST:,} can be shown at most: give fewer epochs")
    rates = array("d", plan.rates())
    for step, rate in enumerate(rates):
        if not 0.0 <= rate < math.inf:
            raise RequestError(f"the rate of update {step} is {rate}: it must be finite and >= 0")
    return Curve(rates, length, plan.warmup)


def _rows(curve: Curve) -> str:
    """The table of rates, a row for each update and one for the rate after the last."""
    rates, length = curve.rates, curve.steps_per_epoch
    # A rate that holds is written out once: that takes half of the time.
    holds = len(set(rates[:: 1 + len(rates) // 1000])) < 500
    written = map({rate: repr(rate) for rate in set(rates)}.__getitem__, rates) if holds else map(repr, rates)
    return "".join([f"{step},{step // length},{rate}\n" for step, rate in enumerate(written)])


def _used_rates(path: str) -> dict[int, float]:
    """The rate that a run used, by update, at its log points."""
    try:
        rows = read_table(RunFolder(path).metrics)
    except OSError:
        raise RequestError(f"run={path}: there is no metrics.csv in it; give the folder of a run") from None
    if rows and "lr" not in rows[0]:
        raise RequestError(f"run={path}: it has several parameter groups, and no single learning rate to compare with")
    try:
        return {int(row["step"]): float(row["lr"]) for row in rows if row["lr"]}
    except (ValueError, KeyError):
        raise RequestError(f"run={path}: its metrics.csv is damaged") from None


def _difference(curve: Curve, used: Mapping[int, float], path: str) -> str:
    """How far what a run used is from what is previewed."""
    shared = [step for step in used if step < len(curve.used)]
    if not shared:
        return f"{path} has no update in common with this preview"
    worst = max(shared, key=lambda step: abs(used[step] - curve.rates[step]))
    gap = abs(used[worst] - curve.rates[worst])
    where = f", at update {worst:,}: {used[worst]:.6g} instead of {curve.rates[worst]:.6g}" if gap else ""
    beyond = len(used) - len(shared)
    after = f"; {beyond:,} more after the end of this preview" if beyond else ""
    return f"used these rates at {len(shared):,} log points; the largest difference is {gap:.3g}{where}{after}"


def _facts(plan: Plan, curve: Curve) -> list[str]:
    """The numbers behind the picture, a line each."""
    from lrtrain.report.curves import MOST_MARKS, jumps

    used, total = curve.used, len(curve.used)
    peak = curve.peak
    lines = [
        _fact("first", f"{used[0]:.6g}"),
        _fact("peak", f"{used[peak]:.6g} at update {peak:,}"),
        _fact("last", f"{used[-1]:.6g} at update {total - 1:,}"),
        _fact("end", f"{curve.rates[-1]:.6g} after the last update"),
        _fact("epoch", f"{curve.steps_per_epoch:,} updates"),
    ]
    if plan.warmup:
        lines.append(_fact("warm-up", f"{plan.warmup:,} updates, until epoch {_epoch(plan.warmup, curve)}"))
    if spans := [f"{owner}: {key} {span} = {length:,} updates" for owner, key, span, length, _ in plan.spans()]:
        lines.append(_fact("lengths", "; ".join(spans)))
    if marks := jumps(curve):
        shown = ", ".join(_epoch(step, curve) for step in marks[:MOST_MARKS])
        lines.append(
            _fact("jumps", f"at epoch {shown}" + f" and {len(marks) - MOST_MARKS} more" * (len(marks) > MOST_MARKS))
        )
    return lines


def _theory(plan: Plan, bound: Bound, ratio: float) -> str:
    if math.isinf(bound.omega):
        return "no update moves: there is no bound"
    text = f"convex last-iterate bound: {ratio:.2f}x that of the best known shape (linear), each at its own best rate"
    return text + (f"; without {plan.feedback.name}" if plan.feedback else "")


def _fact(name: str, text: str) -> str:
    return f"  {name:9s}{text}"


def _epoch(step: int, curve: Curve) -> str:
    return f"{step / curve.steps_per_epoch:.4g}"
