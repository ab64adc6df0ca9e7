"""task=preview: show what the learning rate will do, before a second of training is paid; imports no torch."""

from __future__ import annotations

import difflib
import math
import multiprocessing
import shutil
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lrtrain import __version__, planning, signals
from lrtrain.configs import strategies
from lrtrain.errors import RequestError
from lrtrain.report.text_plot import text_plot, wants_log
from lrtrain.resume import POLICIES, changes, plans_at, with_present_plan
from lrtrain.runs import RunFolder, Segment, Table, job_folders, read_table, write_bytes, write_text
from lrtrain.schedules import Feedback, Plan, registered

if TYPE_CHECKING:
    from lrtrain.report.curves import Curve
    from lrtrain.schedules.theory import Bound

Config = Mapping[str, Any]
WIDEST = 110
LONG = 100_000
OWN_SHARE = 0.35
"""From so many updates on, another process computes the larger share of the table."""


def run(config: Config, folder: RunFolder) -> None:
    """Write the rate of every update and its picture, and print the curve and what is to be said of it.

    Raises:
        RequestError: The run to compare with or to go on with, or another strategy, is not there.
    """
    began = time.perf_counter()
    change = _change(config) if config["resume"] and config["resume_plan"] != "weights_only" else None
    plan = change.new if change else planning.plan(config)
    title = plan.sentence()
    used = _used_rates(config["run"]) if config["run"] else {}
    others = {name: planning.plan(_with_defaults(config, name)) for name in config["overlay"]}
    with _table(plan) as table:
        with signals.deferred():  # numpy and matplotlib are imported while the table is under way
            from lrtrain.report.curves import Curve, overlay, picture, replanned
            from lrtrain.schedules.theory import against_linear, last_iterate_bound
        rates, text = table()
    write_text(folder.schedule_table, "step,epoch,lr\n" + text)
    curve = Curve(rates, plan.horizon.steps_per_epoch, plan.warmup)
    curves = {plan.strategy: curve} | {name: _curve(other) for name, other in others.items() if name != plan.strategy}
    if change:
        old = _curve(change.old) if change.changed else None
        curves = {"new plan": curve, "old plan": old} if old else curves
        drawn = replanned(old, curve, change.step, change.label, title, used)
    else:
        drawn = overlay(curves, title, used) if others else picture(curve, title, used)
    write_bytes(folder.schedule_picture, drawn)
    bound = last_iterate_bound(curve.used)
    ratio = against_linear(bound, len(curve.used))

    print(title)
    _print_plot(curves, (change.step / curve.steps_per_epoch, change.label) if change else None)
    if change:
        print("\n".join(change.facts()))
    print("\n".join([*_facts(plan, curve), _fact("theory", _theory(plan, bound, ratio))]))
    if config["groups"] or config["hyperparameters"] or config["layer_decay"] != 1:
        print(_fact("groups", "have rates of their own; this is the one of the parameters that no group names"))
    for warning in planning.warnings(config, plan):
        print(f"warning: {warning}")
    if used:
        print(_fact("the run", _difference(curve, used, config["run"])))
    if others:
        _print_ranking(ranking(curves))
    summary = _summary(config, plan, curve, began) | {"theory": {"vs_linear": ratio, **bound._asdict()}}
    folder.write_summary(summary | ({"change": change.summary()} if change else {}))
    print(folder.path)


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


def _change(config: Config) -> _Change:
    """What resuming a run as asked for does to its plan; raises RequestError where there is nothing to resume."""
    from lrtrain.training.checkpoints import feedback_states, sound_checkpoint  # import torch: a checkpoint is torch's

    if config["overlay"]:
        raise RequestError("overlay= draws other strategies from the start; leave it out with resume")
    folder = RunFolder(config["resume"])
    checkpoint, step = sound_checkpoint(folder)
    try:
        before = plans_at(folder, step)
        after = with_present_plan(before, config, step, _steps_per_epoch(config, before[-1]))
        last, present = (segments[-1].config for segments in (before, after))
        metrics = [(plan["monitor"], planning.metric_mode(plan)) for plan in (last, present)]
        then, state = feedback_states(checkpoint, *metrics)
        old = planning.under_feedback(last, planning.plan(last, before), step, then)
        new = planning.under_feedback(present, planning.plan(present, after), step, state)
    except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise RequestError(f"{folder.plan} or {checkpoint} is not as we write it ({error!r}): begin anew") from error
    changed = changes(before[-1].config, config)
    same_rule = state["rule"] == (new.feedback.name if new.feedback else None)
    policy, scale = config["resume_plan"] if changed else None, state["scale"] if same_rule else 1.0
    return _Change(old, new, step, policy, changed, scale)


def _steps_per_epoch(config: Config, last: Segment) -> int:
    """Updates in an epoch as the data has them now; those of the run where Lightning finds out how many devices."""
    return planning.horizon(config).steps_per_epoch if planning.device_count(config) else last.steps_per_epoch


def overlay_jobs(folder: Path) -> None:
    """Draw the previews of a sweep's jobs in one picture, and rank them; the jobs that failed are left out.

    Writes `schedule.png` and `summary.csv` into the sweep's folder, and prints both.
    """
    import numpy as np

    from lrtrain.report.curves import Curve, overlay

    jobs = job_folders(folder)
    done = [job for job in jobs if job.schedule_table.exists() and job.summary.exists()]
    if not done:
        print(f"no job has a preview: {folder}")
        return
    summaries = [job.read_summary() for job in done]
    curves = {}
    for label, job, summary in zip(_labels(summaries), done, summaries, strict=True):
        rates = np.loadtxt(job.schedule_table, delimiter=",", skiprows=1, usecols=2)
        curves[label] = Curve(rates.tolist(), summary["steps"] // summary["epochs"], summary["warmup"])
    rows = ranking(curves)
    curves = {str(row["strategy"]): curves[str(row["strategy"])] for row in rows}
    write_bytes(RunFolder(folder).schedule_picture, overlay(curves, f"{len(curves)} strategies, the best bound first"))
    table = Table(folder / "summary.csv", rows[0])
    for row in rows:
        table.add(row)
    table.close()
    _print_plot(curves)
    _print_ranking(rows)
    if missing := [job.path.name for job in jobs if job not in done]:
        print(f"without a preview, and not shown: job {', '.join(missing)}")
    print(f"{RunFolder(folder).schedule_picture}\n{folder / 'summary.csv'}")


def ranking(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """What each curve is, and its convex bound over that of the best shape known; the smallest first."""
    from lrtrain.schedules.theory import against_linear, last_iterate_bound

    rows = []
    for name, curve in curves.items():
        bound = last_iterate_bound(curve.used)
        rows.append(
            {
                "first": curve.used[0],
                "peak": max(curve.used),
                "last": curve.used[-1],
                "end": curve.rates[-1],
                "bound_vs_linear": against_linear(bound, len(curve.used)),
                "best_peak": bound.gamma * max(curve.used),
                "strategy": name,
            }
        )
    return sorted(rows, key=lambda row: row["bound_vs_linear"])


def _with_defaults(config: Config, name: str) -> dict[str, Any]:
    """The configuration with another strategy in the place of its own."""
    keys = strategies()
    kept = {key: value for key, value in config.items() if key not in keys.get(config["scheduler"], {})}
    if name not in keys:
        near = difflib.get_close_matches(name, keys, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
        raise RequestError(f"overlay: there is no scheduler={name}; {hint}")
    return kept | keys[name] | {"scheduler": name, "feedback": name if name in registered(Feedback) else None}


def _curve(plan: Plan) -> Curve:
    from lrtrain.report.curves import Curve

    return Curve(array("d", plan.rates()), plan.horizon.steps_per_epoch, plan.warmup)


@contextmanager
def _table(plan: Plan) -> Iterator[Callable[[], tuple[array[float], str]]]:
    """Begin to compute the rate of every update and the one after the last; at the end nothing of it goes on.

    Yields:
        What finishes it: the rates, and the rows that say so.
    """
    count = plan.horizon.total_steps + 1
    if count < LONG or "fork" not in multiprocessing.get_all_start_methods():
        yield lambda: _rows(plan, 0, count)
        return
    own = int(OWN_SHARE * count)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def help_out() -> None:
        signals.end_process()
        receiver.close()  # so that to send fails where nobody is left to receive it
        with suppress(BrokenPipeError):
            sender.send(_rows(plan, own, count))

    def finish() -> tuple[array[float], str]:
        rates, text = _rows(plan, 0, own)
        try:
            more_rates, more_text = receiver.recv()
        except EOFError:  # what the helper failed on is raised here
            more_rates, more_text = _rows(plan, own, count)
        return rates + more_rates, text + more_text

    helper = context.Process(target=help_out, daemon=True)  # a daemon is ended with us, wherever we are
    helper.start()
    try:
        sender.close()
        yield finish
    finally:
        helper.terminate()
        helper.join()
        receiver.close()


def _rows(plan: Plan, start: int, stop: int) -> tuple[array[float], str]:
    rates = array("d", plan.rates(start, stop))
    length = plan.horizon.steps_per_epoch
    # A rate that holds is written out once: that takes half of the time.
    holds = len(set(rates[:: 1 + len(rates) // 1000])) < 500
    written = map({rate: repr(rate) for rate in set(rates)}.__getitem__, rates) if holds else map(repr, rates)
    return rates, "".join([f"{step},{step // length},{rate}\n" for step, rate in enumerate(written, start)])


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
    text = (
        f"convex last-iterate bound: {ratio:.2f}x the best known shape (linear); "
        f"optimal base rate {bound.gamma * plan.lr:.3g} for G = D = 1"
    )
    return text + (f"; without {plan.feedback.name}" if plan.feedback else "")


def _fact(name: str, text: str) -> str:
    return f"  {name:9s}{text}"


def _epoch(step: int, curve: Curve) -> str:
    return f"{step / curve.steps_per_epoch:.4g}"


def _print_plot(curves: Mapping[str, Curve], join: tuple[float, str] | None = None) -> None:
    width = min(shutil.get_terminal_size().columns, WIDEST)
    log = wants_log([curve.sample for curve in curves.values()])
    epochs = max(curve.epochs for curve in curves.values())
    samples = {name: curve.sample_over(epochs) for name, curve in curves.items()}
    print("\n".join(text_plot(samples, epochs, width, log=log, join=join)))


def _print_ranking(rows: Sequence[Mapping[str, Any]]) -> None:
    from lrtrain.report.table import print_rows
    from lrtrain.schedules.theory import WHERE_IT_FAILS

    shown = [[value if isinstance(value, str) else f"{value:.4g}" for value in row.values()] for row in rows]
    print_rows([name.replace("_", " ") for name in rows[0]], shown)
    print(WHERE_IT_FAILS)


def _summary(config: Config, plan: Plan, curve: Curve, began: float) -> dict[str, Any]:
    """What a reader of run folders finds in each of them, and what only a preview says."""
    from lrtrain.report.curves import jumps

    return {
        "status": "finished",
        "task": "preview",
        "strategy": plan.strategy,
        "schedule": plan.sentence(),
        "seed": config["seed"],
        "steps": len(curve.used),
        "epochs": plan.horizon.epochs,
        "monitor": config["monitor"],
        "wall_s": round(time.perf_counter() - began, 3),
        "lr": {"first": curve.used[0], "peak": max(curve.used), "last": curve.used[-1], "end": curve.rates[-1]},
        "warmup": plan.warmup,
        "lengths": {f"{owner}.{key}": f"{span} = {length}" for owner, key, span, length, _ in plan.spans()},
        "jumps": jumps(curve)[:100],
        "warnings": planning.warnings(config, plan),
        "best": {},
        "final": {},
        "checkpoints": {},
        "versions": {"lrtrain": __version__},
        "config": config,
    }


def _labels(summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The strategy of each job, with the values of the keys that tell jobs of the same strategy apart."""
    configs = [dict(summary["config"]) for summary in summaries]
    names = [summary["strategy"] for summary in summaries]
    labels = []
    for name, config in zip(names, configs, strict=True):
        same = [other for other, its_name in zip(configs, names, strict=True) if its_name == name]
        varied = [key for key in config if any(other.get(key) != config[key] for other in same)]
        labels.append(" ".join([name, *(f"{key}={config[key]}" for key in varied)]))
    return [f"{label} #{index}" if labels.count(label) > 1 else label for index, label in enumerate(labels)]
