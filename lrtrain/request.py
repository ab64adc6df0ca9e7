"""What was asked for on the command line: composed by Hydra, and checked before anything heavy is imported."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lrtrain import planning
from lrtrain.configs import GROUPS, config_dir, strategies, tasks
from lrtrain.errors import RequestError, first_line
from lrtrain.imports import check_place, named_code
from lrtrain.schedules.parameters import (
    Batches,
    Choice,
    Either,
    Every,
    Instead,
    Length,
    Number,
    Optional,
    Pattern,
    Rate,
    Sequence,
    Table,
    Text,
)

_SETTING = (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)
_POSITIVE_COUNT = Number(low=1, integer=True)
_PROBABILITY = Number(low=0, high=1, open_high=True)
_NOT_NEGATIVE = Number(low=0)
_POSITIVE = Number(low=0, open_low=True)


class Name:
    """The name of a choice in a group, which is also the name of a module of ours."""

    def __init__(self, group: str) -> None:
        self.group = group

    def parse(self, value: object) -> object:
        """Return the name if the group has it, else raise ValueError."""
        names = sorted(path.stem for path in (config_dir() / self.group).glob("*.yaml"))
        if value not in names:
            raise ValueError(f"must be {self}, got {value!r}; {_hint(str(value), names)}")
        return value

    def __str__(self) -> str:
        return f"the name of a {self.group}"


class Code:
    """The place of a user's code."""

    def parse(self, value: object) -> object:
        """Return the text if it names a place in a module that is there, else raise ValueError."""
        if not isinstance(value, str):
            raise ValueError(f"must be {self}, got {value!r}")
        check_place(value)
        return value

    def __str__(self) -> str:
        return "a place such as my_module:MyClass"


class Strategy:
    """The name of a strategy."""

    def parse(self, value: object) -> object:
        """Return the name if there is such a strategy, else raise ValueError."""
        if value not in (names := list(strategies())):
            raise ValueError(f"has no strategy {value!r}; {_hint(str(value), names)}")
        return value

    def __str__(self) -> str:
        return "the name of a strategy"


RULES: dict[str, Any] = {
    "lr": Number(low=0, open_low=True),
    "epochs": _POSITIVE_COUNT,
    "batch_size": _POSITIVE_COUNT,
    "shuffle": Choice((True, False)),
    "drop_last": Choice((True, False)),
    "workers": Number(low=0, integer=True),
    "threads": Optional(_POSITIVE_COUNT),
    "resume_plan": Optional(Choice(("keep", "stretch", "append", "switch", "weights_only"))),
    "checkpoint_every": Every(),
    "on_nonfinite": Choice(("stop", "rollback")),
    "rollback_factor": Number(low=0, high=1, open_low=True, open_high=True),
    "rollbacks": Number(low=0, integer=True),
    "early_stop": Optional(_POSITIVE_COUNT),
    "seed": Number(low=0, high=2**32 - 1, integer=True),
    "monitor_mode": Choice(("auto", "min", "max")),
    "warmup": Length(),
    "warmup_shape": Choice(("linear", "cosine", "1-sqrt", "exponential")),
    "warmup_start": Number(low=0, high=1),
    "min_lr": Rate(),
    "final_cooldown": Length(),
    "final_cooldown_shape": Choice(("linear", "cosine", "1-sqrt")),
    "hold": Optional(Length(positive=True)),
    "stretch": Optional(Length(positive=True)),
    "horizon": Optional(Length(positive=True)),
    "groups": Optional(Table()),
    "hyperparameters": Optional(Table()),
    "log_every": _POSITIVE_COUNT,
    "ema": _PROBABILITY,
    "compile": Choice((True, False)),
    "channels_last": Choice((True, False)),
    "overlay": Sequence(Strategy()),
    "steps_per_epoch": Optional(_POSITIVE_COUNT),
    "split": Choice(("test", "validation", "train")),
    "top": Optional(_POSITIVE_COUNT),
    "no_decay": Choice((True, False)),
    "layer_decay": Number(low=0, high=1, open_low=True),
    **{f"{group}.name": Name(group) for group in ("model", "dataset", "optimizer", "logger")},
    "model.hidden": Sequence(_POSITIVE_COUNT),
    "model.channels": Sequence(_POSITIVE_COUNT, least=1),
    "model.kernels": Sequence(_POSITIVE_COUNT, least=1),
    "model.padding": Number(low=0, integer=True),
    **{f"model.{key}": _POSITIVE_COUNT for key in ("stride", "pool", "depth", "width", "layers", "heads")},
    "model.dropout": _PROBABILITY,
    "augment": Table(),
    "augment.crop": Number(low=0, integer=True),
    "augment.cutout": Number(low=0, integer=True),
    **{f"dataset.{key}": Optional(Text()) for key in ("file", "target", "inputs", "labels")},
    **{f"dataset.{key}": Optional(Text()) for key in ("path", "config", "image", "label")},
    "dataset.data_dir": Text(),
    "dataset.length": _POSITIVE_COUNT,
    "dataset.stride": Optional(_POSITIVE_COUNT),
    "dataset.size": Optional(_POSITIVE_COUNT),
    "dataset.validation": _PROBABILITY,
    "dataset.test": _PROBABILITY,
    "dataset.drop": Sequence(Text()),
    "dataset.in_memory": Optional(Choice((True, False))),
    **{
        f"optimizer.{key}": _NOT_NEGATIVE
        for key in (
            *("weight_decay", "adamw_weight_decay", "dampening", "momentum_decay", "initial_accumulator_value"),
            *("lambd", "t0", "r", "weight_lr_power"),
        )
    },
    **{f"optimizer.{key}": _PROBABILITY for key in ("momentum", "rho", "alpha")},
    **{f"optimizer.{key}": Sequence(_PROBABILITY, least=2) for key in ("betas", "adamw_betas")},
    **{f"optimizer.{key}": _POSITIVE for key in ("adamw_eps", "adamw_lr", "d", "d0", "d_coef")},
    "optimizer.eps": Either((_POSITIVE, Sequence(Optional(_POSITIVE), least=2))),
    "optimizer.beta2_decay": Number(high=0),
    "optimizer.beta3": Optional(_PROBABILITY),
    "optimizer.etas": Sequence(_POSITIVE, least=2, rising=True),
    "optimizer.step_sizes": Sequence(_POSITIVE, least=2, rising=True),
    "optimizer.ns_coefficients": Sequence(Number(), least=3),
    "optimizer.ns_steps": Number(low=1, high=99, integer=True),
    "optimizer.adjust_lr_fn": Optional(Choice(("original", "match_rms_adamw"))),
    "optimizer.adamw": Optional(Sequence(Pattern())),
    "optimizer.slice_p": _POSITIVE_COUNT,
    "optimizer.fused": Optional(Choice((True, False))),
    "optimizer.function": Code(),
    "optimizer.parameters": Optional(Table()),
    **{f"trainer.limit_{part}_batches": Batches() for part in ("train", "val", "test")},
    "trainer.overfit_batches": Either((Choice((0,)), Batches())),
    "trainer.val_check_interval": Batches(),
    "trainer.precision": Choice(("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")),
    "trainer.gradient_clip_val": Optional(_POSITIVE),
    "trainer.gradient_clip_algorithm": Choice(("norm", "value")),
    "trainer.deterministic": Choice((True, False, "warn")),
    "trainer.profiler": Optional(Choice(("simple", "advanced", "pytorch"))),
    "trainer.fast_dev_run": Instead("experiment=fast_dev_run"),
    "trainer.max_epochs": Instead("epochs="),
    "trainer.min_epochs": Instead("epochs="),
    "trainer.max_steps": Instead("epochs=, or trainer.limit_train_batches= for less than an epoch"),
    "trainer.min_steps": Instead("epochs="),
    "trainer.logger": Instead("logger=tensorboard or logger=none"),
    "model.function": Code(),
    "model.parameters": Optional(Table()),
    "dataset.function": Code(),
    "dataset.parameters": Optional(Table()),
    "dataset.classes": Optional(Number(low=2, integer=True)),
    "dataset.tokens": Optional(_POSITIVE_COUNT),
    "trainer.accumulate_grad_batches": _POSITIVE_COUNT,
    "trainer.check_val_every_n_epoch": _POSITIVE_COUNT,
}
"""What a key may be where its default does not say enough; the schedules' own keys are checked by the schedules."""

OTHER_NAMES = {
    "learning_rate": "lr",
    "max_epochs": "epochs",
    "max_lr": "lr",
    "bs": "batch_size",
    "optim": "optimizer",
    "data": "dataset",
    "lr_scheduler": "scheduler",
    "lr_decay": "decay",
    "schedule": "scheduler",
    "warmup_steps": "warmup",
    "step_size": "every",
}
"""What other tools call our keys, where the spelling is too far off to be found as a near match."""


class Request(NamedTuple):
    """A command line, as far as it decides what is composed.

    Attributes:
        overrides: `key=value` arguments.
        multirun: The values may be lists of values to sweep.
        config_name: Which root configuration.
        config_dir: A folder of the user's own configurations, searched after ours.
        said: The overrides of the command itself, where others were read from a run's folder. Only the code that these
            name is run, whatever the others are put together to.
    """

    overrides: list[str]
    multirun: bool = False
    config_name: str = "config"
    config_dir: str | None = None
    said: list[str] | None = None


def check_request(request: Request) -> dict[str, Any]:
    """Compose and check every job of a request.

    In a sweep, a value that is wrong in some of the jobs only is left for those jobs to fail on.

    Returns:
        The configuration of the last job.

    Raises:
        RequestError: A job cannot be composed, or no job would be accepted.
    """
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        jobs = _jobs(request.overrides) if request.multirun else [request.overrides]
        refusals = []
        for overrides in jobs:
            config = _compose(request, overrides)
            if not request.multirun and "MULTIRUN" in str(config.hydra.mode):
                raise RequestError("a sweep is asked for by -m, not by hydra.mode=MULTIRUN")
            _check_code(request, config)
            try:
                check_config(config, _reference(request, config))
            except RequestError as error:
                refusals.append(error)
                continue
            if request.multirun and _starts_processes(config):
                raise RequestError(
                    "a sweep cannot start several processes a job, which would begin the sweep anew; use one device"
                )
    if not jobs:
        raise RequestError("there is no job in this sweep: a list of values, or what glob() found, is empty")
    if len(refusals) == len(jobs):
        raise refusals[0]
    return plain_config(_without_hydra(config))


def _check_code(request: Request, config: DictConfig) -> None:
    """Refuse code that only a run's folder names, before anything looks for it."""
    if request.said is None:
        return
    for place in named_code(plain_config(_without_hydra(config))):
        if not any(place in word for word in request.said):
            raise RequestError(f"the run was started with {place}, which names code to run; say it again to go on")


def check_config(config: DictConfig, reference: dict[str, Any] | None = None) -> None:
    """Check the values of a composed job, and its keys and types against the same choices without overrides.

    Raises:
        RequestError: Says which key is wrong, and what to write.
    """
    plain = plain_config(_without_hydra(config))
    if reference is not None:
        _check_level(plain, reference, "", str(reference["scheduler"]))
    for key, rule in RULES.items():
        _check_rule(plain, key, rule)
    _check_measured(plain)
    _check_together(plain)
    if plain["task"] in ("train", "preview"):
        planning.plan(plain)


def _check_together(values: dict[str, Any]) -> None:
    """Refuse settings that exclude each other."""
    trainer, optimizer = values["trainer"], values["optimizer"]
    clips = trainer["gradient_clip_val"] is not None
    if clips and optimizer.get("fused") and trainer["precision"] == "16-mixed":
        raise RequestError("optimizer.fused=true scales 16-mixed gradients back too late to clip them: leave one out")
    if values["dataset"]["name"] == "custom" and any(values["augment"].values()):
        raise RequestError("augment is for pictures of ours: leave it out, and have your dataset.function change yours")
    if values["ema"] and trainer["precision"] in ("bf16-true", "16-true"):
        raise RequestError(
            f"trainer.precision={trainer['precision']}: weights of 16 bits are too coarse for ema to average; "
            "write trainer.precision=bf16-mixed"
        )
    if optimizer["name"] == "muon" and values["channels_last"]:
        raise RequestError("optimizer.name=muon takes a convolution as a matrix: leave out channels_last")
    if trainer["strategy"] == "fsdp":
        if clips and trainer["gradient_clip_algorithm"] == "norm":
            raise RequestError("trainer=fsdp clips by value only: add trainer.gradient_clip_algorithm=value")
        if values["ema"]:
            raise RequestError("trainer=fsdp shards the weights, and ema needs them whole: leave one out")
        if optimizer["name"] == "muon" or optimizer["name"].startswith("schedulefree"):
            raise RequestError(f"trainer=fsdp shards the weights, and optimizer={optimizer['name']} needs them whole")


def _check_measured(config: dict[str, Any]) -> None:
    """Check what a model of ours measures; a user's LightningModule tells when it is there."""
    if config["model"]["name"] == "lightning":
        if not isinstance(config["monitor"], str):
            raise RequestError(f"monitor must be the name of a metric, got {config['monitor']!r}")
    else:
        _check_rule(config, "monitor", Choice(("val_loss", "val_acc")))
        if config["dataset"]["name"] == "custom" and config["dataset"]["classes"] is None:
            raise RequestError(
                "dataset=custom: give the number of dataset.classes, or a module of yours: model=lightning"
            )
    planning.metric_mode(config)


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The job's configuration as plain values, interpolations resolved."""
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise RequestError(first_line(error)) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _compose(request: Request, overrides: list[str]) -> DictConfig:
    search = [f"hydra.searchpath=[file://{Path(request.config_dir).resolve()}]"] if request.config_dir else []
    try:
        return compose(request.config_name, [*overrides, *search], return_hydra_config=True)
    except Exception as error:  # Hydra raises whatever its parsing of the text runs into
        raise RequestError(_explain(request, overrides) or first_line(error)) from error


def _reference(request: Request, config: DictConfig) -> dict[str, Any]:
    """The configuration with the same choices and nothing else overridden: it says which keys and types there are."""
    chosen = config.hydra.runtime.choices
    choices = {group: chosen[group] for group in GROUPS if chosen.get(group)}
    return plain_config(_compose_choices(request, choices))


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _jobs(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep; what only a search can choose keeps its default here."""
    parsed = [override for override in _parse(overrides) if not _is_search(override)]
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _is_search(override: Override) -> bool:
    return override.is_sweep_override() and not override.is_discrete_sweep()


def _starts_processes(config: DictConfig) -> bool:
    """Whether Lightning would start a run's other processes by the command line of this one."""
    in_this_process = config.trainer.strategy in ("ddp_spawn", "ddp_fork", "ddp_notebook")
    return config.task == "train" and config.trainer.devices not in (1, "1") and not in_this_process


def _parse(overrides: list[str]) -> list[Override]:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        return parser.parse_overrides(overrides)
    except HydraException as error:
        raise RequestError(first_line(error)) from error


def _check_level(values: dict[str, Any], reference: dict[str, Any], prefix: str, scheduler: str) -> None:
    for key in reference.keys() - values.keys():
        raise RequestError(f"{prefix}{key} is missing; leave its default in place")
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in reference:
            if prefix == "trainer.":  # +trainer.NAME reaches every argument of Lightning's Trainer, which checks it
                continue
            raise RequestError(_unknown(path, reference, scheduler))
        if isinstance(reference[key], dict) and isinstance(value, dict):
            _check_level(value, reference[key], f"{path}.", scheduler)
        elif reference[key] is None and path in RULES:
            continue
        elif prefix and prefix != "trainer." and not _same_type(value, reference[key]):
            raise RequestError(f"{path} must be like {reference[key]!r}, got {value!r}")


def _same_type(value: Any, default: Any) -> bool:
    if default is None or value is None:
        return default is None
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _check_rule(values: dict[str, Any], path: str, rule: Any) -> None:
    for part in path.split("."):
        if not isinstance(values, dict) or part not in values:
            return
        values = values[part]
    try:
        parsed = rule.parse(values)
    except ValueError as error:
        raise RequestError(f"{path} {error}") from None
    if type(parsed) is int and isinstance(values, float):
        raise RequestError(f"{path} must be {rule}, got {values!r}: write {parsed}")


def _explain(request: Request, overrides: list[str]) -> str | None:
    """What is wrong with overrides that Hydra cannot compose, or None where we know no better than Hydra."""
    loader = GlobalHydra.instance().config_loader()
    groups = loader.list_groups("")
    chosen: dict[str, str] = {}
    for override in _parse(overrides):
        key = override.key_or_group
        if override.is_sweep_override():
            return f"{override.input_line} holds several values; add -m to run one job for each"
        if key in groups and not override.is_delete():
            value = override.get_value_element_as_str()
            options = loader.get_group_options(key)
            if value not in options:
                return f"{key}={value}: there is no such {key}; {_hint(value, options)}"
            chosen[key] = value
    reference = plain_config(_without_hydra(_compose_choices(request, chosen)))
    for override in _parse(overrides):
        key = override.key_or_group
        if key in groups or key.startswith("hydra") or override.type not in _SETTING:
            continue
        if _has(reference, key) and override.type is OverrideType.ADD:
            return f"there is a {key} already: write it without +"
        if not _has(reference, key) and (override.type is OverrideType.CHANGE or not key.startswith("trainer.")):
            return _unknown(key, reference, chosen.get("scheduler", str(reference["scheduler"])))
    return None


def _compose_choices(request: Request, chosen: dict[str, str]) -> DictConfig:
    try:
        return compose(request.config_name, [f"{group}={choice}" for group, choice in chosen.items()])
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(first_line(error)) from error


def _has(values: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _unknown(path: str, reference: dict[str, Any], scheduler: str) -> str:
    """One line on a key that does not exist: whose it is, or which one was meant."""
    name = path.rpartition(".")[2]
    taken = strategies()
    if path.startswith("scheduler.") and name in taken.get(scheduler, {}):
        return f"there is no key {path}; write {name}=..."
    owners = [strategy for strategy, keys in taken.items() if path in keys]
    if owners:
        own = ", ".join(taken.get(scheduler, {})) or "no keys of its own"
        return f"{path} belongs to scheduler={' or '.join(owners)}; scheduler={scheduler} takes {own}"
    if owners := [task for task, keys in tasks().items() if path in keys]:
        return f"{path} belongs to task={' or '.join(owners)}"
    if name in OTHER_NAMES:
        return f"there is no key {path}; write {OTHER_NAMES[name]}=..."
    elsewhere = {key: strategy for strategy, keys in reversed(taken.items()) for key in keys}
    near = difflib.get_close_matches(path, elsewhere, n=1)
    if near and not difflib.get_close_matches(path, reference, n=1, cutoff=0.8):
        return f"there is no key {path}; did you mean {near[0]}, of scheduler={elsewhere[near[0]]}?"
    return f"there is no key {path}; {_hint(path, [*GROUPS, *_leaves(reference)])}"


def _leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    leaves = []
    for key, value in values.items():
        leaves += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return leaves


def _hint(wrong: str, options: list[str]) -> str:
    """The nearest option, by its whole path or its last part, else all of them."""
    ends = {option.rpartition(".")[2]: option for option in reversed(options)} | {option: option for option in options}
    near = difflib.get_close_matches(wrong, ends, n=1) or difflib.get_close_matches(wrong.rpartition(".")[2], ends, n=1)
    return f"did you mean {ends[near[0]]}?" if near else f"there are {', '.join(options)}"
