"""What was meant by a word that does not exist: near matches, and whose key it is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from lrtrain.configs import GROUPS, choices
from lrtrain.parameters.bound import flat
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.signatures import SettingError, defaults
from lrtrain.settings import KINDS as ROOMS
from lrtrain.settings import Settings, strategy_keys
from lrtrain.tasks import function

KINDS = {group: room.function for group, room in ROOMS.items()}
"""What declares the keys of a group's choices."""

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
    "gpus": "trainer.devices=...",
    "weight_decay": "optimizer.weight_decay=...",
    "data_dir": "dataset.data_dir=...",
}
"""What other tools call our keys, where the spelling is too far off to be found as a near match."""

OTHER_STRATEGIES = {
    "ConstantLR": "scheduler=piecewise",
    "LinearLR": "warmup=10st warmup_start=0.1",
    "StepLR": "scheduler=step",
    "MultiStepLR": "scheduler=multistep",
    "ExponentialLR": "scheduler=exponential",
    "LambdaLR": "scheduler=custom",
    "MultiplicativeLR": "scheduler=exponential",
    "PolynomialLR": "scheduler=polynomial",
    "CosineAnnealingLR": "scheduler=cosine",
    "CosineAnnealingWarmRestarts": "scheduler=cosine_restarts",
    "CyclicLR": "scheduler=cyclic",
    "OneCycleLR": "scheduler=one_cycle",
    "SequentialLR": "scheduler=join",
    "ChainedScheduler": "scheduler=product",
    "SWALR": "scheduler=piecewise interpolation=cosine",
    "get_constant_schedule": "scheduler=constant",
    "get_constant_schedule_with_warmup": "scheduler=constant warmup=10st",
    "get_linear_schedule_with_warmup": "scheduler=linear warmup=10st",
    "get_cosine_schedule_with_warmup": "scheduler=cosine warmup=10st",
    "get_cosine_with_hard_restarts_schedule_with_warmup": "scheduler=cosine_restarts warmup=10st",
    "get_cosine_with_min_lr_schedule_with_warmup": "scheduler=cosine end=0.1 warmup=10st",
    "get_polynomial_decay_schedule_with_warmup": "scheduler=polynomial warmup=10st",
    "get_inverse_sqrt_schedule": "scheduler=inverse_sqrt shifted=true warmup=10st",
    "get_wsd_schedule": "scheduler=wsd warmup=10st",
    "CosineLRScheduler": "scheduler=cosine",
    "StepLRScheduler": "scheduler=step",
    "MultiStepLRScheduler": "scheduler=multistep",
    "PolyLRScheduler": "scheduler=polynomial",
    "ExponentialDecay": "scheduler=exponential per=step",
    "InverseTimeDecay": "scheduler=inverse_time per=step",
    "PiecewiseConstantDecay": "scheduler=piecewise",
    "PolynomialDecay": "scheduler=polynomial",
    "CosineDecay": "scheduler=cosine",
    "CosineDecayRestarts": "scheduler=cosine_restarts",
    "constant_schedule": "scheduler=constant",
    "linear_schedule": "scheduler=linear",
    "polynomial_schedule": "scheduler=polynomial",
    "cosine_decay_schedule": "scheduler=cosine exponent=2",
    "exponential_decay": "scheduler=exponential per=step",
    "piecewise_constant_schedule": "scheduler=piecewise",
    "piecewise_interpolate_schedule": "scheduler=piecewise interpolation=linear",
    "warmup_constant_schedule": "scheduler=constant warmup=10st",
    "warmup_cosine_decay_schedule": "scheduler=cosine warmup=10st",
    "warmup_exponential_decay_schedule": "scheduler=exponential per=step warmup=10st",
    "cosine_onecycle_schedule": "scheduler=one_cycle",
    "join_schedules": "scheduler=join at=restart",
    "StepScheduler": "scheduler=step",
    "MultiStepScheduler": "scheduler=multistep",
    "LinearScheduler": "scheduler=linear",
    "ExponentialScheduler": "scheduler=exponential",
    "PolynomialScheduler": "scheduler=polynomial",
    "CosineAnnealingScheduler": "scheduler=cosine",
    "CosineAnnealingWarmRestartsScheduler": "scheduler=cosine_restarts",
    "MultiStepWithWarmupScheduler": "scheduler=multistep warmup=10st",
    "LinearWithWarmupScheduler": "scheduler=linear warmup=10st",
    "CosineAnnealingWithWarmupScheduler": "scheduler=cosine warmup=10st",
    "ReduceLROnPlateau": "scheduler=plateau",
    "reduce_on_plateau": "scheduler=plateau",
    "PlateauLRScheduler": "scheduler=plateau",
    "get_reduce_on_plateau_schedule": "scheduler=plateau",
    "GreedyLR": "scheduler=greedy",
    "TanhLRScheduler": "scheduler=tanh",
    "fit_one_cycle": "scheduler=one_cycle",
    "fit_flat_cos": "scheduler=wsd shape=cosine",
}
"""What other libraries call our strategies; conf/scheduler/COMING_FROM.md has the numbers of both."""


def explain_choice(group: str, value: str, options: Sequence[str]) -> str:
    """One line on a choice that a group does not have."""
    theirs = {name.lower(): words for name, words in OTHER_STRATEGIES.items()}
    if group == "scheduler" and (words := theirs.get(value.lower())):
        return f"scheduler={value} is {words} here, with your numbers; conf/scheduler/COMING_FROM.md has what differs"
    return f"{group}={' '.join(value.split())}: there is no such {group}; {nearest(value, options)}"


def explain_key(path: str, known: dict[str, Any]) -> str:
    """One line on a key that does not exist: whose it is, or which one was meant.

    Args:
        path: The key.
        known: The configuration that it was looked for in.
    """
    if not path:
        return "there is a word without a key before its =: write key=value"
    within, _, name = path.rpartition(".")
    scheduler = str(known.get("scheduler"))
    others = [key for key in [*GROUPS, *flat(known)] if key != path and not key.startswith(f"{path}.")]
    taken = {strategy: strategy_keys(strategy) for strategy in choices("scheduler")}
    if path.startswith("scheduler.") and name in taken.get(scheduler, {}):
        return f"there is no key {path}; write {name}=..."
    if owners := [strategy for strategy, keys in taken.items() if path in keys]:
        own = ", ".join(taken.get(scheduler, {})) or "no keys of its own"
        return f"{path} belongs to scheduler={' or '.join(owners)}; scheduler={scheduler} takes {own}"
    if owners := [task for task in choices("task") if path in defaults(function(task))]:
        return f"{path} belongs to task={' or '.join(owners)}"
    if within in (f"logger.{choice}" for choice in choices("logger") if choice not in known.get("logger", ())):
        return f"{path} belongs to {within.replace('.', '=')}: add that"
    if name in OTHER_NAMES and path != OTHER_NAMES[name].removesuffix("=..."):
        return f"there is no key {path}; write {OTHER_NAMES[name]}"
    owned = next(((group, names) for group in KINDS if (names := _owners(group, name))), None)
    if within in KINDS:
        chosen = str(known[within].get("name"))
        keys, choosing = _keys(within, chosen), _owners(within, name)
        near = difflib.get_close_matches(path, [f"{within}.{key}" for key in keys], n=1)
        if choosing or not near:
            whose = f"; it belongs to {within}={' or '.join(choosing)}" if choosing else ""
            return f"there is no key {path}{whose}; {within}={chosen} takes {', '.join(keys) or 'none'}"
        return f"there is no key {path}; did you mean {near[0]}?"
    if owned and not any(key.rpartition(".")[2] == name for key in others):
        return f"there is no key {path}; write {owned[0]}.{name}=..., of {owned[0]}={' or '.join(owned[1])}"
    elsewhere = {key: strategy for strategy, keys in reversed(taken.items()) for key in keys}
    near = difflib.get_close_matches(path, elsewhere, n=1)
    if near and not difflib.get_close_matches(path, others, n=1, cutoff=0.8):
        return f"there is no key {path}; did you mean {near[0]}, of scheduler={elsewhere[near[0]]}?"
    return f"there is no key {path}; {nearest(path, others)}"


def explain_word(word: str) -> str:
    """One line on a word that is no key=value, or whose value cannot be read."""
    key, is_set, value = (word := " ".join(word.split())).partition("=")  # in one line
    if not is_set:
        groups = [group for group in reversed(GROUPS) if key in choices(group)]
        keys = [*GROUPS, *flat(Settings().plain())]
        instead = f"{groups[0]}={key}" if groups else f"{key}=VALUE" if key in keys else "key=value, such as lr=0.1"
        return f"{key or 'an empty word'} is no setting: write {instead}, without spaces"
    if value.endswith(","):
        return f"{word} ends in a comma: write {word.rstrip(',')}"
    return f"{word} cannot be read: a text with other than letters, digits and ./%-_ is put in quotes, \"{key}='...'\""


def explain_flag(flag: str, flags: Sequence[str]) -> str:
    """One line on a flag that does not exist."""
    if near := difflib.get_close_matches(flag, flags, n=1, cutoff=0.8):
        return f"there is no {flag}; did you mean {near[0]}?"
    word = flag.lstrip("-")
    return f"there is no {flag}: settings have no dashes, write {word if '=' in word else f'{word}=VALUE'}"


def _owners(group: str, key: str) -> list[str]:
    """The choices of a group that have a key."""
    return [choice for choice in choices(group) if key in _keys(group, choice)]


def _keys(group: str, choice: str) -> list[str]:
    return [*defaults(KINDS[group](choice))] if choice in choices(group) else []


def explain_setting(error: SettingError) -> str:
    """The line of a setting that is not admitted, with the nearest of the names that there are."""
    wrong = error.path if error.value is None else str(error.value)
    return f"{error}; {nearest(wrong, error.known)}" if error.known else str(error)
