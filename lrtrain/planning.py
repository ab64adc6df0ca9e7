"""What decides the learning rate, of a configuration: the plan of a run, and how long that is.

Imports neither torch nor Lightning, but where a user's own data has to be asked how long an epoch is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrtrain.datasets import dataset
from lrtrain.errors import RequestError
from lrtrain.runs import Segment
from lrtrain.schedules import (
    Feedback,
    Group,
    Horizon,
    Plan,
    Progress,
    Schedule,
    append,
    between,
    by_name,
    constant,
    cooldown,
    floor,
    frozen,
    hold,
    reduced,
    registered,
    stretch,
    stretched_rest,
    switch,
    until,
    updates,
    warmup,
)
from lrtrain.schedules.combinators import AnySchedule
from lrtrain.schedules.parameters import Number, defaults
from lrtrain.schedules.schedule import formula

if TYPE_CHECKING:
    from lrtrain.training.custom import Look

Config = Mapping[str, Any]
Curve = Callable[[Progress], float]


def plan(config: Config, history: Sequence[Segment] = ()) -> Plan:
    """Build everything that decides the learning rate; imports neither torch nor Lightning.

    Args:
        config: The composed configuration, as plain values.
        history: The plans that a run has been given, the present one last; empty for one that has not begun.

    Raises:
        RequestError: A parameter is not admitted, or the phases do not fit into the run.
    """
    try:
        if not isinstance(config["scheduler"], str):
            raise ValueError(f"scheduler must be the name of a strategy, got {config['scheduler']!r}")
        history = history or [Segment(dict(config), horizon(config).steps_per_epoch)]
        length = Horizon(history[-1].steps_per_epoch, config["epochs"])
        _check_phases(config, length.at(0), history[-1])
        if config["trainer"]["check_val_every_n_epoch"] > config["epochs"]:
            raise ValueError("trainer.check_val_every_n_epoch is more than epochs: nothing would be measured")
        if not config["shuffle"] and config["trainer"]["devices"] not in (1, "1"):
            raise ValueError("shuffle=false is for one device: others would get batches of unequal number")
        strategy = config["scheduler"]
        if config["feedback"] and strategy != config["feedback"]:
            strategy = f"{strategy} x {config['feedback']}"
        found = Plan(
            strategy,
            float(config["lr"]),
            continued(history, schedule),
            feedback(config),
            length,
            updates(config["warmup"], length.at(0)) if len(history) == 1 else 0,  # else a ramp may be anywhere
            groups(history),
            hyperparameters(history),
        )
        _check_ends([found.schedule, *(group.schedule for group in found.groups.values())], length)
        _check_ends(found.hyperparameters.values(), length)
        return found
    except ValueError as error:
        raise RequestError(" ".join(str(error).split())) from error


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


def warnings(config: Config, plan: Plan) -> list[str]:
    """What a user would not expect of this run, one line each."""
    found, stop = plan.warnings(), config["early_stop"]
    if stop and plan.feedback and stop <= plan.feedback.parameters.get("patience", -1):
        patience = plan.feedback.parameters["patience"]
        found.append(f"early_stop={stop} ends the run before {plan.feedback.name} with patience={patience} can act")
    lr, kind = float(config["lr"]), config["optimizer"]["name"]
    if kind == "prodigy" and lr != 1:
        found.append(f"optimizer=prodigy finds its rate itself, and lr={lr:g} multiplies that; it is meant for lr=1")
    if kind == "rprop":
        found.append("optimizer=rprop takes the schedule's first rate and then its own, from the gradients' signs")
    total = plan.horizon.total_steps
    sampled = {step: plan.rate(step) for step in range(0, total, max(1, total // 1000))}
    risen = max(sampled, key=lambda step: sampled[step]) / plan.horizon.steps_per_epoch
    if stop and risen > stop:
        found.append(f"early_stop={stop} can end the run while the rate still rises, until epoch {risen:.3g}")
    return found


def schedule(config: Config) -> Curve:
    """The strategy's own curve, and all that it is combined with."""
    name = config["scheduler"]
    own = constant() if name == config["feedback"] else by_name(name, _own(config, registered(Schedule), name))
    return combined(config, own)


def continued(history: Sequence[Segment], curve_of: Callable[[Config], Curve], absolute: bool = False) -> Curve:
    """The curve of a run whose plan may have been changed: each policy has its closed form.

    Args:
        history: The plans, the first first.
        curve_of: The curve of each, had it been the plan all along.
        absolute: These curves are values, not multipliers of the plan's base rate.
    """
    first = history[0]
    curve, planned, lr = curve_of(first.config), first.total_steps, float(first.config["lr"])
    for segment in history[1:]:
        own_lr = float(segment.config["lr"])
        if segment.policy == "keep":
            curve = until(curve, f"{planned}st")
            continue
        if segment.policy == "stretch":
            curve = stretched_rest(curve, segment.step, planned)
        else:
            splice = {"append": append, "switch": switch}[str(segment.policy)]
            ratio = 1.0 if absolute else lr / own_lr
            curve = splice(curve, curve_of(segment.config), segment.step, planned, ratio)
            lr = own_lr
        planned = segment.total_steps
    return curve


def under_feedback(config: Config, plan: Plan, step: int, state: Mapping[str, Any]) -> Plan:
    """The plan as it goes on from an update where its feedback has reduced the rate already.

    Args:
        config: That the plan was built from.
        plan: Of the run that goes on.
        step: The update.
        state: Of the feedback by then, as a scheduler's state has it; that of another rule counts for nothing.
    """
    rule = plan.feedback.name if plan.feedback else None
    if state["rule"] != rule or state["scale"] == 1:
        return plan
    return plan._replace(schedule=reduced(plan.schedule, step, state["scale"], least_share(config)))


def combined(config: Config, base: Curve) -> Curve:
    """A curve with what the configuration combines any curve with; the warm-up is outermost."""
    if config["horizon"] is not None:
        base = until(base, config["horizon"])
    if config["stretch"] is not None:
        base = stretch(base, config["stretch"])
    if config["hold"] is not None:
        base = hold(base, config["hold"])
    if config["final_cooldown"]:
        base = cooldown(base, config["final_cooldown"], config["final_cooldown_shape"])
    if least_share(config):
        base = floor(base, least_share(config))
    if config["warmup"]:
        base = warmup(base, config["warmup"], config["warmup_shape"], config["warmup_start"])
    return base


def groups(history: Sequence[Segment]) -> dict[str, Group]:
    """The parameter groups by pattern; what no pattern matches follows the run's own schedule."""
    specs = history[-1].config["groups"] or {}  # no policy changes these
    return {str(pattern): _group(history, pattern, spec) for pattern, spec in specs.items()}


def _group(history: Sequence[Segment], pattern: str, spec: Any) -> Group:
    settings = dict(spec) if isinstance(spec, Mapping) else {"lr_mult": spec}
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"groups: {pattern!r} is not a regular expression: {error}") from None
    try:
        lr_mult = Number(low=0).parse(settings.pop("lr_mult", 1.0))
        held = settings.pop("frozen", None)

        def own(config: Config) -> Curve:
            return combined(config, AnySchedule().parse(settings)) if settings else schedule(config)

        curve = continued(history, own)
        if held is not None:  # from the beginning of the run, whatever its plan has become
            start = Progress(0, history[0].steps_per_epoch, history[0].total_steps)
            curve = frozen(curve, f"{updates(held, start)}st")
        return Group(lr_mult, curve)
    except ValueError as error:
        raise ValueError(f"groups: {pattern!r}: {error}; write a number, or lr_mult, frozen, scheduler=...") from None


def hyperparameters(history: Sequence[Segment]) -> dict[str, Curve]:
    """The schedules of other settings; each runs between two values."""
    specs = history[-1].config["hyperparameters"] or {}
    return {str(name): _hyperparameter(history, name, spec) for name, spec in specs.items()}


def _hyperparameter(history: Sequence[Segment], name: str, spec: Any) -> Curve:
    settings = dict(spec) if isinstance(spec, Mapping) else {}
    ends = {end: settings.pop(end) for end in ("high", "low") if end in settings}
    try:
        own = between(AnySchedule().parse(settings), **ends)
    except ValueError as error:
        raise ValueError(f"hyperparameters: {name}: {error}") from None
    return continued(history, lambda _: own, absolute=True)


def feedback(config: Config) -> Feedback | None:
    """The rule that looks at the validation metric, or None."""
    name = config["feedback"]
    if not name:
        return None
    derived = {"mode": metric_mode(config)}
    return by_name(name, _own(config, registered(Feedback), name) | derived, Feedback)  # type: ignore[no-any-return]


def metric_mode(config: Config) -> str:
    """Whether a smaller (min) or a larger (max) monitored metric is better."""
    if config["monitor_mode"] != "auto":
        return str(config["monitor_mode"])
    ending = config["monitor"].rpartition("_")[2]
    if ending not in ("loss", "error", "acc", "accuracy"):
        raise RequestError(f"monitor={config['monitor']}: say by monitor_mode=min or max whether less of it is better")
    return "max" if ending in ("acc", "accuracy") else "min"


def horizon(config: Config, devices: int | None = None) -> Horizon:
    """How many updates an epoch has and how many epochs there are, as Lightning will count them.

    Args:
        config: The composed configuration, as plain values.
        devices: How many train together; None takes `trainer.devices`, and 1 where that is left to Lightning.
    """
    if config.get("steps_per_epoch"):
        return Horizon(config["steps_per_epoch"], config["epochs"])
    if devices is None:
        devices = device_count(config) or 1
    name, parameters = named(config["dataset"])
    if name == "custom":
        return Horizon(_updates(config, _custom_batches(config, max(devices, 1))), config["epochs"])
    try:
        size = dataset(name).train_size(**parameters)
    except TypeError as error:
        raise ValueError(f"dataset={name}: {error}") from None
    samples = math.ceil(size / max(devices, 1))
    batches = samples / config["batch_size"]
    batches = math.floor(batches) if config["drop_last"] else math.ceil(batches)
    if not batches:
        raise ValueError(f"batch_size={config['batch_size']} with drop_last leaves no batch of {samples:,} samples")
    return Horizon(_updates(config, batches), config["epochs"])


def _updates(config: Config, batches: int | None) -> int:
    """The updates in an epoch of so many batches; None where the data does not say how many there are."""
    trainer = config["trainer"]
    limit, key = batch_limit(config, "limit_train_batches")
    if batches is not None:
        used = limited(batches, limit, f"{key} of {{}} training batches")
    elif isinstance(limit, int):
        used = limit
    else:
        raise ValueError("dataset.function: its training loader has no length; give trainer.limit_train_batches=N")
    every = trainer["val_check_interval"]
    if isinstance(every, int) and every > used:
        raise ValueError(
            f"trainer.val_check_interval={every} is more than the {used:,} batches of an epoch: write fewer, "
            "or trainer.check_val_every_n_epoch=N"
        )
    return math.ceil(used / int(trainer["accumulate_grad_batches"]))


def batch_limit(config: Config, key: str) -> tuple[float, str]:
    """How many of the batches Lightning uses, and the key and value that say so."""
    if config["trainer"]["overfit_batches"] and key != "limit_test_batches":
        key = "overfit_batches"
    limit = config["trainer"][key]
    return limit, f"trainer.{key}={limit}"


def limited(batches: int, limit: float, said: str) -> int:
    """Of so many batches those that Lightning uses: a number of them, or a share.

    Args:
        batches: There are.
        limit: The number (int) or share (float).
        said: What asked for it, with ``{}`` where the number of the batches belongs.

    Raises:
        ValueError: There would be none.
    """
    used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if not used:
        raise ValueError(f"{said.format(f'{batches:,}')} is less than one: give their number")
    return used


def device_count(config: Config) -> int | None:
    """How many devices train together, all nodes taken together; None where that is left to Lightning."""
    devices = config["trainer"]["devices"]
    here = len(devices) if isinstance(devices, list) else devices
    if not str(here).isdecimal():
        return None
    return int(here) * int(config["trainer"].get("num_nodes", 1))


def _custom_batches(config: Config, devices: int) -> int | None:
    """The training batches in an epoch of a user's data, on each device: it is made, and asked."""
    batches = look(config).batches
    return None if batches is None else math.ceil(batches / devices)


def look(config: Config) -> Look:
    """What is seen of a user's own training data, which is made for that."""
    from lrtrain.training.custom import look_at

    return look_at(**custom_data(config))


def custom_data(config: Config) -> dict[str, Any]:
    """What makes a user's data module, the keys of ours that it may take included."""
    return {key: config["dataset"][key] for key in ("function", "parameters")} | {
        key: config[key] for key in ("batch_size", "seed", "shuffle", "workers", "drop_last")
    }


def named(choice: Config) -> tuple[str, dict[str, Any]]:
    """A choice's name and its parameters."""
    return choice["name"], {key: value for key, value in choice.items() if key != "name"}


def _own(config: Config, factories: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The strategy's short keys: those of its parameters that the configuration has."""
    if name not in factories:
        return {}
    return {key: config[key] for key in defaults(formula(factories[name])) if key in config}


def least_share(config: Config) -> float:
    """`min_lr` as a share of the base rate."""
    least = config["min_lr"]
    share = float(least[:-1]) / 100 if isinstance(least, str) else float(least) / float(config["lr"])
    if share > 1:
        raise ValueError(f"min_lr={least} is above lr={config['lr']:g}")
    return share


def _check_phases(config: Config, start: Progress, present: Segment) -> None:
    """Refuse phases that do not fit one after another into the run, or into what is left for an appended schedule."""
    if config.get("three_phase") and not 0 < config["pct_start"] <= 0.5:
        raise ValueError(f"one_cycle: three phases need a pct_start in (0, 0.5], got {config['pct_start']}")
    other_clock = config["stretch"] is not None or config["horizon"] is not None
    keys = ("warmup", "final_cooldown") if other_clock else ("warmup", "decay_length", "final_cooldown")
    phases = {key: config[key] for key in keys if config.get(key)}
    total = start.total_steps or 0
    if present.policy == "append":
        total = max(1, total - present.step)
        start = start._replace(total_steps=total)
    needed = sum(updates(length, start) for length in phases.values())
    if needed > total:
        said = " and ".join(f"{key}={length}" for key, length in phases.items())
        left = "the run has" if present.policy != "append" else "what is left has"
        raise ValueError(f"{said} {'take' if len(phases) > 1 else 'takes'} {needed:,} updates, but {left} {total:,}")
