"""Which jobs a sweep has: their numbers and names, and what may be added to a sweep that goes on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from lrtrain.errors import RequestError, first_line
from lrtrain.parameters.nearest import nearest
from lrtrain.run_folder.sweep_folder import PlannedJob

LONGEST = 120
"""Bytes of a name, so that paths stay short."""


def read_grids(name: str, folders: Iterable[Path]) -> dict[str, str]:
    """A set of grids: the words of each strategy, and under ``common`` those of all.

    Raises:
        RequestError: There is none of that name, or it is not such a file.
    """
    files = {path.stem: path for folder in folders for path in sorted((folder / "sweep").glob("*.yaml"))}
    if name not in files:
        raise RequestError(f"sweep={name}: there is no such set of grids; {nearest(name, list(files))}")
    try:
        found = yaml.safe_load(files[name].read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{files[name]} cannot be read: {first_line(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(words, str) for words in found.values()):
        raise RequestError(f"{files[name]} must have a line for each strategy, such as step: lr=0.03,0.1 gamma=0.1,0.5")
    return {str(strategy): words for strategy, words in found.items()}


def plan_jobs(asked: Iterable[Sequence[str]], before: Sequence[PlannedJob] = ()) -> list[PlannedJob]:
    """The jobs of a sweep, numbered; those that it had `before` stay, and others are numbered on.

    Args:
        asked: The words of each job; what is there twice is one job.
        before: The jobs of a sweep that goes on.

    Raises:
        RequestError: A job of the sweep is no longer asked for; says what differs.
    """
    told = {frozenset(words): list(words) for words in asked}
    known = {frozenset(job.words) for job in before}
    check_kept([job.words for job in before], list(told.values()))
    new = [words for key, words in told.items() if key not in known]
    keys = varied([*(job.words for job in before), *new])
    width = len(before[0].name.partition("_")[0]) if before else len(str(len(new) - 1))
    return [
        *before,
        *(PlannedJob(n, name_job(n, width, words, keys), words) for n, words in enumerate(new, len(before))),
    ]


def check_kept(before: Sequence[Sequence[str]], asked: Sequence[Sequence[str]]) -> None:
    """Refuse a sweep that is no longer asked for what it was; raises RequestError, which says what differs."""
    if not set(map(frozenset, before)) <= set(map(frozenset, asked)):
        raise RequestError(
            f"the sweep was asked for something else: {_difference(before, asked)}; leave that as it was and only add "
            "values, or begin another sweep"
        )


def varied(jobs: Sequence[Sequence[str]]) -> list[str]:
    """The keys that are swept: that have several values."""
    return [key for key, values in _values(jobs).items() if len(values) > 1]


def by_key(words: Sequence[str]) -> dict[str, str]:
    """The values of a job's words, as they are written."""
    split = (word.lstrip("+~").partition("=") for word in words)
    return {key: value for key, _, value in split}


def name_job(number: int, width: int, words: Sequence[str], keys: Sequence[str]) -> str:
    """The name of a job's folder: ``03_scheduler=cosine,seed=0``, of what is swept.

    Args:
        number: From 0.
        width: Digits of the number.
        words: Of the job.
        keys: That are swept.
    """
    own = by_key(words)
    said = re.sub(r"[^\w.,=+%-]", "_", ",".join(f"{key}={own[key]}" for key in keys if key in own))
    if len(said.encode()) > LONGEST:
        digest = hashlib.sha256(said.encode()).hexdigest()[:8]
        said = f"{said.encode()[: LONGEST - 9].decode(errors='ignore')}_{digest}"
    return f"{number:0{width}d}_{said}".rstrip("_")


def _difference(before: Iterable[Sequence[str]], asked: Iterable[Sequence[str]]) -> str:
    """The keys that have lost a value, or have one that they had not, with their values then and now."""
    was, now = _values(before), _values(asked)
    keys = [key for key in dict.fromkeys([*was, *now]) if key not in was or not set(was[key]) <= set(now.get(key, ()))]
    said = (f"{key} {','.join(was.get(key, ['default']))} -> {','.join(now.get(key, ['default']))}" for key in keys)
    return "; ".join(said) or "other combinations of values"


def _values(jobs: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    """The values of each key, each once, in order."""
    found: dict[str, dict[str, None]] = {}
    for words in jobs:
        for key, value in by_key(words).items():
            found.setdefault(key, {})[value] = None
    return {key: list(values) for key, values in found.items()}
