"""Coming back to a run: which folder, what was asked for then and now, and what a changed plan may mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lrtrain import planning
from lrtrain.configs import strategies
from lrtrain.errors import RequestError
from lrtrain.imports import import_large, named_code
from lrtrain.runs import RunFolder, Segment, read_overrides

FREE = {
    *(
        "resume",
        "resume_plan",
        "task",
        "log_every",
        "early_stop",
        "workers",
        "threads",
        "checkpoint_every",
        "logger.name",
    ),
    *("on_nonfinite", "rollback_factor", "rollbacks"),
    *("trainer.enable_progress_bar", "trainer.accelerator", "trainer.profiler"),
    *("dataset.data_dir", "dataset.in_memory", "overlay", "run"),
}
"""Keys that change neither the rates nor the data."""

COUNT_OR_SHARE = {
    *(f"trainer.{key}_batches" for key in ("limit_train", "limit_val", "limit_test", "overfit")),
    "trainer.val_check_interval",
}
"""Keys whose 1 is one batch, and whose 1.0 is all of them."""

LENGTH = {"epochs"}
COMBINED = {
    *("lr", "warmup", "warmup_shape", "warmup_start", "min_lr", "hold", "final_cooldown", "final_cooldown_shape"),
    *("stretch", "horizon", "scheduler", "feedback", "monitor", "monitor_mode"),
}
"""Keys of the curve, besides the strategies' own."""

HARDWARE = {"trainer", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"}
"""Keys of what a run ran on."""

_NAMES_CODE = re.compile(r"\bfunction\b|_target_")

POLICIES = {
    "keep": "the old curve, which holds its last rate where it has an end",
    "stretch": "what is left of the old curve, spread over what is left of the run",
    "append": "the new schedule from here on, over what is left of the run",
    "switch": "the new schedule at the same update, as if it had been the plan all along",
    "weights_only": "a new run, in a folder of its own, that begins with these weights",
}


def find_run(wanted: str, below: Path) -> RunFolder:
    """The folder that `resume=` names: a path, or the newest run that has a checkpoint for ``last``.

    Raises:
        RequestError: There is none, or it has no checkpoint.
    """
    if wanted == "last":
        return _newest_run(below, "resume=last", "resume=FOLDER")
    try:
        folder = RunFolder(Path(wanted).resolve())
        folder.last_checkpoint.exists()
    except (OSError, ValueError):
        raise RequestError("resume= is not the path of a folder") from None
    if not folder.last_checkpoint.is_file() and not folder.previous_checkpoint.is_file():
        raise RequestError(f"resume={wanted}: there is no {folder.last_checkpoint.name} in it; give a run's folder")
    return folder


def find_checkpoint(wanted: str, below: Path) -> Path:
    """The file that `checkpoint=` names: itself, the best of a run's folder, or ``best`` or ``last`` of the newest run.

    Raises:
        RequestError: There is no such file.
    """
    try:
        if wanted in ("best", "last"):
            folder = _newest_run(below, f"checkpoint={wanted}", "checkpoint=FOLDER or checkpoint=FILE.ckpt")
            path = folder.best_checkpoint if wanted == "best" else folder.last_checkpoint
        else:
            path = Path(wanted).resolve()
            path = RunFolder(path).best_checkpoint if path.is_dir() else path
        found = path.is_file()
    except (OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError("checkpoint= is not the path of a run's folder or of a .ckpt file") from None
    if not found:
        raise RequestError(f"checkpoint={wanted}: there is no file {path}; give a run's folder or a .ckpt file")
    return path


def _newest_run(below: Path, asked: str, instead: str) -> RunFolder:
    found = [*below.glob("**/checkpoints/last.ckpt"), *below.glob("**/checkpoints/previous.ckpt")]
    if not found:
        raise RequestError(f"{asked}: no run below {below} has a checkpoint; give {instead}")
    return RunFolder(max(found, key=lambda path: path.stat().st_mtime).parent.parent.resolve())


def merged_overrides(folder: RunFolder, overrides: Sequence[str]) -> list[str]:
    """What was asked for when the run began, or was last resumed, and over it what is asked for now.

    Keys that belonged to a choice that is replaced are left out, and so are Hydra's own, which could make it import
    anything.

    Raises:
        RequestError: The run used code of the user's, which is not run again just because a folder names it.
    """
    present = folder.read_plan()[-1].config if folder.plan.exists() else {}
    return [*_stored(folder, overrides, {"resume", "resume_plan"}, present=present), *overrides]


def overrides_of(checkpoint: Path, overrides: Sequence[str]) -> list[str]:
    """What decides the outputs of a checkpoint, of what its run was asked for, and over it what is asked for now.

    The keys of the rates and of the hardware are left out. A file that is in no run's folder is taken for what this
    command says it is.

    Raises:
        RequestError: The run used code of the user's, which is not run again just because a folder names it.
    """
    folder = RunFolder(checkpoint.parent.parent)
    if not folder.overrides.is_file():
        return list(overrides)
    keys = {"resume", "resume_plan", "groups", "hyperparameters"} | _curve_keys() | HARDWARE
    return [*_stored(folder, overrides, keys, {"optimizer", "logger"}), *overrides]


def _stored(
    folder: RunFolder,
    overrides: Sequence[str],
    without: Iterable[str],
    choices: Iterable[str] = (),
    present: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """The overrides of a run that those of now leave in place, without some keys and some choices with all theirs.

    `present` is the run's configuration, which says what was chosen where no override did.
    """
    newest = folder.newest_overrides
    try:
        stored = read_overrides(newest)
    except Exception as error:  # whatever reading a damaged file runs into
        raise RequestError(f"{newest} cannot be read ({type(error).__name__}): what the run was is lost") from error
    stored = [item for item in stored if "hydra" not in key_of(item)]  # its keys, and packages of its
    stored = [item for item in stored if key_of(item) not in without and _group(item) not in choices]
    for item in stored:
        if _NAMES_CODE.search(item) and item not in overrides:
            raise RequestError(f"the run was started with {item}, which names code to run; say it again to go on")
    chosen = {key_of(item): item.partition("=")[2] for item in stored}
    now = {key_of(item) for item in overrides}
    for group in {"scheduler", "feedback"} & now:
        now |= set(strategies(group).get(str(chosen.get(group, present.get(group))), {}))
    replaced = {"model", "dataset", "optimizer", "logger"} & now
    return [item for item in stored if key_of(item) not in now and _group(item) not in replaced]


def begins(config: Mapping[str, Any]) -> bool:
    """Whether a run begins at its first update, in a folder of its own."""
    return not config["resume"] or config["resume_plan"] == "weights_only"


def check_resume(config: Mapping[str, Any]) -> bool:
    """Check that a run can go on as it is asked to.

    Returns:
        Whether there is anything left to do.

    Raises:
        RequestError: The plan was changed without a policy, or the policy cannot do what is asked.
    """
    folder, policy = RunFolder(config["resume"]), config["resume_plan"]
    if policy == "weights_only":
        return True
    segments = folder.read_plan()
    for segment in segments:
        if foreign := named_code(segment.config) - named_code(config):
            raise RequestError(f"{folder.plan} names code that this command does not: {', '.join(sorted(foreign))}")
    changed = changes(segments[-1].config, config)
    check_plan(changed, policy, _effects(segments[-1].config, config, changed))
    if not changed and folder.has_finished() and config["task"] == "train":
        print(f"{folder.path} has finished; more epochs=... go on with it, under a resume_plan=...")
        return False
    import_large("lrtrain.training.checkpoints").sound_checkpoint(folder)  # the run will need torch anyway
    return True


def plans_at(folder: RunFolder, step: int) -> list[Segment]:
    """The plans that a run has been given, the first first, as they are where it goes on from an update.

    A plan that began later, when the run had gone further, begins at that update.
    """
    return [segment._replace(step=min(segment.step, step)) for segment in folder.read_plan()]


def with_present_plan(
    segments: Sequence[Segment], config: Mapping[str, Any], step: int, steps_per_epoch: int
) -> list[Segment]:
    """The plans that a run has been given until an update, and the one that it goes on with, where that is another.

    Args:
        segments: Until now.
        config: Of the run that goes on.
        step: The update.
        steps_per_epoch: Updates in an epoch, as the data has them now.

    Raises:
        RequestError: The data is not what it was, or the run has done more updates than it is to have.
    """
    last = segments[-1]
    if steps_per_epoch != last.steps_per_epoch:
        raise RequestError(
            f"an epoch of the run had {last.steps_per_epoch:,} updates, and would have {steps_per_epoch:,}: its data "
            f"is not what it was. Give that back, or resume_plan=weights_only ({POLICIES['weights_only']})"
        )
    present = Segment(dict(config), steps_per_epoch, config["resume_plan"], step)
    if present.total_steps < step:
        raise RequestError(
            f"the run has done {step:,} updates, and epochs={config['epochs']} are {present.total_steps:,} only: "
            f"give epochs={math.ceil(step / steps_per_epoch)} or more, or resume_plan=weights_only"
        )
    return [*segments, *([present] if changes(last.config, config) else [])]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each key that differs, with both values, leaving out those that matter to no rate and no data."""
    before, after = _flat(old), _flat(new)
    keys = [*before, *(key for key in after if key not in before)]
    return {
        key: (before.get(key), after.get(key))
        for key in keys
        if key not in FREE
        and (
            before.get(key) != after.get(key)
            or (key in COUNT_OR_SHARE and type(before.get(key)) is not type(after.get(key)))
        )
    }


def check_policy(config: Mapping[str, Any]) -> None:
    """Refuse to go on with anything but training or its preview, and a policy where there is nothing to go on with."""
    if config["resume"] and config["task"] not in ("train", "preview"):
        raise RequestError(f"resume goes on with training; leave out task={config['task']}")
    if config["resume_plan"] and not config["resume"]:
        raise RequestError(f"resume_plan={config['resume_plan']} says how to go on with a run: give resume= too")


def check_devices(config: Mapping[str, Any], before: int, now: int) -> None:
    """Refuse to go on with a run on another number of devices than that it was saved on.

    Raises:
        RequestError: Says what would change.
    """
    if before != now:
        effect = _other_devices(config, config, before, now)
        raise RequestError(
            f"the run was on {before} devices, and this would be on {now}: {effect}. Give trainer.devices={before}, "
            f"or resume_plan=weights_only ({POLICIES['weights_only']})"
        )


def check_plan(changed: Mapping[str, tuple[Any, Any]], policy: str | None, effects: str = "") -> None:
    """Refuse a changed plan that nobody decided on, or a policy that cannot do what is asked.

    Args:
        changed: Each changed key, old and new.
        policy: What was decided.
        effects: What else changes with them.

    Raises:
        RequestError: Names each changed key, old and new, and the policies to choose from.
    """
    if policy is not None and policy not in POLICIES:
        raise RequestError(f"resume_plan={policy}: there are {', '.join(POLICIES)}")
    if not changed:
        return
    listed = "; ".join(f"{key} {old} -> {new}" for key, (old, new) in changed.items())
    listed += f" ({effects})" if effects else ""
    possible = [name for name in POLICIES if not _beyond(name, changed)]
    choice = "; ".join(f"{name}: {POLICIES[name]}" for name in possible)
    if policy is None:
        raise RequestError(f"the plan has changed: {listed}. Say what is meant by resume_plan= ({choice})")
    if beyond := _beyond(policy, changed):
        raise RequestError(f"resume_plan={policy} cannot change {', '.join(beyond)}: {listed}. Possible is {choice}")


def _beyond(policy: str, changed: Iterable[str]) -> list[str]:
    """The changed keys that a policy has no meaning for."""
    if policy == "weights_only":
        return []
    able = _curve_keys() if policy in ("append", "switch") else LENGTH
    return [key for key in changed if key.partition(".")[0] not in able]


def _effects(old: Mapping[str, Any], new: Mapping[str, Any], changed: Iterable[str]) -> str:
    """What another number of devices brings with it, where the configurations have one."""
    if not {"trainer.devices", "trainer.num_nodes"} & set(changed):
        return ""
    try:
        before, now = planning.device_count(old), planning.device_count(new)
        return _other_devices(old, new, before, now) if before and now else ""
    except (KeyError, TypeError, ValueError):  # the old configuration was read from a file, and may hold anything
        return ""


def _other_devices(old: Mapping[str, Any], new: Mapping[str, Any], before: int, now: int) -> str:
    pairs = {
        "global batch": (old["batch_size"] * before, new["batch_size"] * now),
        "updates an epoch": (planning.horizon(old, before).steps_per_epoch, planning.horizon(new, now).steps_per_epoch),
    }
    listed = ", ".join(f"{name} {was} -> {will}" for name, (was, will) in pairs.items())
    return f"{listed}, another order of samples and other random numbers"


def _curve_keys() -> set[str]:
    """All keys of the curve."""
    own = {key for group in ("scheduler", "feedback") for keys in strategies(group).values() for key in keys}
    return LENGTH | COMBINED | own


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def key_of(override: str) -> str:
    """The key that an override is about."""
    return override.partition("=")[0].strip().lstrip("+~")


def _group(override: str) -> str:
    return key_of(override).partition(".")[0]
