"""What a command asks for: a task, and the job that it is to do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

from lrtrain.cli.compose import Composer
from lrtrain.cli.hints import explain_key, explain_setting
from lrtrain.cli.stored import check_code, choose, merge, stored_of
from lrtrain.cli.words import key_of, quoted, value_of
from lrtrain.configs import GROUPS, choices, own_file
from lrtrain.errors import RequestError, first_line
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.signatures import SettingError, defaults
from lrtrain.plan.changes import check_policy, compare, describe_devices
from lrtrain.plan.curve import plan_run
from lrtrain.plan.history import Segment, read_history
from lrtrain.plan.length import steps_per_epoch
from lrtrain.plan.start import Start
from lrtrain.run_folder.files import as_yaml
from lrtrain.run_folder.find import find_checkpoint, find_run
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import read_summary
from lrtrain.settings import Settings, read_settings
from lrtrain.tasks import Job, function, task

MEASURING = ("evaluate", "predict", "export")
"""The tasks that load a checkpoint."""


class Request(NamedTuple):
    """What a command asks for.

    Attributes:
        task: With its own keys.
        job: Of the task.
        nothing_left: What there is to say where the job is done already; None where it is not.
    """

    task: Bound
    job: Job
    nothing_left: str | None = None


def read_request(composer: Composer, words: Sequence[str], place: Path | None = None) -> Request:
    """Compose the words of one job once, and check everything that can be known without data or hardware.

    Args:
        composer: That is open.
        words: Of the job.
        place: Its folder; None takes the one that the words say.

    Raises:
        RequestError: Something is wrong with them; one line says what to write.
    """
    name, folders = _task_name(composer, words), composer.folders(words)
    words, past, start = _come_back(words, name)
    own = [word for word in words if key_of(word) != "resume"]  # a folder's name is not to be interpolated
    measures = name in MEASURING
    composed = composer.compose(choose(past[-1], own, folders, to_measure=measures) if past else own)
    values = merge(past[-1], composed.values, words, folders, to_measure=measures) if past else composed.values
    _check_feedback(composed.values, words)
    if past:
        # Former callbacks are never made, and can be left out by callbacks=[].
        former = [{**each, "callbacks": []} for each in past] if start.resumes else []
        check_code([values, *former], composed.values)
    before = past[-1] if start.resumes else None
    try:
        locks, bound, finds_rate = _take_command(values, start, before)
        settings, remarks = _read_settings(composer, words, values, start)
    except SettingError as error:
        if not error.is_unknown:
            raise RequestError(explain_setting(error)) from error
        raise RequestError(explain_key(error.path, composed.values)) from error
    folder = place or composed.run_dir
    if start.folder and start.resumes and bound.name == "train":
        if (place or value_of("hydra.run.dir", words)) and folder.resolve() != start.folder.path:
            remarks.append(f"warning: {folder} is not used: a run goes on in its own folder, {start.folder.path}")
        folder = start.folder.path
    elif start.folder and not start.resumes and folder.resolve() == start.folder.path:
        raise RequestError("resume_plan=weights_only begins a new run: give it another hydra.run.dir")
    names_data = any(key_of(word).partition(".")[0] == "dataset" for word in words)
    asked = _asked(composer.with_search(words), settings)
    job = Job(settings, folder, start, asked, locks, names_data, finds_rate, remarks)
    if start.folder and start.resumes:
        return Request(bound, job, _check_going_on(start.folder, settings, start.policy, bound.name))
    if bound.name in ("train", "preview"):
        _check_plan(Segment(settings, bound.parameters.get("steps_per_epoch") or steps_per_epoch(settings)))
    return Request(bound, job)


def _task_name(composer: Composer, words: Sequence[str]) -> str:
    """The task that the words name, whose name a choice of the user's own may leave to its file."""
    folders, name = composer.folders(words), value_of("task", words) or "train"
    own = [group for group in GROUPS if own_file(group, value_of(group, words) or "", folders)]
    if not {"task", "experiment"} & {*own}:
        return name
    return str(composer.compose([word for word in words if key_of(word) != "resume"]).values.get("task"))


def _check_feedback(composed: dict[str, Any], words: Sequence[str]) -> None:
    """Refuse a rule beside a strategy that is one itself, which would drop it."""
    strategy, rule = composed.get("scheduler"), value_of("feedback", words)
    if strategy in choices("feedback") and rule not in (None, strategy):
        raise RequestError(
            f"scheduler={strategy} is a feedback rule itself: leave out feedback={rule}, or put it on top of a "
            f"schedule, as in scheduler=constant feedback={rule}"
        )


def _come_back(words: Sequence[str], name: str) -> tuple[list[str], list[dict[str, Any]], Start]:
    """The run that a command comes back to, if it does.

    Args:
        words: Of the command.
        name: Of its task.

    Returns:
        The words with the whole path of a checkpoint, the configurations that the run has had, and where to start.
    """
    wanted = value_of("resume", words)
    if name in MEASURING and wanted not in (None, "null"):
        raise RequestError(f"resume goes on with training; leave out task={name}")
    if name in MEASURING:
        checkpoint = find_checkpoint(value_of("checkpoint", words) or "best")
        others = [word for word in words if key_of(word) != "checkpoint"]
        return [*others, f"checkpoint={quoted(checkpoint)}"], stored_of(RunFolder(checkpoint.parent.parent)), Start()
    if wanted in (None, "null"):
        return list(words), [], Start()
    folder, policy = find_run(str(wanted)), value_of("resume_plan", words)
    if not (past := stored_of(folder)):
        raise RequestError(f"{folder.history} is missing; start over without resume")
    return list(words), past, Start.weights(folder) if policy == "weights_only" else Start.resume(folder, policy)


def _take_claim(values: dict[str, Any]) -> bool:
    """Whether the folder is to be locked."""
    claim = values.pop("claim", "on")
    if claim not in (True, False, "on", "off"):
        raise RequestError(f"claim must be on or off, got {claim!r}")
    return claim in (True, "on")


def _take_rate(values: dict[str, Any], task_name: str, past: dict[str, Any] | None) -> bool:
    """Put a number in the place of ``lr=auto``; returns whether the rate is to be found before the run begins.

    Args:
        values: The configuration.
        task_name: Of the task.
        past: Of the run that goes on, whose rate has been found.

    Raises:
        RequestError: The task needs the rate and trains nothing.
    """
    if values.get("lr") != "auto":
        return False
    if task_name == "preview":
        raise RequestError("lr=auto is found by training a little: write task=find_lr first, then lr=NUMBER here")
    values["lr"] = past["lr"] if past else 1.0
    return task_name == "train" and past is None


def _take_command(values: dict[str, Any], start: Start, past: dict[str, Any] | None) -> tuple[bool, Bound, bool]:
    """Take all that is not a setting out of a configuration: whether to lock, the task, and whether it finds a rate."""
    locks, bound = _take_claim(values), _read_task(values, start)
    return locks, bound, _take_rate(values, bound.name, past)


def _read_settings(
    composer: Composer, words: Sequence[str], values: dict[str, Any], start: Start
) -> tuple[Settings, list[str]]:
    """The settings, and what there is to say of an experiment whose choices are not all made.

    What it sets for a choice of its own is left out where the one made instead does not have that.

    Raises:
        SettingError: A value is wrong.
        RequestError: The experiment sets what its own choices do not have either.
    """
    preset, left_out = value_of("experiment", words), list[str]()
    while True:
        try:
            settings = read_settings(values)
            break
        except SettingError as error:
            if not preset or not error.is_unknown or error.path in map(key_of, words):
                raise
            if not _fits_its_choices(composer, words, start):
                said = f"experiment={preset} sets {error.path}, which its own choices do not have: leave it out there"
                raise RequestError(said) from error
            *path, name = error.path.split(".")
            del reduce(getitem, path, values)[name]
            left_out.append(error.path)
    which = ", ".join(left_out)
    return settings, [f"not used of experiment={preset}, as other choices are made: {which}"] if left_out else []


def _fits_its_choices(composer: Composer, words: Sequence[str], start: Start) -> bool:
    """Whether an experiment is right by itself, with no other choice than its own."""
    own = [word for word in words if key_of(word) == "experiment" or not composer.is_choice(key_of(word))]
    values = composer.compose(composer.owned(own)).values
    try:
        _take_command(values, start, None)
        read_settings(values)
    except SettingError:
        return False
    return True


def _read_task(values: dict[str, Any], start: Start) -> Bound:
    """Take the words of the command out of a configuration: the task and its own keys, `resume` and its policy."""
    name, _, policy = (values.pop(key, None) for key in ("task", "resume", "resume_plan"))
    if name not in choices("task"):
        raise RequestError(f"task={name or ''}: there is no such task; {nearest(str(name), choices('task'))}")
    if policy and not start.folder:
        raise RequestError(f"resume_plan={policy} says how to go on with a run: give resume= too")
    keys = {key: values.pop(key) for key in defaults(function(name)) if key in values}
    values |= {key: default for key, default in defaults(Settings).items() if key in keys}  # such as tags of compare
    return task(name, **keys)


def _check_plan(segment: Segment) -> None:
    """Refuse a plan that cannot be, and a schedule of the user's that fails at the first update."""
    try:
        plan_run([segment]).rate(0)
    except ValueError as error:
        raise RequestError(first_line(error)) from error


def _check_going_on(folder: RunFolder, settings: Settings, policy: str | None, task_name: str) -> str | None:
    """Check that a run can go on as it is asked to; returns what to say where nothing is left to do."""
    old = read_history(folder.history)[-1].settings
    changed = compare(old, settings)
    effect = describe_devices(old, settings, old.trainer.device_count, settings.trainer.device_count)
    check_policy(changed, old.effects() | settings.effects(), policy, effect)
    if changed or task_name != "train" or not _has_finished(folder):
        return None
    return f"{folder.path} is already finished; extend it with epochs=N resume_plan=..."


def _has_finished(folder: RunFolder) -> bool:
    """Whether the run came to its end; a summary that cannot be read says that it did not."""
    try:
        summary = read_summary(folder.summary)
        return summary.task == "train" and summary.status == "finished"
    except (FileNotFoundError, RequestError):
        return False


def _asked(words: Sequence[str], settings: Settings) -> dict[str, str]:
    """The files that keep what was asked for."""
    return {"overrides.yaml": as_yaml(list(words)), "config.yaml": as_yaml(settings.plain())}
