"""What a run was asked for, under what a command asks now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lrtrain.cli.words import key_of, names_of, says, value_of
from lrtrain.configs import GROUPS, choices, config_dir, own_file
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import flat
from lrtrain.parameters.places import named_code
from lrtrain.plan.history import read_stored
from lrtrain.run_folder.folder import RunFolder
from lrtrain.settings import HARDWARE, strategy_keys

Values = dict[str, Any]

KINDS = ("model", "dataset", "objective", "optimizer")
MEASURED = (
    "model",
    "dataset",
    "objective",
    "trainer",
    "batch_size",
    "drop_last",
    "workers",
    "seed",
    "compile",
    "channels_last",
)
"""What decides the outputs of a checkpoint; what decides rates and records does not."""


def stored_of(folder: RunFolder) -> list[Values]:
    """The configurations that a run has had, the present one last, as plain values; none of a folder without a run.

    Raises:
        RequestError: They cannot be read.
    """
    return [dict(segment["settings"]) for segment in read_stored(folder.history)] if folder.history.exists() else []


def choose(stored: Values, words: Sequence[str], folders: Sequence[Path], *, to_measure: bool = False) -> list[str]:
    """The words of a command, after those that choose what the run had and the command says nothing of."""
    set_now = _set_by_choices(words, folders)
    wanted = {kind: _mapping(stored, kind).get("name") for kind in (KINDS[:3] if to_measure else KINDS)}
    if not to_measure:
        scheduler = stored.get("scheduler")
        wanted["scheduler"] = scheduler
        if stored.get("feedback") != scheduler and value_of("scheduler", words) not in choices("feedback"):
            wanted["feedback"] = stored.get("feedback")
    first = []
    for group, name in wanted.items():
        chosen = value_of(group, words)
        if name is None or group in set_now or (chosen and not chosen.startswith("{")) or f"~{group}" in words:
            continue
        if name not in choices(group):
            raise RequestError(f"the run had {group}={name!r}, which this version does not have")
        first.append(f"{group}={name}")
    if not to_measure and "logger" in stored and "logger" not in set_now and not names_of("logger", words):
        first.append(f"logger=[{','.join(_loggers(stored))}]")
    return [*first, *words]


def _loggers(stored: Values) -> list[str]:
    """The loggers that the run had."""
    names = list(_mapping(stored, "logger"))
    if unknown := [name for name in names if name not in choices("logger")]:
        raise RequestError(f"the run had logger={unknown[0]!r}, which this version does not have")
    return names


def merge(
    stored: Values, composed: Values, words: Sequence[str], folders: Sequence[Path], *, to_measure: bool = False
) -> Values:
    """The configuration of a run that goes on: its own, but for what a command says, and what its choices bring.

    Args:
        stored: Of the run.
        composed: Of the words of the command, after `choose`.
        words: Of the command.
        folders: Of the user's own configurations.
        to_measure: A checkpoint of the run is measured, on the hardware of this command and without its limits.
    """
    named = [*map(key_of, words), *_set_by_choices(words, folders)]
    # trainer=cpu says what a run runs on, and nothing of the other arguments of the Trainer; logger=[wandb,csv] where
    # it is logged, and nothing of how.
    own = any(own_file("logger", name, folders) for name in names_of("logger", words))
    groups = {"trainer", *(() if own else ("logger",))}
    said = [*(key for key in named if key not in groups), *_replaced(stored, composed, named)]
    if to_measure:
        said += [*(key for key in composed if key not in MEASURED), "trainer.limit_test_batches"]
        said += [f"trainer.{name}" for name in HARDWARE]
    return _over(stored, composed, [f"{key}=" for key in said], "")


def check_code(values: Sequence[Values], composed: Values) -> None:
    """Refuse code that only a run's folder names, before anything looks for it.

    Args:
        values: The configurations that are to be read.
        composed: Of the words of the command.

    Raises:
        RequestError: Names the code.
    """
    foreign = named_code(list(values)) - named_code(composed)
    if foreign:
        keys = [f"{key}={value}" for each in values for key, value in flat(each).items() if str(value) in foreign]
        named = dict.fromkeys(keys or sorted(foreign))
        raise RequestError(f"the run was started with {', '.join(named)}, code to run: repeat this option to confirm")


def _over(stored: Mapping[str, Any], composed: Values, said: Sequence[str], prefix: str) -> Values:
    merged = {}
    for key, value in composed.items():
        path = f"{prefix}{key}"
        if key not in stored or says(path, said):
            merged[key] = value
        elif prefix in ("", "logger.") and isinstance(value, dict) and isinstance(stored[key], Mapping) and value:
            merged[key] = _over(stored[key], value, said, f"{path}.")
        else:
            merged[key] = stored[key]
    if prefix == "trainer.":  # further arguments of Lightning's
        merged |= {
            key: value for key, value in stored.items() if key not in merged and not says(f"trainer.{key}", said)
        }
    return merged


def _replaced(stored: Values, composed: Values, named: Sequence[str]) -> list[str]:
    """The keys that belong to a choice that is another now."""
    found = [kind for kind in KINDS if _mapping(stored, kind).get("name") != composed[kind]["name"]]
    if "trainer" in named:
        found += [f"trainer.{name}" for name in HARDWARE]
    if stored.get("scheduler") != composed["scheduler"]:
        found += ["scheduler", *strategy_keys(str(composed["scheduler"]))]
    if stored.get("feedback") != composed["feedback"]:
        found += ["feedback", *(strategy_keys(composed["feedback"]) if composed["feedback"] else ())]
    former = _mapping(stored, "optimizer").get("name")
    own_rate = (
        _loaded(config_dir() / "optimizer" / f"{former}.yaml").get("lr", 0.1) if former in choices("optimizer") else 0.1
    )
    if "optimizer" in found and stored.get("lr") == own_rate:
        found.append("lr")
    return found


def _set_by_choices(words: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The keys and groups that an experiment sets, and a choice of the user's own beside those of its group."""
    found: list[str] = []
    for group, name in [(each, name) for each in GROUPS for name in names_of(each, words)]:
        own = own_file(group, name, folders)
        if own is None and (group != "experiment" or name not in choices(group)):
            continue
        values = _loaded(own or config_dir() / group / f"{name}.yaml")
        parts = [item for item in values.pop("defaults", []) if isinstance(item, dict)]
        found += [str(key).removeprefix("override /") for item in parts for key in item]
        found += flat(values)
    return found


def _loaded(path: Path) -> Values:
    """What a file says at the root of a configuration."""
    if not path.is_file() or "@package _global_" not in path.read_text():
        return {}
    values = OmegaConf.to_container(OmegaConf.load(path))
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}
