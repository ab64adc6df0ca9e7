"""The settings of a run: typed, frozen, checked, and readable back from a configuration or a run's folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from lrtrain import datasets, loggers, models, objectives, optimizers
from lrtrain.callbacks import CallbackTable
from lrtrain.configs import choices
from lrtrain.errors import RequestError
from lrtrain.objectives.metrics import direction
from lrtrain.parameters.bound import Bound, Checked, plain
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.rules import (
    Batches,
    Choice,
    Count,
    Either,
    Every,
    Factor,
    FileName,
    Length,
    ListOf,
    NonNegative,
    Number,
    OptionalCount,
    OptionalTable,
    OrNull,
    Positive,
    PositiveCount,
    Probability,
    Rate,
    RunLength,
    Text,
)
from lrtrain.parameters.signatures import UNKNOWN, Affects, SettingError, bind, defaults, effects
from lrtrain.parameters.spans import Span, SpanLike
from lrtrain.schedules import Feedback, Schedule, by_name, constant, formula, registered, step
from lrtrain.schedules.combinators import CooldownShape, RampShape

DERIVED = ("mode", "min_scale")
"""What a feedback rule is told by other settings: `monitor_mode` and `min_lr`."""

INSTEAD = {
    "fast_dev_run": "experiment=fast_dev_run",
    "max_epochs": "epochs=",
    "min_epochs": "epochs=",
    "max_steps": "epochs=300st",
    "min_steps": "epochs=",
    "callbacks": "callbacks=[my_module:MyCallback]",
    "logger": f"logger={' or logger='.join(choices('logger'))}, or several of them as logger=[A,B]",
}
"""What to write instead of some arguments of Lightning's Trainer."""

HARDWARE = ("accelerator", "devices", "num_nodes", "strategy")
"""The arguments of the Trainer that say what a run runs on."""


_DEVICES = Either((Number(low=-1, integer=True), Text(), ListOf(Number(low=0, integer=True), least=1)))


@dataclass(frozen=True, kw_only=True)
class CurveSettings(Checked):
    """What any schedule can be combined with. Lengths are 5ep (epochs), 300st (updates), 10% (of the run), or epochs.

    Args:
        warmup: ramp up to the schedule over this length
        warmup_shape: linear, cosine, 1-sqrt or exponential
        warmup_start: the ramp rises from this share of the rate
        min_lr: the rate never falls below this once warmed up: 1e-4, or 1% of lr
        hold: change the rate only at the start of each such period, such as 1ep
        final_cooldown: anneal to 0 over this last part of the run
        final_cooldown_shape: linear, cosine or 1-sqrt
        stretch: length of the run that the schedule was written for; it is scaled to this one
        horizon: where schedules with an end reach it, if not at the end of the run
    """

    warmup: Annotated[SpanLike, Length(), Affects.CURVE] = 0
    warmup_shape: Annotated[RampShape, Affects.CURVE] = "linear"
    warmup_start: Annotated[float, Number(low=0, high=1), Affects.CURVE] = 0.0
    min_lr: Annotated[float | str, Rate(), Affects.CURVE] = 0.0
    hold: Annotated[SpanLike | None, OrNull(Length(positive=True)), Affects.CURVE] = None
    final_cooldown: Annotated[SpanLike, Length(), Affects.CURVE] = 0
    final_cooldown_shape: Annotated[CooldownShape, Affects.CURVE] = "linear"
    stretch: Annotated[SpanLike | None, OrNull(Length(positive=True)), Affects.CURVE] = None
    horizon: Annotated[SpanLike | None, OrNull(Length(positive=True)), Affects.CURVE] = None


@dataclass(frozen=True, kw_only=True)
class GuardSettings(Checked):
    """What happens when the loss or the gradient is not finite.

    Args:
        on_nonfinite: stop; or rollback to the last checkpoint, at rates times rollback_factor
        rollback_factor: multiplies the rates after a rollback
        rollbacks: how many at most
    """

    on_nonfinite: Annotated[Literal["stop", "rollback"], Affects.NOTHING] = "stop"
    rollback_factor: Annotated[Factor, Affects.NOTHING] = 0.5
    rollbacks: Annotated[Count, Affects.NOTHING] = 3


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(Checked):
    """Random changes to training samples.

    Args:
        mixup: train on mixtures of two samples and their losses, by a share from Beta(mixup, mixup) for each batch
        flip: mirror half of the pictures left to right
        crop: move by up to this many pixels each way
        cutout: side of a square that is set to zero
    """

    PATH: ClassVar[str] = "augment."

    mixup: Annotated[NonNegative, Affects.RUN] = 0.0
    flip: Annotated[bool, Affects.RUN] = False
    crop: Annotated[Count, Affects.RUN] = 0
    cutout: Annotated[Count, Affects.RUN] = 0


@dataclass(frozen=True, kw_only=True)
class TrainerSettings(Checked):
    """Arguments of lightning.pytorch.Trainer; others are added with +trainer.NAME=VALUE.

    Args:
        accelerator: auto, cpu or gpu
        devices: how many train together, a list of them, or auto
        strategy: auto, ddp or fsdp
        precision: 32-true, bf16-mixed, 16-mixed, bf16-true, 16-true or 64-true
        accumulate_grad_batches: batches per update
        gradient_clip_val: clip gradients at this norm, or value
        gradient_clip_algorithm: norm or value
        check_val_every_n_epoch: epochs between validations
        val_check_interval: validate so often per epoch: a share of it, or a number of batches
        limit_train_batches: use a share of the training batches, or a number of them
        limit_val_batches: the same of the validation batches
        limit_test_batches: the same of the test batches
        overfit_batches: train on the same first batches again and again, and validate on as many
        deterministic: let torch use deterministic algorithms only
        profiler: simple, advanced or pytorch: where the time goes
        enable_progress_bar: show one, in a terminal or a notebook
        others: further arguments, by name
    """

    PATH: ClassVar[str] = "trainer."

    accelerator: Annotated[str, Text("a name"), Affects.NOTHING] = "auto"
    devices: Annotated[int | str | Sequence[int], _DEVICES, Affects.RUN] = 1
    strategy: Annotated[str, Text("a name"), Affects.RUN] = "auto"
    precision: Annotated[
        Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"], Affects.RUN
    ] = "32-true"
    accumulate_grad_batches: Annotated[PositiveCount, Affects.RUN] = 1
    gradient_clip_val: Annotated[float | None, OrNull(Number(low=0, open_low=True)), Affects.RUN] = None
    gradient_clip_algorithm: Annotated[Literal["norm", "value"], Affects.RUN] = "norm"
    check_val_every_n_epoch: Annotated[PositiveCount, Affects.RUN] = 1
    val_check_interval: Annotated[float, Batches(), Affects.RUN] = 1.0
    limit_train_batches: Annotated[float, Batches(), Affects.RUN] = 1.0
    limit_val_batches: Annotated[float, Batches(), Affects.RUN] = 1.0
    limit_test_batches: Annotated[float, Batches(), Affects.RUN] = 1.0
    overfit_batches: Annotated[float, Either((Choice((0,)), Batches())), Affects.RUN] = 0
    deterministic: Annotated[bool | str, Choice((True, False, "warn")), Affects.RUN] = False
    profiler: Annotated[str | None, OrNull(Choice(("simple", "advanced", "pytorch"))), Affects.NOTHING] = None
    enable_progress_bar: Annotated[bool, Affects.NOTHING] = True
    others: Annotated[Mapping[str, Any], Affects.RUN] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for name in self.others:
            if name in INSTEAD:
                raise SettingError(f"trainer.{name}", f"is not used here: write {INSTEAD[name]}")

    @property
    def device_count(self) -> int | None:
        """How many devices train together, all nodes taken together; None where that is left to Lightning."""
        here = str(self.devices if isinstance(self.devices, int | str) else len(self.devices))
        nodes = str(self.others.get("num_nodes", 1))
        return int(here) * int(nodes) if here.isdecimal() and nodes.isdecimal() else None

    @property
    def is_alone(self) -> bool:
        """Whether the run has one process."""
        return self.device_count == 1

    def batch_limit(self, key: str) -> tuple[float, str]:
        """How many of the batches Lightning uses, and the key and value that say so."""
        if self.overfit_batches and key != "limit_test_batches":
            key = "overfit_batches"
        limit: float = getattr(self, key)
        return limit, f"trainer.{key}={limit}"


class Metric(NamedTuple):
    """The metric that feedback, "best" and early stopping look at.

    Attributes:
        name: As the validation logs it.
        mode: A smaller (min) or a larger (max) one is better.
    """

    name: str
    mode: str

    @classmethod
    def of(cls, name: str, mode: str = "auto") -> Metric:
        """The metric of a name; its mode is empty where auto cannot tell."""
        return cls(name, direction(name) if mode == "auto" else mode)

    @property
    def worst(self) -> float:
        """Worse than any other value."""
        return -math.inf if self.mode == "max" else math.inf

    def improves(self, value: float, best: float) -> bool:
        """Whether a value is better than the best."""
        return value < best if self.mode == "min" else value > best


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """Everything that decides a run.

    Args:
        name: of the run, or the sweep, where it is kept and logged; null: the strategy's
        tags: words to find the run by, where it is logged: [baseline,paper]
        lr: base learning rate, which the schedule multiplies; auto finds it; an optimizer may bring its own default
        lr_scale: lr is for a batch of lr_for_batch: scale it to this run's by their ratio (linear), or its root (sqrt)
        lr_for_batch: samples per update that lr is for; this run's are batch_size, devices and accumulation multiplied
        epochs: length of the run: passes over the training data (20), or optimizer updates (300st)
        batch_size: samples per batch, on each device
        shuffle: draw a new order of the training samples every epoch; false keeps theirs
        sampler: balanced draws as many samples an epoch, again and again, so that each class comes equally often
        drop_last: leave out an epoch's last batch if it is smaller than the others
        workers: processes that load the batches; data in memory is faster without
        threads: CPU threads; null: 1 for a small network, all for a larger one
        checkpoint_every: how often last.ckpt is written: 1ep, 500st, 10min; auto takes 1 % of the time
        early_stop: end the run after this many validations without an improvement of the monitored metric
        seed: of the weights and the data order; the split of the data does not depend on it
        monitor: what feedback and "best" look at: val_loss, val_acc, or another metric of the objective or the module
        monitor_mode: whether less (min) or more (max) of it is better; auto knows losses, errors and torchmetrics' own
        log_every: updates between log points
        diagnosis: say at the end what the curves tell of the rate, and what to try
        ema: judge the run by a moving average of its weights that keeps this share at each update: 0.999
        compile: compile the model by torch.compile
        channels_last: keep pictures and convolutions with the channels last in memory
        groups: rates of parameter groups by name pattern: {0.*:0.1} multiplies; also lr_mult, frozen, a scheduler
        no_decay: no weight decay on biases and normalisation layers
        layer_decay: multiply the rate by this for each layer further from the output
        hyperparameters: other settings on a schedule: {weight_decay:{scheduler:cosine,high:0.04,low:0.4}}
        scheduler: the strategy's name; its own keys stand beside it
        logger: where it is logged besides metrics.csv; one, several as in [tensorboard,csv], or none
        callbacks: of Lightning's or your own: [device_stats,my_module:MyCallback]
        augment: random changes to training samples
        curve: what the schedule is combined with
        guard: what happens when the loss is not finite
        trainer: arguments of Lightning's Trainer
        schedule: the strategy's curve
        feedback: the rule that looks at the validation
        model: what is trained
        dataset: on what
        objective: to tell what of a sample; auto takes what the targets ask for
        optimizer: by what
    """

    name: Annotated[str | None, OrNull(FileName()), Affects.NOTHING] = None
    tags: Annotated[Sequence[str], ListOf(Text("a word")), Affects.NOTHING] = ()
    lr: Annotated[Positive, Affects.CURVE] = 0.1
    lr_scale: Annotated[str | None, OrNull(Choice(("linear", "sqrt"))), Affects.CURVE] = None
    lr_for_batch: Annotated[PositiveCount, Affects.CURVE] = 256
    epochs: Annotated[SpanLike, RunLength(), Affects.LENGTH] = 20
    batch_size: Annotated[PositiveCount, Affects.RUN] = 32
    shuffle: Annotated[bool, Affects.RUN] = True
    sampler: Annotated[str | None, OrNull(Choice(("balanced",))), Affects.RUN] = None
    drop_last: Annotated[bool, Affects.RUN] = False
    workers: Annotated[Count, Affects.NOTHING] = 0
    threads: Annotated[OptionalCount, Affects.NOTHING] = None
    checkpoint_every: Annotated[SpanLike, Every(), Affects.NOTHING] = "auto"
    early_stop: Annotated[OptionalCount, Affects.NOTHING] = None
    seed: Annotated[int, Number(low=0, high=2**32 - 1, integer=True), Affects.RUN] = 0
    monitor: Annotated[str, Text("the name of a metric"), Affects.CURVE] = "val_loss"
    monitor_mode: Annotated[Literal["auto", "min", "max"], Affects.CURVE] = "auto"
    log_every: Annotated[PositiveCount, Affects.NOTHING] = 10
    diagnosis: Annotated[bool, Affects.NOTHING] = True
    ema: Annotated[Probability, Affects.RUN] = 0.0
    compile: Annotated[bool, Affects.RUN] = False
    channels_last: Annotated[bool, Affects.RUN] = False
    groups: Annotated[OptionalTable, Affects.RUN] = None
    no_decay: Annotated[bool, Affects.RUN] = False
    layer_decay: Annotated[float, Number(low=0, high=1, open_low=True), Affects.RUN] = 1.0
    hyperparameters: Annotated[OptionalTable, Affects.RUN] = None
    scheduler: Annotated[str, Affects.CURVE] = ""
    logger: Annotated[Sequence[Bound], Affects.NOTHING] = field(
        default_factory=lambda: (loggers.logger("tensorboard"),)
    )
    callbacks: Annotated[Sequence[Mapping[str, Any]], ListOf(CallbackTable()), Affects.NOTHING] = ()
    augment: AugmentSettings = AugmentSettings()
    curve: CurveSettings = CurveSettings()
    guard: GuardSettings = GuardSettings()
    trainer: TrainerSettings = TrainerSettings()
    schedule: Schedule = field(default_factory=step)
    feedback: Feedback | None = None
    model: Bound = field(default_factory=lambda: models.model("mlp"))
    dataset: Bound = field(default_factory=lambda: datasets.dataset("digits"))
    objective: Bound = field(default_factory=lambda: objectives.objective(objectives.AUTO))
    optimizer: Bound = field(default_factory=lambda: optimizers.optimizer("sgd"))

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if not self.scheduler:
            object.__setattr__(self, "scheduler", self.schedule.name)
        for refusal in _refusals(self):
            raise RequestError(refusal)
        if self.feedback:
            told = {"mode": self.metric.mode}
            known = by_name(self.feedback.name, {**self.feedback.parameters, **told}, Feedback)
            object.__setattr__(self, "feedback", known)

    @property
    def metric(self) -> Metric:
        """The monitored metric."""
        return Metric.of(self.monitor, self.monitor_mode)

    @property
    def strategy(self) -> str:
        """The strategy's name for people, with that of a feedback rule on top of it."""
        own = self.feedback and self.feedback.name != self.scheduler
        return f"{self.scheduler} x {self.feedback.name}" if self.feedback and own else self.scheduler

    @property
    def is_built_in(self) -> bool:
        """Whether the model is one that we train, not a LightningModule of the user's."""
        return self.model.name != "lightning"

    @property
    def batch(self) -> int:
        """Samples per update: all devices and accumulated batches taken together."""
        return self.batch_size * (self.trainer.device_count or 1) * self.trainer.accumulate_grad_batches

    @property
    def base_lr(self) -> float:
        """The rate that the schedule multiplies: `lr`, or what it is at this batch.

        Source: Goyal et al. 2017, arXiv:1706.02677 (linear, for SGD); Malladi et al. 2022, arXiv:2205.10287 (sqrt, for
        Adam).
        """
        ratio = self.batch / self.lr_for_batch
        return self.lr * {"linear": ratio, "sqrt": math.sqrt(ratio)}.get(self.lr_scale or "", 1.0)

    @property
    def least_share(self) -> float:
        """`min_lr` as a share of the base rate."""
        least = self.curve.min_lr
        return float(least[:-1]) / 100 if isinstance(least, str) else least / self.base_lr

    def plain(self) -> dict[str, Any]:
        """The configuration that `read_settings` reads as these settings: plain values, as Hydra composes them."""
        root = {name: plain(getattr(self, name)) for name in _own(Settings)}
        fed = self.feedback.parameters if self.feedback else {}
        strategy = {**self.schedule.parameters, **{name: value for name, value in fed.items() if name not in DERIVED}}
        trainer = {name: plain(getattr(self.trainer, name)) for name in _own(TrainerSettings) if name != "others"}
        kinds = {name: getattr(self, name) for name in KINDS}
        return root | {
            "epochs": self.epochs.value if self.epochs.unit == "ep" else str(self.epochs),  # type: ignore[union-attr]
            **plain(strategy),
            "feedback": self.feedback.name if self.feedback else None,
            **plain(self.curve),
            **plain(self.guard),
            "augment": plain(self.augment),
            "logger": {each.name: plain(each.parameters) for each in self.logger},
            "trainer": trainer | dict(self.trainer.others),
            **{kind: {"name": bound.name, **plain(bound.parameters)} for kind, bound in kinds.items()},
        }

    def effects(self) -> dict[str, Affects]:
        """What each key of a configuration affects; what is not there affects the training itself."""
        kinds = {kind: effects(getattr(self, kind).function) for kind in KINDS}
        found = {f"{kind}.{name}": what for kind, own in kinds.items() for name, what in own.items()}
        for part in (Settings, CurveSettings, GuardSettings, TrainerSettings, AugmentSettings):
            found |= {f"{part.PATH}{name}": what for name, what in effects(part).items()}
        own = {*strategy_keys(self.scheduler), *(self.feedback.parameters if self.feedback else ()), "feedback"}
        return found | dict.fromkeys(own, Affects.CURVE)


def _own(kind: type) -> list[str]:
    """The fields of a type that have a place of their own in a configuration."""
    return [item.name for item in fields(kind) if item.name in effects(kind)]


def _monitored(objective: Bound) -> list[str]:
    """What may be monitored under an objective, as far as is known before the data is read."""
    return [f"val_{name}" for name in ("loss", *objectives.measured(objective.name), *objective.parameters["metrics"])]


def _refusals(settings: Settings) -> Iterator[str]:
    """What several settings together do not fulfil, one line each."""
    trainer, curve, optimizer, own = settings.trainer, settings.curve, settings.optimizer, settings.schedule.parameters
    clips, fsdp = trainer.gradient_clip_val is not None, trainer.strategy == "fsdp"
    length = Span.parse(settings.epochs)
    if optimizer.name == "muon" and settings.channels_last:
        yield "optimizer=muon takes a convolution as a matrix: leave out channels_last"
    if clips and optimizer.parameters.get("fused") and trainer.precision.endswith("-mixed"):
        yield f"optimizer.fused=true takes {trainer.precision} gradients too late to clip them: leave one out"
    if settings.dataset.name == "custom" and settings.augment != AugmentSettings():
        yield "augment is for built-in image datasets: leave it out, and have your dataset.function change yours"
    if settings.ema and trainer.precision in ("bf16-true", "16-true"):
        yield f"trainer.precision={trainer.precision}: EMA needs 32-bit weights; write trainer.precision=bf16-mixed"
    if fsdp and clips and trainer.gradient_clip_algorithm == "norm":
        yield "trainer=fsdp clips by value only: add trainer.gradient_clip_algorithm=value"
    if fsdp and settings.ema:
        yield "trainer=fsdp shards the weights, and ema needs them whole: leave one out"
    if fsdp and (optimizer.name == "muon" or optimizer.name.startswith("schedulefree")):
        yield f"trainer=fsdp shards the weights, and optimizer={optimizer.name} needs them whole"
    if settings.is_built_in and settings.monitor not in (known := _monitored(settings.objective)):
        yield f"monitor={settings.monitor}: {nearest(settings.monitor, known)}; objective.metrics=[NAME] adds others"
    if not settings.metric.mode:
        yield f"monitor={settings.monitor}: set monitor_mode=min or max: is less or more of it better?"
    if settings.least_share > 1:
        yield f"min_lr={str(curve.min_lr).removesuffix('.0')} is above lr={settings.base_lr:g}"
    if settings.lr_scale and trainer.device_count is None:
        yield f"lr_scale={settings.lr_scale} counts the devices: give their number, trainer.devices=N"
    if settings.sampler and (settings.dataset.name == "custom" or not settings.shuffle or trainer.overfit_batches):
        yield "sampler= draws for built-in datasets: leave out dataset=custom, shuffle=false, trainer.overfit_batches"
    if not settings.shuffle and not trainer.is_alone:
        yield "shuffle=false is for one device: others would get batches of unequal number"
    if length.unit == "ep" and trainer.check_val_every_n_epoch > length.value:
        yield "trainer.check_val_every_n_epoch is more than epochs: no validation would run"
    if own.get("three_phase") and not 0 < own["pct_start"] <= 0.5:
        yield f"one_cycle: three phases need a pct_start in (0, 0.5], got {own['pct_start']}"


KINDS = {"model": models, "dataset": datasets, "objective": objectives, "optimizer": optimizers}
"""The rooms whose functions are chosen by name, and declare the keys of their choice."""

PARTS = {"curve": CurveSettings, "guard": GuardSettings}
"""The types whose fields stand at the root of a configuration."""


def read_settings(values: Mapping[str, Any], *, stored: bool = False) -> Settings:
    """The settings that a configuration holds.

    Args:
        values: Plain values, as Hydra composes them or `Settings.plain` wrote them.
        stored: They were written by a version of lrtrain that may have known fewer or more keys: what is missing takes
            its default, and what is not known is left out.

    Raises:
        RequestError: A key is unknown or missing, or a value is not admitted.
    """
    left = dict(values)
    found: dict[str, Any] = {}
    found["scheduler"], found["schedule"], found["feedback"] = _take_strategy(left)
    if stored:  # by a version that only classified
        left.setdefault("objective", {"name": objectives.AUTO})
    for kind, group in KINDS.items():
        found[kind] = _take_kind(left, kind, group, stored)
    found["trainer"] = _take_trainer(left, stored)
    found["augment"] = AugmentSettings(**_known(_mapping(left, "augment"), AugmentSettings, "augment.", stored))
    found["logger"] = _take_loggers(left, stored)
    for name, part in PARTS.items():
        found[name] = part(**_take(left, _own(part), stored))
    own = [name for name in _own(Settings) if name not in ("scheduler", "logger")]
    found |= _take(left, own, stored)
    if left and not stored:
        raise SettingError(next(iter(left)), UNKNOWN, (*values.keys() - left.keys(),))
    return Settings(**found)


def _take(left: dict[str, Any], names: list[str], stored: bool) -> dict[str, Any]:
    missing = [name for name in names if name not in left]
    if missing and not stored:
        raise SettingError(missing[0], "is missing; leave its default in place")
    return {name: left.pop(name) for name in names if name in left}


def _mapping(left: dict[str, Any], name: str) -> dict[str, Any]:
    value = left.pop(name, {})
    if not isinstance(value, Mapping):
        raise SettingError(name, f"must be a table such as {{name:value}}, got {value!r}")
    return {str(key): item for key, item in value.items()}


def _known(values: dict[str, Any], kind: Callable[..., Any], path: str, stored: bool) -> dict[str, Any]:
    """The values whose names a signature has; others are refused by it, where the values were not stored."""
    names = defaults(kind)
    if not stored and (missing := [name for name in names if name not in values]):
        raise SettingError(f"{path}{missing[0]}", "is missing; leave its default in place")
    if unknown := [name for name in values if name not in names and not stored]:
        raise SettingError(f"{path}{unknown[0]}", UNKNOWN, tuple(f"{path}{name}" for name in names))
    return {name: value for name, value in values.items() if name in names}


def _take_name(left: dict[str, Any], group: str) -> str:
    values = _mapping(left, group)
    name = values.pop("name", None)
    if name not in choices(group):
        raise SettingError(f"{group}.name", f"must be the name of a {group}, got {name!r}", choices(group), name)
    left[group] = values
    return str(name)


def _take_kind(left: dict[str, Any], kind: str, group: Any, stored: bool) -> Bound:
    name = _take_name(left, kind)
    known = _known(_mapping(left, kind), group.function(name), f"{kind}.", stored)
    return getattr(group, kind)(name, **known)  # type: ignore[no-any-return]


def _take_loggers(left: dict[str, Any], stored: bool) -> tuple[Bound, ...]:
    values = _mapping(left, "logger")
    if "none" in values and len(values) > 1:
        raise RequestError("logger=none logs nowhere: leave it out, or the others")
    values.pop("none", None)
    known = {
        name: _known(_mapping(values, name), loggers.function(name), f"logger.{name}.", stored) for name in [*values]
    }
    return tuple(loggers.logger(name, **own) for name, own in known.items())


def _take_trainer(left: dict[str, Any], stored: bool) -> TrainerSettings:
    values = _mapping(left, "trainer")
    own = [name for name in _own(TrainerSettings) if name != "others"]
    if not stored and (missing := [name for name in own if name not in values]):
        raise SettingError(f"trainer.{missing[0]}", "is missing; leave its default in place")
    known = {name: values.pop(name) for name in own if name in values}
    return TrainerSettings(**known, others=values)


def _take_strategy(left: dict[str, Any]) -> tuple[str, Schedule, Feedback | None]:
    """The strategy's name, its curve, and its feedback, with their own keys."""
    name, rule = left.pop("scheduler", "step"), left.pop("feedback", None)
    if not isinstance(name, str) or name not in choices("scheduler"):
        raise SettingError("scheduler", f"has no strategy {name!r}", choices("scheduler"), name)
    if rule is not None and rule not in choices("feedback"):
        raise SettingError("feedback", f"must be null or the name of a rule, got {rule!r}", choices("feedback"), rule)
    curve = constant() if name in registered(Feedback) else _bound(left, Schedule, name)
    return name, curve, _bound(left, Feedback, rule) if rule else None


def _bound(left: dict[str, Any], kind: type, name: str) -> Any:
    function = formula(registered(kind)[name])
    values = {key: left.pop(key) for key in strategy_keys(name) if key in left}
    bind(function, (), values, "")  # errors name the key as it stands in the configuration
    return by_name(name, values, kind)


def strategy_keys(name: str) -> dict[str, Any]:
    """The own keys of a strategy or a feedback rule, with their defaults."""
    factory = registered(Schedule).get(name) or registered(Feedback)[name]
    return {key: value for key, value in defaults(formula(factory)).items() if key not in DERIVED}
