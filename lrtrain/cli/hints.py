"""What was meant by a word that does not exist: near matches, and whose key it is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from lrtrain.configs import GROUPS, choices
from lrtrain.parameters.bound import flat
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.signatures import SettingError, defaults
from lrtrain.settings import strategy_keys
from lrtrain.tasks import function

OTHER_NAMES = {
    "learning_rate": "lr=...",
    "max_epochs": "epochs=...",
    "max_steps": "epochs=300st",
    "max_lr": "lr=...",
    "bs": "batch_size=...",
    "optim": "optimizer=...",
    "data": "dataset=...",
    "lr_scheduler": "scheduler=...",
    "lr_decay": "decay=...",
    "schedule": "scheduler=...",
    "warmup_steps": "warmup=...",
    "step_size": "every=...",
    "devices": "trainer.devices=...",
    "weight_decay": "optimizer.weight_decay=...",
    "data_dir": "dataset.data_dir=...",
}
"""What other tools call our keys, where the spelling is too far off to be found as a near match."""


def explain_choice(group: str, value: str, options: Sequence[str]) -> str:
    """One line on a choice that a group does not have."""
    return f"{group}={' '.join(value.split())}: there is no such {group}; {nearest(value, options)}"


def explain_key(path: str, known: dict[str, Any]) -> str:
    """One line on a key that does not exist: whose it is, or which one was meant.

    Args:
        path: The key.
        known: The configuration that it was looked for in.
    """
    if not path:
        return "there is a word without a key before its =: write key=value"
    name, scheduler = path.rpartition(".")[2], str(known.get("scheduler"))
    others = [key for key in [*GROUPS, *flat(known)] if key != path]
    taken = {strategy: strategy_keys(strategy) for strategy in choices("scheduler")}
    if path.startswith("scheduler.") and name in taken.get(scheduler, {}):
        return f"there is no key {path}; write {name}=..."
    if owners := [strategy for strategy, keys in taken.items() if path in keys]:
        own = ", ".join(taken.get(scheduler, {})) or "no keys of its own"
        return f"{path} belongs to scheduler={' or '.join(owners)}; scheduler={scheduler} takes {own}"
    if owners := [task for task in choices("task") if path in defaults(function(task))]:
        return f"{path} belongs to task={' or '.join(owners)}"
    if name in OTHER_NAMES and path != OTHER_NAMES[name].removesuffix("=..."):
        return f"there is no key {path}; write {OTHER_NAMES[name]}"
    elsewhere = {key: strategy for strategy, keys in reversed(taken.items()) for key in keys}
    near = difflib.get_close_matches(path, elsewhere, n=1)
    if near and not difflib.get_close_matches(path, others, n=1, cutoff=0.8):
        return f"there is no key {path}; did you mean {near[0]}, of scheduler={elsewhere[near[0]]}?"
    return f"there is no key {path}; {nearest(path, others)}"


def explain_setting(error: SettingError) -> str:
    """The line of a setting that is not admitted, with the nearest of the names that there are."""
    value = error.said.rpartition("got ")[2].strip("'\"") if "got " in error.said else error.path
    value = error.said.partition("'")[2].rpartition("'")[0] or value
    return f"{error}; {nearest(value, error.known)}" if error.known else str(error)
