"""The words of a command, before they are composed: ``key=value`` arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lrtrain.errors import RequestError
from lrtrain.parameters.bound import plain
from lrtrain.parameters.signatures import defaults
from lrtrain.sweeps.command import SweepCommand

PATHS = (
    *("resume", "join", "checkpoint", "run", "runs", "hydra.run.dir", "hydra.sweep.dir"),
    *(f"dataset.{key}" for key in ("file", "data_dir", "inputs", "labels", "path")),
)
"""Keys that take a pasted path, whatever characters are in it."""

NOTHING_CHOSEN = ("feedback=null", "experiment=null")
"""What our configuration says where nothing is chosen; Hydra takes no null from the command line."""


def prepare(words: Sequence[str], *, multirun: bool = False) -> list[str]:
    """The words as Hydra takes them: paths quoted, and nothing chosen by leaving it out.

    Raises:
        RequestError: A path is empty, or something is not a text.
    """
    if odd := [word for word in words if not isinstance(word, str)]:
        raise RequestError(f"words are texts such as 'lr=0.1', got {odd[0]!r}")
    return [_prepared(word, multirun) for word in words]


def _prepared(word: str, multirun: bool) -> str:
    if word in NOTHING_CHOSEN:
        return f"~{word.removesuffix('=null')}"
    key, is_set, value = word.partition("=")
    names_folder = key.startswith("hydra.")
    if key not in PATHS or not is_set or (value == "null" and not names_folder):
        return word
    if value in ("", "null"):
        raise RequestError(f"{key}={value} names no folder: give one")
    several = (multirun and "," in value and not names_folder) or (key == "runs" and value.startswith("["))
    if "${" in value or ((several or re.fullmatch("(['\"]).*\\1", value)) and not _is_there(value)):
        return word
    return f"{key}={quoted(Path(value).expanduser() if value.startswith('~/') else value)}"


def _is_there(path: str) -> bool:
    with suppress(OSError, ValueError):
        return Path(path).exists()
    return False


def key_of(word: str) -> str:
    """The key that a word is about."""
    return word.partition("=")[0].strip().lstrip("+~")


def value_of(key: str, words: Sequence[str]) -> str | None:
    """What a key is set to last, without its quotes; None where it is not."""
    own = (word for word in reversed(words) if key_of(word) == key and not word.startswith("~"))
    value = next((word.partition("=")[2].strip() for word in own), None)
    inner = re.fullmatch("(['\"])(.*)\\1", value or "")
    return inner[2].replace(f"\\{inner[1]}", inner[1]) if inner else value


def names_of(group: str, words: Sequence[str]) -> list[str]:
    """The choices of a group that the words name: one, or of loggers several; none where they name none."""
    value = value_of(group, words) or ""
    return [name for part in value.strip("[]").split(",") if (name := part.strip(" '\""))]


def says(key: str, words: Sequence[str]) -> bool:
    """Whether a word is about a key, or about a whole that it is a part of."""
    return any(key == said or key.startswith(f"{said}.") for said in map(key_of, words))


def is_of_sweep(word: str) -> bool:
    """Whether a word is of a sweep itself; workers=2 is of its jobs, whose data so many processes load."""
    return key_of(word) in defaults(SweepCommand) and not re.fullmatch(r"workers=[\d,\s]*", word)


def as_word(value: Any) -> str:
    """A value as Hydra reads it back."""
    value = plain(value.tolist() if hasattr(value, "tolist") else value)  # of numpy or torch
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{as_word(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(as_word, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    return str(value) if re.fullmatch(r"[\w.%-]+", str(value)) else _in_quotes(str(value))


def quoted(path: object) -> str:
    """A path as Hydra reads it back."""
    if "${" in str(path):
        raise RequestError(f"{path} has ${{ in it, which Hydra would interpolate: rename that folder")
    return _in_quotes(str(path))


def _in_quotes(text: str) -> str:
    """A text in quotes, where a backslash counts only before one."""
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", text).replace("'", "\\'") + "'"
