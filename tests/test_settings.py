"""Settings are one value: checked where they are made, and the same after they were written and read."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import FrozenInstanceError, fields
from itertools import zip_longest

import pytest
from conftest import requested, settings_of

from lrtrain.configs import choices
from lrtrain.errors import RequestError
from lrtrain.parameters.signatures import Affects, SettingError, effects, meanings, rules
from lrtrain.plan.changes import check_policy, compare
from lrtrain.schedules import cosine, plateau
from lrtrain.settings import (
    AugmentSettings,
    CurveSettings,
    GuardSettings,
    Settings,
    TrainerSettings,
    read_settings,
)

PARTS = (Settings, CurveSettings, GuardSettings, TrainerSettings, AugmentSettings)
NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "custom": {
        "model": ("model.function=json:loads",),
        "optimizer": ("optimizer.function=json:loads",),
    },
    "lightning": {"model": ("model.function=json:loads",)},
}
"""What some choices cannot do without."""
TOGETHER: tuple[dict[str, Sequence[str]], ...] = (
    {"scheduler": [name for name in choices("scheduler") if name != "custom"]}
    | {group: choices(group) for group in ("optimizer", "logger", "trainer")},
    {"feedback": choices("feedback"), "model": choices("model"), "dataset": ["digits"]},
)
"""Groups whose first choices are made at once, and then their second ones, and so on."""
CHOSEN = [
    {group: name for group, name in zip(groups, names, strict=True) if name}
    for groups in TOGETHER
    for names in zip_longest(*groups.values())
]


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda chosen: ",".join(chosen.values()))
def test_same_after_they_were_written(chosen: Mapping[str, str]) -> None:
    needed = [word for group, name in chosen.items() for word in NEEDED.get(name, {}).get(group, ())]
    settings = settings_of(*(f"{group}={name}" for group, name in chosen.items()), *needed)
    written = json.loads(json.dumps(settings.plain()))
    assert read_settings(written) == settings
    assert read_settings(written).plain() == settings.plain()


def test_defaults_are_those_of_the_command_line() -> None:
    assert Settings() == settings_of()


def test_made_in_python_as_on_the_command_line() -> None:
    made = Settings(schedule=cosine(end=0.1), feedback=plateau(patience=5), lr=0.5, epochs="300st")
    assert made == settings_of(
        "scheduler=cosine", "end=0.1", "feedback=plateau", "patience=5", "lr=0.5", "epochs=300st"
    )


def test_a_value() -> None:
    settings = settings_of("scheduler=wsd", "warmup=5%")
    assert pickle.loads(pickle.dumps(settings)) == settings
    with pytest.raises(FrozenInstanceError):
        settings.lr = 3  # type: ignore[misc]


def test_words_of_the_command_are_no_settings() -> None:
    """A job has the same settings alone, in a sweep and in a preview."""
    request = requested("task=preview", "steps_per_epoch=7")
    assert request.task.parameters["steps_per_epoch"] == 7
    assert request.job.settings == settings_of()
    assert not {"task", "resume", "resume_plan", "claim", "steps_per_epoch"} & request.job.settings.plain().keys()


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_says_what_it_is(part: type) -> None:
    named = {item.name for item in fields(part)}
    own = {name for name in named if rules(part)[name] or name in effects(part)}
    assert set(effects(part)) == own, "what a new setting affects must be said"
    assert own <= set(meanings(part)), "and what it means"
    assert named - own <= {
        "schedule",
        "feedback",
        "model",
        "dataset",
        "objective",
        "optimizer",
        "augment",
        "curve",
        "guard",
        "trainer",
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Settings(lr=-1), "lr must be a number > 0, got -1"),
        (lambda: Settings(epochs=0), "epochs must be a whole number"),
        (lambda: TrainerSettings(precision=7), "trainer.precision must be"),  # type: ignore[arg-type]
        (lambda: Settings(ema=0.9, trainer=TrainerSettings(precision="bf16-true")), "EMA needs 32-bit weights"),
        (lambda: Settings(curve=CurveSettings(min_lr=1)), "min_lr=1 is above lr=0.1"),
        (lambda: Settings(sampler="balanced", shuffle=False), "leave out dataset=custom, shuffle=false"),
        (lambda: Settings(monitor="f1"), "monitor=f1: there are val_loss, val_acc"),
    ],
)
def test_wrong_values(make: Callable[[], object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        make()


def test_error_is_data() -> None:
    plain = Settings().plain()
    with pytest.raises(SettingError) as caught:
        read_settings({**plain, "optimizer": {**plain["optimizer"], "momentum": 2}})
    assert caught.value.path == "optimizer.momentum"
    assert caught.value.said == "must be a number in [0, 1), got 2"


@pytest.mark.parametrize(
    ("words", "affects"),
    [
        ("lr=0.5", Affects.CURVE),
        ("epochs=7", Affects.LENGTH),
        ("epochs=30st", Affects.LENGTH),
        ("scheduler=cosine", Affects.CURVE),
        ("gamma=0.3", Affects.CURVE),
        ("warmup=2ep", Affects.CURVE),
        ("batch_size=7", Affects.RUN),
        ("model.hidden=[7]", Affects.RUN),
        ("optimizer.momentum=0", Affects.RUN),
        ("trainer.limit_val_batches=1", Affects.RUN),
        ("ema=0.5", Affects.RUN),
        ("+trainer.detect_anomaly=true", Affects.RUN),
        ("seed=3", Affects.RUN),
    ],
)
def test_changes_are_found(words: str, affects: Affects) -> None:
    old, new = settings_of(), settings_of(words)
    changed = compare(old, new)
    told = old.effects() | new.effects()
    assert changed
    assert {told.get(key, Affects.RUN) for key in changed} == {affects}
    able = {Affects.LENGTH: {"keep", "stretch", "append", "switch"}, Affects.CURVE: {"append", "switch"}}
    for policy in ("keep", "stretch", "append", "switch"):
        if policy in able.get(affects, set()):
            check_policy(changed, told, policy)
        else:
            with pytest.raises(RequestError, match=f"resume_plan={policy} cannot change"):
                check_policy(changed, told, policy)


@pytest.mark.parametrize(
    "words",
    [
        *(
            "workers=2",
            "threads=1",
            "checkpoint_every=1ep",
            "log_every=1",
            "logger=none",
            "logger=[csv,wandb]",
            "early_stop=3",
        ),
        *("on_nonfinite=rollback", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
        *("every=5", "epochs=20ep", "lr=1e-1"),
    ],
)
def test_what_affects_neither_rates_nor_data(words: str) -> None:
    assert compare(settings_of(), settings_of(words)) == {}


def test_one_batch_is_not_all_of_them() -> None:
    changed = compare(settings_of("trainer.limit_val_batches=1"), settings_of("trainer.limit_val_batches=1.0"))
    assert changed == {"trainer.limit_val_batches": (1, 1.0)}
