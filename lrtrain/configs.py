"""The configurations that come with lrtrain: where they are, and what keys each strategy has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

GROUPS = ("task", "dataset", "model", "optimizer", "feedback", "scheduler", "trainer", "logger", "experiment")


def config_dir() -> Path:
    """The folder of configurations: at the top level of a checkout, inside the package once installed."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def strategies(group: str = "scheduler") -> dict[str, dict[str, Any]]:
    """Each strategy's own short keys with their defaults, by name."""
    found = {}
    for path in sorted((config_dir() / group).glob("*.yaml")):
        values = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(values, dict)
        if values.pop("defaults", None):
            values |= strategies("feedback")[path.stem]
        found[path.stem] = {str(key): value for key, value in values.items() if key not in (*GROUPS, "hydra")}
    return found


def tasks() -> dict[str, dict[str, Any]]:
    """Each task's own keys with their defaults, by name."""
    return strategies("task")
