"""The --help page, made from the configurations and the schedules' own signatures and docstrings."""

from __future__ import annotations

from pathlib import Path

from lrtrain.configs import GROUPS, config_dir, strategies
from lrtrain.schedules import Feedback, Schedule, formula, registered
from lrtrain.schedules.parameters import meanings, rules

HEAD = """\
lrtrain trains a neural network under a learning-rate decay strategy.

  python -m lrtrain scheduler=inverse_time decay=0.01       one run
  python -m lrtrain -m scheduler=step,cosine seed=0,1,2     a sweep: one run for each combination
  python -m lrtrain task=preview scheduler=cosine           see the rates before a second of training is paid
  python -m lrtrain task=evaluate                           measure the best weights of the newest run
  python -m lrtrain --cfg job scheduler=cosine              print the configuration, run nothing
"""


def help_text() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_keys(), *_choices(), *_tasks(), *_strategies()])


def _keys() -> list[str]:
    return ["Keys:", *(f"  {line}" for line in _settings(config_dir() / "config.yaml")), ""]


def _tasks() -> list[str]:
    lines = ["Tasks, each with its own keys:"]
    for path in sorted((config_dir() / "task").glob("*.yaml")):
        lines.append(f"  {'task=' + path.stem:28s} {_comment(path)}")
        lines += [f"    {line}" for line in _settings(path)]
    return [*lines, ""]


def _settings(path: Path) -> list[str]:
    """The keys of a configuration that it says the meaning of."""
    lines = [line for line in path.read_text().splitlines() if "#" in line and ":" in line]
    return [_equals(line) for line in lines if not line.startswith("#")]


def _equals(line: str) -> str:
    setting, _, meaning = line.partition("#")
    key, _, value = setting.partition(":")
    return f"{key + '=' + value.strip():28s} {meaning.strip()}"


def _choices() -> list[str]:
    lines = ["Choices:"]
    for group in (group for group in GROUPS if group != "scheduler"):
        names = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
        lines.append(f"  {group + '=':28s} {' | '.join(names)}")
    return [*lines, ""]


def _strategies() -> list[str]:
    lines = ["Strategies, each with its own keys (an epoch in a formula is the number of completed epochs):"]
    factories = {**registered(Schedule), **registered(Feedback)}
    for name, keys in strategies().items():
        function = formula(factories[name])
        lines.append(f"\n  scheduler={name:20s} {_comment(config_dir() / 'scheduler' / f'{name}.yaml')}")
        limits, said = rules(function), meanings(function)
        for key, default in keys.items():
            about = "; ".join(filter(None, (said.get(key, "").rstrip("."), str(limits.get(key) or ""))))
            lines.append(f"    {key + '=' + _shown(default):26s} {about}")
    return lines


def _comment(path: Path) -> str:
    """What the comment at the top of a configuration says; of a strategy, its formula."""
    lines = path.read_text().splitlines()
    return next(line[2:] for line in lines if line.startswith("# ") and "@package" not in line)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
