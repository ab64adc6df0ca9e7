"""The words of a command, before they are composed: ``key=value`` arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lrtrain.errors import RequestError

PATHS = ("resume", "checkpoint", "run", "hydra.run.dir", "hydra.sweep.dir")
"""Keys that take a pasted folder name."""

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
    if key not in PATHS or not is_set or value == "null":
        return word
    if not value:
        raise RequestError(f"{key}= is empty: give a folder")
    several = multirun and "," in value
    if "${" in value or several or re.fullmatch("(['\"]).*\\1", value):
        return word
    return f"{key}={quoted(value)}"


def key_of(word: str) -> str:
    """The key that a word is about."""
    return word.partition("=")[0].strip().lstrip("+~")


def value_of(key: str, words: Sequence[str]) -> str | None:
    """What a key is set to last, without its quotes; None where it is not."""
    own = (word for word in reversed(words) if key_of(word) == key and not word.startswith("~"))
    value = next((word.partition("=")[2].strip() for word in own), None)
    inner = re.fullmatch("(['\"])(.*)\\1", value or "")
    return inner[2].replace(f"\\{inner[1]}", inner[1]) if inner else value


def says(key: str, words: Sequence[str]) -> bool:
    """Whether a word is about a key, or about a whole that it is a part of."""
    return any(key == said or key.startswith(f"{said}.") for said in map(key_of, words))


def quoted(path: object) -> str:
    """A path as Hydra reads it back: in quotes, where a backslash counts only before one."""
    if "${" in str(path):
        raise RequestError(f"{path} has ${{ in it, which Hydra would interpolate: rename that folder")
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", str(path)).replace("'", "\\'") + "'"
