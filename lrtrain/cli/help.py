"""The --help page, made from signatures and docstrings; imports no torch."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from lrtrain import loggers
from lrtrain.cli.hints import KINDS
from lrtrain.cli.words import as_word
from lrtrain.configs import GROUPS, choices, comment
from lrtrain.errors import RequestError
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.rules import Choice
from lrtrain.parameters.signatures import defaults, meanings, rules
from lrtrain.schedules import Feedback, Schedule, formula, registered
from lrtrain.settings import AugmentSettings, CurveSettings, GuardSettings, Settings, TrainerSettings, strategy_keys
from lrtrain.sweeps.command import SweepCommand
from lrtrain.tasks import function

HEAD = """\
lrtrain trains a neural network under a learning-rate decay strategy.

  python -m lrtrain scheduler=inverse_time decay=0.01       one run
  python -m lrtrain -m scheduler=step,cosine seed=0,1,2     a sweep: one run for each combination
  python -m lrtrain -m resume=last jobs=2                   go on with a sweep, two jobs at a time
  python -m lrtrain task=preview scheduler=cosine           see the rates before a second of training is paid
  python -m lrtrain task=find_lr                            a base rate to begin with, and how well it is known
  python -m lrtrain task=compare runs=FOLDER                which strategy is best, and how sure that is
  python -m lrtrain task=evaluate                           measure the best weights of the newest run
  python -m lrtrain --cfg job scheduler=cosine              print the configuration, run nothing
  python -m lrtrain --help model=cnn                        the keys of a choice, of dataset=, ..., trainer
"""

FOUNDING = ("exponential", "step", "plateau", "validation_drop", "inverse_time")
"""The strategies that come first."""

COMMAND = {
    "task": ("train", " | ".join(choices("task"))),
    "resume": (None, "go on with a run, or with -m a sweep: its folder, or last for the newest"),
    "resume_plan": (None, "what a changed plan means: keep, stretch, append, switch or weights_only"),
    "claim": ("on", "lock the run's folder; off, where there are no locks: your word that nobody else writes there"),
}
"""Words of the command itself, with their defaults and meanings."""

PARTS = {"trainer": TrainerSettings, "augment": AugmentSettings}
WIDTH = 28


def help_text(words: Sequence[str] = ()) -> str:
    """The whole page, or that of the choices that the words name, such as ``model=cnn`` or ``trainer``.

    Raises:
        RequestError: There is no such choice.
    """
    if words:
        return "\n".join(line for word in words for line in _page_of(word))
    return "\n".join([HEAD, *_root(), *_choices(), *_tasks(), *_strategies()])


def _page_of(word: str) -> list[str]:
    group, _, name = word.partition("=")
    if group in PARTS:
        return [f"{group}: {_first_line(PARTS[group])}", *_keys(PARTS[group], f"  {group}."), ""]
    groups = (*KINDS, "logger", "scheduler", "feedback", "task")
    if group not in groups:
        if owners := [owner for owner in groups if group in choices(owner)]:
            raise RequestError(f"--help {word}: write --help {owners[0]}={group}")
        raise RequestError(f"--help {word}: {nearest(group, [*groups, *PARTS])}")
    if not name:
        return [f"{group}={choice}".ljust(WIDTH) + f"  {_about(group, choice)}".rstrip() for choice in choices(group)]
    if name not in choices(group):
        raise RequestError(f"--help {word}: there is no such {group}; {nearest(name, choices(group))}")
    if group in KINDS:
        return [f"{group}={name}: {_about(group, name)}", *_keys(KINDS[group](name), f"  {group}."), ""]
    if group == "logger":
        keys = _keys(loggers.function(name), f"  logger.{name}.") if name in loggers.KINDS else []
        return [f"logger={name}: {_about(group, name)}", *keys, ""]
    if group == "task":
        return [f"task={name}: {_about(group, name)}", *_keys(function(name), "  "), ""]
    return [f"{group}={name}: {_about(group, name)}", *_strategy_keys(name), ""]


def _root() -> list[str]:
    lines = ["Keys:"]
    lines += [_line("  ", key, default, meaning) for key, (default, meaning) in COMMAND.items()]
    for part in (Settings, GuardSettings):
        lines += [line for line in _keys(part, "  ") if line.lstrip().partition("=")[0] not in GROUPS]
    lines += ["", "What any schedule can be combined with (lengths: 5ep, 300st, 10%, or a number of epochs):"]
    lines += [*_keys(CurveSettings, "  "), "", "Words of a sweep, with -m (--dry-run lists its jobs and runs none):"]
    return [*lines, *_keys(SweepCommand, "  "), ""]


def _choices() -> list[str]:
    lines = [
        "Choices (their keys: --help model=cnn, dataset=csv, objective=regression, optimizer=adamw, logger=wandb, "
        "trainer, augment):"
    ]
    for group in (group for group in GROUPS if group not in ("scheduler", "task")):
        lines.append(f"  {group + '=':{WIDTH}s} {' | '.join(choices(group))}")
    return [*lines, ""]


def _tasks() -> list[str]:
    lines = ["Tasks, each with its own keys:"]
    for name in choices("task"):
        lines += [f"  {'task=' + name:{WIDTH}s} {comment('task', name)}", *_keys(function(name), "    ")]
    return [*lines, ""]


def _strategies() -> list[str]:
    lines = ["Strategies, each with its own keys (an epoch in a formula is the number of completed epochs):"]
    for name in (*FOUNDING, *(name for name in choices("scheduler") if name not in FOUNDING)):
        lines += [f"\n  scheduler={name:20s} {comment('scheduler', name)}", *_strategy_keys(name)]
    return lines


def _strategy_keys(name: str) -> list[str]:
    own = formula(registered(Schedule).get(name) or registered(Feedback)[name])
    return [line for line in _keys(own, "    ") if line.strip().partition("=")[0] in strategy_keys(name)]


def _keys(kind: Callable[..., Any], prefix: str) -> list[str]:
    """A line for each setting that a signature declares."""
    said, limits = meanings(kind), rules(kind)
    shown = {key: value for key, value in defaults(kind).items() if limits[key]}
    return [_line(prefix, key, value, _described(said.get(key, ""), limits[key])) for key, value in shown.items()]


def _described(meaning: str, rule: Any) -> str:
    """A meaning and what the rule admits, where that is not said already."""
    said, limit = meaning.rstrip("."), str(rule or "")
    known = isinstance(rule, Choice) and (
        rule.options == (True, False) or all(str(word) in said for word in rule.options)
    )
    return said if known else "; ".join(filter(None, (said, limit)))


def _line(prefix: str, key: str, default: Any, meaning: str) -> str:
    shown = "" if isinstance(default, type) else as_word(default)  # one that must be given has none
    head = f"{prefix}{f'{key}={shown}':{WIDTH}s} "
    beside = " " * (len(prefix) + WIDTH + 1)
    columns = shutil.get_terminal_size((160, 24)).columns
    return textwrap.fill(head + meaning, max(columns, 60), subsequent_indent=beside, break_on_hyphens=False).rstrip()


def _about(group: str, name: str) -> str:
    declared = {**KINDS, "logger": loggers.function}
    return comment(group, name) or (_first_line(declared[group](name)) if group in declared else "")


def _first_line(kind: Callable[..., Any]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]
