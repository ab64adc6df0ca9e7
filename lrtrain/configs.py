"""The configurations that come with lrtrain: where they are, and which choices each group has."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lrtrain.errors import RequestError

GROUPS = (
    "task",
    "dataset",
    "objective",
    "model",
    "optimizer",
    "feedback",
    "scheduler",
    "trainer",
    "logger",
    "experiment",
)


def config_dir() -> Path:
    """The folder of configurations: at the top level of a checkout, inside the package once installed."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


@cache
def choices(group: str) -> tuple[str, ...]:
    """The names of what a group has."""
    return tuple(sorted(path.stem for path in (config_dir() / group).glob("*.yaml")))


def own_file(group: str, name: str, folders: Iterable[Path]) -> Path | None:
    """The first file of a choice in a user's folders of configurations; None where there is none.

    Raises:
        RequestError: One of ours has its name.
    """
    files = (path for folder in folders for path in (folder / group).glob("*.yaml"))
    found = next((path for path in files if path.stem == name), None)
    if found and name in choices(group):
        raise RequestError(f"{found}: {group}={name} is one of ours, which would be taken: give yours another name")
    return found


def comment(group: str, name: str) -> str:
    """What the comment at the top of a choice says; empty where there is none."""
    lines = (config_dir() / group / f"{name}.yaml").read_text().splitlines()
    return next((line[2:] for line in lines if line.startswith("# ") and "@package" not in line), "")
