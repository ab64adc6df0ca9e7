"""The configurations that come with lrtrain: where they are, and which choices each group has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

GROUPS = ("task", "dataset", "model", "optimizer", "feedback", "scheduler", "trainer", "logger", "experiment")


def config_dir() -> Path:
    """The folder of configurations: at the top level of a checkout, inside the package once installed."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


@cache
def choices(group: str) -> tuple[str, ...]:
    """The names of what a group has."""
    return tuple(sorted(path.stem for path in (config_dir() / group).glob("*.yaml")))


def comment(group: str, name: str) -> str:
    """What the comment at the top of a choice says; empty where there is none."""
    lines = (config_dir() / group / f"{name}.yaml").read_text().splitlines()
    return next((line[2:] for line in lines if line.startswith("# ") and "@package" not in line), "")
