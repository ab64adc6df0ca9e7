"""What models, datasets, objectives and optimizers declare: each setting once, with a default, a rule and a meaning."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import said_of
from omegaconf import OmegaConf

from lrtrain import datasets, models, objectives, optimizers
from lrtrain.configs import config_dir
from lrtrain.parameters.rules import Table
from lrtrain.parameters.signatures import defaults, effects, meanings, rules, signature

FUNCTIONS: dict[str, Callable[[str], Callable[..., Any]]] = {
    "model": models.function,
    "dataset": datasets.function,
    "objective": objectives.function,
    "optimizer": optimizers.function,
}
BINDS: dict[str, Callable[..., Any]] = {
    "model": models.model,
    "dataset": datasets.dataset,
    "objective": objectives.objective,
    "optimizer": optimizers.optimizer,
}
FILES = [path for group in FUNCTIONS for path in sorted((config_dir() / group).glob("*.yaml"))]
GIVEN = {
    "model": ["inputs", "outputs"],
    "dataset": ["asked"],
    "objective": ["targets"],
    "optimizer": ["groups", "lr"],
}
"""What a run has for a function of ours, before its settings."""

MUST_BE_GIVEN = {("model", "custom"), ("model", "lightning"), ("dataset", "custom"), ("optimizer", "custom")}
"""Whose `function` has to be given."""


def configured(path: Path) -> dict[str, Any]:
    """A configuration's own keys with their defaults."""
    values = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(values, dict)
    own = values.get(path.parent.name, values)
    assert own.pop("name") == path.stem
    return {str(key): tuple(value) if isinstance(value, list) else value for key, value in own.items()}


def function(path: Path) -> Callable[..., Any]:
    return FUNCTIONS[path.parent.name](path.stem)


def test_configuration_and_signature_say_the_same() -> None:
    for path in FILES:
        assert configured(path) == defaults(function(path)), path
        assert list(configured(path)) == list(defaults(function(path))), path


def test_settings_are_by_name_only() -> None:
    for path in FILES:
        parameters = signature(function(path)).parameters.values()
        assert {parameter.kind for parameter in parameters} <= {inspect.Parameter.KEYWORD_ONLY}, path


def test_every_setting_has_a_rule_and_a_meaning() -> None:
    for path in FILES:
        names = defaults(function(path)).keys()
        assert [name for name in names if rules(function(path))[name] is None] == [], path
        assert [name for name in names if not meanings(function(path)).get(name)] == [], path
        extra = meanings(function(path)).keys() - names
        assert extra <= {*GIVEN[path.parent.name], "given"}, path


def test_defaults_are_as_they_are_parsed() -> None:
    for path in FILES:
        must_be_given = {"function"} if (path.parent.name, path.stem) in MUST_BE_GIVEN else set()
        for name, default in defaults(function(path)).items():
            rule = rules(function(path))[name]
            if name in must_be_given:
                said = said_of(functools.partial(rule.parse, default))
                assert "must be a place such as my_module:MyClass, got None" in said, (path, name)
            else:
                parsed = rule.parse(default)
                assert parsed == default, (path, name)
                assert rule.parse(parsed) == parsed, (path, name)


def test_configuration_says_nothing_twice() -> None:
    """What a key means, its function says."""
    for path in FILES:
        assert [line for line in path.read_text().splitlines() if "#" in line.lstrip()[1:]] == [], path


def test_what_changes_nothing() -> None:
    found = {(path.parent.name, name) for path in FILES for name in effects(function(path))}
    files = {("dataset", name) for name in ("file", "inputs", "labels", "path")}  # what is in them is compared
    assert found == {("dataset", "data_dir"), ("dataset", "in_memory"), *files}


NO_NAMES: list[Any] = ["", "../x", "os", "__init__", "layers", "building", "Callable", "function", None, 7]


def test_unknown_names() -> None:
    for group, name in itertools.product(FUNCTIONS, NO_NAMES):
        said = said_of(functools.partial(FUNCTIONS[group], name))
        assert re.match(rf"{group}\.name must be the name of an? {group}, got ", said), (group, name)
        assert len(said.splitlines()) == 1, (group, name)


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("model", "custom", {}, "model.function must be a place such as my_module:MyClass, got None"),
    ("model", "cnn", {"kernels": [0]}, "model.kernels must be a whole number >= 1, got 0"),
    ("model", "cnn", {"channels": []}, "model.channels must have 1 entries or more, got []"),
    ("model", "mlp", {"dropout": 1}, "model.dropout must be a number in [0, 1), got 1"),
    ("model", "mlp", {"batch_norm": 1}, "model.batch_norm must be true or false, got 1"),
    ("model", "linear", {"width": 3}, "model.width is not a setting; there are none"),
    ("model", "timm", {"parameters": 3}, "model.parameters must be a table such as {name:value}, got 3"),
    ("dataset", "custom", {"function": "no_such:Data"}, "which cannot be imported: there is no module no_such here"),
    ("dataset", "custom", {"function": "math:pi", "classes": 1}, "dataset.classes must be a whole number >= 2, got 1"),
    ("dataset", "csv", {"file": ""}, "dataset.file must be a name or a path, got ''"),
    ("dataset", "csv", {"drop": "size"}, "dataset.drop must be a list, each a name or a path, got 'size'"),
    ("dataset", "mnist", {"data_dir": None}, "dataset.data_dir must be a name or a path, got None"),
    ("dataset", "text", {"stride": 0}, "dataset.stride must be a whole number >= 1, got 0"),
    (
        "objective",
        "regression",
        {"loss": "focal"},
        "objective.loss must be mse or mae or huber or quantile, or a place",
    ),
    ("objective", "classification", {"class_weights": [1, 0]}, "objective.class_weights must be balanced or a list"),
    ("objective", "auto", {"gamma": 2}, "objective.gamma is not a setting; there are loss, metrics"),
    ("optimizer", "sgd", {"momentum": 1}, "optimizer.momentum must be a number in [0, 1), got 1"),
    ("optimizer", "sgd", {"fused": "yes"}, "optimizer.fused must be true or false, got 'yes'"),
    ("optimizer", "adam", {"betas": [0.9]}, "optimizer.betas must have 2 entries or more, got [0.9]"),
    ("optimizer", "adamw", {"eps": [1, 2]}, "optimizer.eps must be a number > 0, got [1, 2]"),
    ("optimizer", "adafactor", {"eps": [1, 2, "x"]}, "optimizer.eps must be a number > 0, got 'x'"),
    ("optimizer", "muon", {"adamw": ["("]}, "optimizer.adamw must be a regular expression, got '('"),
    ("optimizer", "prodigy", {"growth_rate": 0.5}, "optimizer.growth_rate must be a number >= 1 or inf, got 0.5"),
]


def test_refusals() -> None:
    for group, name, settings, said in REFUSED:
        assert said in said_of(functools.partial(BINDS[group], name, **settings)), (group, name, settings)


def test_tables_are_kept_as_they_are() -> None:
    assert Table().parse({"width": 64}) == {"width": 64}
    assert models.model("timm", parameters={"a": [1]}).parameters["parameters"] == {"a": [1]}


def test_settings_are_read_without_torch() -> None:
    code = (
        "import sys; from lrtrain import datasets, models, objectives, optimizers\n"
        "from lrtrain.configs import config_dir\n"
        "from lrtrain.parameters.signatures import rules\n"
        "for module, group in ((models, 'model'), (datasets, 'dataset'), (objectives, 'objective'), "
        "(optimizers, 'optimizer')):\n"
        "    for path in (config_dir() / group).glob('*.yaml'): rules(module.function(path.stem))\n"
        "print(*sorted({'torch', 'numpy', 'sklearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
