"""The one writer of an optimizer's learning rate."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.hooks import RemovableHandle

from lrtrain.schedules import Feedback, Observed, Progress

Curve: TypeAlias = Callable[[Progress], float]


class Scheduler(LRScheduler):
    """Sets ``group["lr"] = base_lr * schedule(progress) * feedback.scale`` before every optimizer update.

    The position is the number of updates that the optimizer has really done: the scheduler counts them itself, so
    accumulated batches and updates that a `GradScaler` skips do not advance it, and `step()` may be called after
    every update, once an epoch, or never; it works on until `detach()`, kept by its optimizer. Copies and pickles of an
    optimizer together with its scheduler go on as a pair of their own.

    It is the only writer: a rate that somebody else has set is an error at the next update. A group's base rate is its
    ``initial_lr``, or its rate when the scheduler first sees it, which may be in the middle of the run.

    The state holds the position and the feedback only: after `load_state_dict` the schedule and the base rates are
    still those this object was built with.

    Example:
        >>> scheduler = Scheduler(optimizer, warmup(cosine(), "5%"), total_steps=1000, steps_per_epoch=100)
        >>> for batch in batches:
        ...     loss(batch).backward()
        ...     optimizer.step()  # the next update has its own rate

    Args:
        optimizer: Any `torch.optim.Optimizer`, or one that wraps another; a rate that is a tensor is changed in place.
        schedule: Maps `Progress` to a multiplier; or one for each group, by the group's ``name``.
        total_steps: Updates in the run; needed by schedules with an end and by lengths in percent.
        steps_per_epoch: Updates in an epoch; needed by schedules that count epochs.
        feedback: A rule such as ``plateau(factor=0.5)``; give it each validation's metric by `observe`, or let a
            trainer do so that takes torch's plateau: it takes a scheduler with feedback for one.
        min_factor: The feedback reduces no further than to this share of the base rate.
        min_lr: The feedback reduces no further than to this rate; or one for some groups, by name.
        hyperparameters: Schedules of other settings of the groups, by name; what they return is the value itself.
            ``momentum`` is Adam's first beta. Instead of one schedule there may be some for groups, by the group's
            name. A group may name settings that are not to be touched in its ``fixed``.
        last_epoch: torch's word for the index of the last update done; -1 where the run begins.

    Raises:
        ValueError: A length is not positive, a group has no schedule, or a schedule needs a length that is not given.
        RuntimeError: The optimizer has a scheduler already.
        TypeError: It is no optimizer that tells of its updates.
    """

    def __new__(cls, *args: Any, feedback: Feedback | None = None, **kwargs: Any) -> Scheduler:
        """Trainers give a metric to nothing but what they take for torch's plateau."""
        return super().__new__(_Observing if feedback is not None and cls is Scheduler else cls)

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Curve | Mapping[str, Curve],
        *,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        feedback: Feedback | None = None,
        min_factor: float = 0.0,
        min_lr: float | Mapping[str, float] = 0.0,
        hyperparameters: Mapping[str, Curve | Mapping[str, Curve]] | None = None,
        last_epoch: int = -1,
    ) -> None:
        for each in schedule.values() if isinstance(schedule, Mapping) else [schedule]:
            if isinstance(each, Feedback):
                instead = f"Scheduler(optimizer, constant(), feedback={each.name}())"
                raise ValueError(f"{each.name} looks at the validation: give {instead}")
        # torch's own constructor patches optimizer.step to guess whether updates happen; the hooks below know.
        for name, value in {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        self.optimizer = optimizer
        self.schedule = schedule
        self.feedback = feedback
        self.min_factor = min_factor
        self.min_lr = min_lr
        self.hyperparameters = dict(hyperparameters or {})
        self.steps_per_epoch = steps_per_epoch
        self.base_lrs: list[Any] = []
        self.used_lrs: list[float] = []
        self.state = Observed()
        self._total_steps = total_steps
        self._position = last_epoch + 1
        self._common = None if isinstance(schedule, Mapping) else schedule
        self._curves: list[Curve] = []
        self._least: list[float] = []
        self._rates: list[float] = []
        self._written: list[Any] = []
        self._settings: dict[tuple[int, str], float] = {}
        self._handles: list[RemovableHandle] = []
        self._inner = _innermost(optimizer)
        self._attach()
        try:
            self._write()
        except BaseException:
            self.detach()
            raise
        self._last_lr: list[Any] = self._rates

    @staticmethod
    def of(optimizer: Optimizer) -> Scheduler | None:
        """The scheduler that sets the rates of an optimizer; None if it has none."""
        found = _SCHEDULERS.get(_innermost(optimizer))
        return found() if found else None

    @property
    def last_epoch(self) -> int:
        """The updates done: torch's name for a scheduler's position."""
        return self._position

    @last_epoch.setter
    def last_epoch(self, value: int) -> None:
        # Who counts calls of step() counts on: the updates are counted here.
        if value < self._position:
            raise RuntimeError(
                "a Scheduler counts the updates itself and cannot be set back, as torch's SequentialLR does: "
                "give one Scheduler join([first, second], [length]) of lrtrain.schedules"
            )

    @property
    def _step_count(self) -> int:
        """The calls of `step()` as torch counts them, had there been one after each update; accelerate reads it."""
        return self._position + 1

    @_step_count.setter
    def _step_count(self, value: int) -> None:
        pass

    @property
    def total_steps(self) -> int:
        """Updates in the run; where that is not known there is no such attribute, as accelerate expects."""
        if self._total_steps is None:
            raise AttributeError("this scheduler was not given total_steps")
        return self._total_steps

    def step(self, epoch: Any = None, metrics: Any = None) -> None:
        """Let `get_last_lr` be the rates of the next update; with a metric, `observe` it.

        Args:
            epoch: A whole number is torch's and timm's epoch, which is not needed; any other is a metric, as torch's
                plateau takes it.
            metrics: The metric, as Lightning and torch's plateau give one.

        Raises:
            ValueError: There is a metric but no feedback rule, or with one a whole number that may be either.
            RuntimeError: Somebody else has set a rate.
        """
        if metrics is None and not isinstance(epoch, Integral):
            epoch, metrics = None, epoch
        if metrics is not None:
            self.observe(float(metrics))
        elif epoch is not None and self.feedback is not None:
            raise ValueError(f"step({epoch}) may be an epoch or a metric: write step() or observe({epoch})")
        else:
            self._check()
        self._last_lr = self._rates

    def observe(self, metric: float) -> float:
        """Give the feedback rule one validation's metric.

        Returns:
            The new scale over the old: 1 where nothing changed.

        Raises:
            ValueError: This scheduler has no feedback rule.
            RuntimeError: Somebody else has set a rate.
        """
        if self.feedback is None:
            raise ValueError("this scheduler has no feedback rule: give Scheduler(..., feedback=plateau())")
        self._check()
        before = self.state.scale
        self.state = self.feedback(self.state, float(metric))
        self._rewrite()
        return self.state.scale / before if before else 1.0

    def rescale(self, scale: float) -> None:
        """Set what all rates are multiplied by besides the schedule; the feedback goes on from there."""
        self.state = self.state._replace(scale=scale)
        self._rewrite()

    def forget(self) -> None:
        """Let the feedback begin anew, as where another metric is given to it from here on."""
        self.state = Observed()
        self._rewrite()

    def detach(self) -> None:
        """Leave the optimizer to others, with its rates and settings as they are: the base rates of what follows."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        del _SCHEDULERS[self._inner]
        for group in self._inner.param_groups:
            group.pop("initial_lr", None)

    def get_last_lr(self) -> list[Any]:
        """The rates that the last update had, until `step()` is called: from then on those of the next."""
        return self._last_lr

    def count_update(self) -> None:
        """Count an update that something else than the optimizer has done, or does, with the present rates."""
        self.used_lrs = self._last_lr = self._rates
        self._position += 1
        self._write()

    def go_back(self, step: int, used: Sequence[float]) -> None:
        """Be again where the update `step` was to come; the one before it had the rates `used`."""
        self._position, self.used_lrs = step, list(used)
        self._rewrite()
        self._last_lr = self._rates

    def get_lr(self) -> list[Any]:
        """The rate of each group for the next update."""
        progress = _progress((self._position, self.steps_per_epoch, self._total_steps, 0))
        base_lrs = self.base_lrs
        if self._common is None:
            curves = zip(base_lrs, self._curves, self._least, strict=True)
            return [base * self._reduced(curve(progress), least) for base, curve, least in curves]
        factor = self._common(progress)
        if self.state.scale != 1.0:
            return [base * self._reduced(factor, least) for base, least in zip(base_lrs, self._least, strict=True)]
        return [base_lrs[0] * factor] if len(base_lrs) == 1 else [base * factor for base in base_lrs]

    def rate_at(self, step: int) -> float:
        """The rate of the first group at any update, as the feedback has it now."""
        curve = self._curves[0] if self._common is None else self._common
        factor = curve(Progress(step, self.steps_per_epoch, self._total_steps))
        return float(self.base_lrs[0] * self._reduced(factor, self._least[0]))

    def _reduced(self, factor: float, least: float) -> float:
        """A schedule's factor under the feedback, which takes no rate below the least one, nor raises it to that."""
        return max(factor * self.state.scale, min(factor, least))

    def state_dict(self) -> dict[str, Any]:
        """The position and the feedback's state, as plain numbers."""
        rule = self.feedback.name if self.feedback else None
        return {"step": self._position, "feedback": {"rule": rule, **self.state._asdict()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved position; what this object was built with stays.

        The state of another feedback rule than ours is not taken over. That of one of torch's schedulers gives the
        position, where the optimizer's own state says how many updates were done.

        Raises:
            ValueError: It is one of torch's, and does not say whether it counts updates or epochs.
        """
        if "step" in state_dict:
            saved = dict(state_dict["feedback"])
            same = saved.pop("rule") == (self.feedback.name if self.feedback else None)
            self._position, self.state = state_dict["step"], Observed(**saved) if same else Observed()
        else:
            self._position, self.state = self._position_in(state_dict), Observed()
        self._rewrite()
        self._last_lr = self._rates

    def _position_in(self, theirs: Mapping[str, Any]) -> int:
        """The updates done by the state of one of torch's schedulers, which counts the calls of `step()`."""
        if "last_epoch" not in theirs:
            raise ValueError("this is not the state of a scheduler")
        count: int = theirs["last_epoch"]
        done = next((int(own["step"]) for own in self._inner.state.values() if "step" in own), None)
        if count == 0 or count == done:
            return count
        if done is not None and self.steps_per_epoch and count == done // self.steps_per_epoch:
            return done
        raise ValueError(
            f"the state of a torch scheduler says last_epoch={count}, but not of what: instead of loading it give "
            f"Scheduler(..., last_epoch={count - 1}) if it counts updates, or last_epoch={count} * steps_per_epoch - 1 "
            "if it counts epochs"
        )

    def __repr__(self) -> str:
        return f"Scheduler({self.schedule!r}) at update {self._position}"

    def __getstate__(self) -> dict[str, Any]:
        """All but what ties it to this very optimizer."""
        tied = ("_handles", "_inner", "_written")
        return {name: value for name, value in vars(self).items() if name not in tied} | {"_tied": bool(self._handles)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on with the optimizer that was copied or loaded with it."""
        vars(self).update(state)
        self._inner, self._handles = _innermost(self.optimizer), []
        rates = zip(self._inner.param_groups, self._rates, strict=False)
        self._written = [_mark(group["lr"]) if _is_tensor(group["lr"]) else rate for group, rate in rates]
        if vars(self).pop("_tied"):
            self._attach()

    def _attach(self) -> None:
        """Hear of every update of the optimizer."""
        inner = self._inner
        if (first := Scheduler.of(inner)) is not None:
            raise RuntimeError(
                f"this optimizer has {first} already: call Scheduler.of(optimizer).detach() first; "
                "product() and join() of lrtrain.schedules combine schedules"
            )
        hooks: list[Callable[..., None]] = [self._before_update, self._updated]
        if any(_is_tensor(group["lr"]) for group in inner.param_groups):
            # Such rates are for compiled updates, which would be compiled again for each position.
            hooks = [torch.compiler.disable(hook) for hook in hooks]  # type: ignore[no-untyped-call]
        self._open_steps = 0
        self._handles = [
            inner.register_step_pre_hook(hooks[0]),
            inner.register_step_post_hook(hooks[1]),
            inner.register_load_state_dict_post_hook(self._loaded),
        ]
        _SCHEDULERS[inner] = weakref.ref(self)

    def _before_update(self, optimizer: Optimizer, *_: Any) -> None:
        if self._open_steps:
            # A subclass's step calls its parent's, which torch reports too; or the step before this one has raised.
            self._open_steps = _count_open_steps(optimizer)
        else:
            self._open_steps = 1
        groups = optimizer.param_groups
        # This is all that most updates need; `_check` looks closer.
        if len(groups) != 1 or groups[0]["lr"] is not self._written[0] or self._settings:
            self._check()

    def _updated(self, optimizer: Optimizer, *_: Any) -> None:
        self._open_steps -= 1
        if self._open_steps > 0:  # of a subclass's step, which goes on
            return
        overflow = getattr(optimizer, "found_inf", None)
        if overflow is not None and overflow.item():  # a GradScaler lets a fused optimizer skip its update by itself
            return
        self.count_update()

    def _loaded(self, _: Optimizer) -> None:
        self._write()

    def _check(self) -> None:
        """Take up groups that were added since the last update, and refuse rates that were set by somebody else."""
        if not self._handles:
            return
        groups = self._inner.param_groups
        written = self._written
        for index, group in enumerate(groups[: len(written)]):
            rate = group["lr"]
            if rate is not written[index] and not _is_marked(rate, written[index]):
                self._refuse(index, "lr", float(rate), self._rates[index])
        for (index, name), value in self._settings.items():
            if setting(groups[index], name) != value:
                self._refuse(index, name, setting(groups[index], name), value)
        if len(groups) != len(written):
            self._write()

    def _refuse(self, index: int, name: str, found: float, written: float) -> None:
        group = self._inner.param_groups[index].get("name", index)
        raise RuntimeError(
            f"{name} of group {group!r} was set to {found:.6g} by somebody else, but {self} has it at {written:.6g}: "
            "call detach() of the scheduler before another one, or you, take over; or leave it to the scheduler alone"
        )

    def _rewrite(self) -> None:
        """Write the rates, unless that is left to others."""
        if self._handles:
            self._write()

    def _write(self) -> None:
        groups = self._inner.param_groups
        if len(groups) != len(self.base_lrs):
            self._adopt(groups)
        rates = written = self.get_lr()
        for index, rate in enumerate(rates):
            group = groups[index]
            if not 0.0 <= rate < _INFINITY:
                raise ValueError(f"the rate of update {self._position} is {rate}: it must be finite and >= 0")
            if type(group["lr"]) is float:
                group["lr"] = rate
            else:
                written = written.copy()
                written[index] = _assign(group, "lr", rate)
        self._rates, self._written = rates, written
        if self.hyperparameters:
            self._write_hyperparameters(groups)

    def _write_hyperparameters(self, groups: list[dict[str, Any]]) -> None:
        progress = Progress(self._position, self.steps_per_epoch, self._total_steps)
        for name, chosen in self.hyperparameters.items():
            common = None if isinstance(chosen, Mapping) else chosen(progress)
            for index, group in enumerate(groups):
                value = common
                if isinstance(chosen, Mapping):
                    value = chosen[group["name"]](progress) if group.get("name") in chosen else None
                if value is None or name in group.get("fixed", ()):
                    continue
                if name == "momentum" and "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                elif name in group:
                    _assign(group, name, value)
                else:
                    known = ", ".join(_settings(group))
                    raise ValueError(f"the optimizer has no setting {name!r}; there are {known}")
                if not _is_tensor(group.get(name)):
                    self._settings[index, name] = value

    def _adopt(self, groups: list[dict[str, Any]]) -> None:
        """Take the base rate, and find the curve, of groups that are new."""
        if len(groups) < len(self.base_lrs):
            raise RuntimeError(f"the optimizer has lost groups of {self}: detach() it and build another")
        for group in groups[len(self.base_lrs) :]:
            name = group.get("name", "")
            if isinstance(self.schedule, Mapping):
                if name not in self.schedule:
                    raise ValueError(f"no schedule for the group {name!r}; there are {', '.join(self.schedule)}")
                self._curves.append(self.schedule[name])
            if "initial_lr" not in group:
                group["initial_lr"] = self._base_of(group)
            base = float(group["initial_lr"])
            least = self.min_lr.get(name, 0.0) if isinstance(self.min_lr, Mapping) else self.min_lr
            self._least.append(max(self.min_factor, least / base if base else 0.0))
            self.base_lrs.append(base)

    def _base_of(self, group: Mapping[str, Any]) -> float:
        """The base rate of a new group: its rate, unless that was computed from the present one of another group.

        Lightning's `BaseFinetuning` adds a group at a tenth of the present rate, and means a tenth from there on.
        """
        lr = float(group["lr"])
        if not lr or lr == self._inner.defaults.get("lr"):
            return lr
        for base, rate in zip(self.base_lrs, self._rates, strict=False):
            quotient = rate / lr
            if rate == base or not 0.999 < quotient < 1000 or abs(2 * quotient - round(2 * quotient)) > 1e-9 * quotient:
                continue
            if float(f"{lr:.5g}") != lr:
                return float(base * lr / rate)
            raise RuntimeError(
                f"the group that was added before update {self._position} has lr={lr:g}, and another group now "
                f"{rate:g}, of a base rate of {base:g}: give it its own base rate, initial_lr={base * lr / rate:g} for "
                f"{lr / rate:g} times the other's rates, or initial_lr={lr:g}"
            )
        return lr


class _Observing(Scheduler, ReduceLROnPlateau):  # type: ignore[misc]
    """A scheduler with feedback."""


_SCHEDULERS: weakref.WeakKeyDictionary[Optimizer, weakref.ref[Scheduler]] = weakref.WeakKeyDictionary()
_INFINITY = float("inf")
_progress: Callable[[tuple[int, int | None, int | None, int]], Progress] = partial(tuple.__new__, Progress)
"""A `Progress` of its fields, in less time than its constructor takes: this is done at every update."""


def setting(group: Mapping[str, Any], name: str) -> float:
    """A group's present value of a hyperparameter; ``momentum`` is Adam's first beta."""
    return float(group["betas"][0] if name == "momentum" and "betas" in group else group[name])


def _settings(group: Mapping[str, Any]) -> list[str]:
    numbers = (name for name, value in group.items() if isinstance(value, float) and name not in ("lr", "initial_lr"))
    return [*numbers, *(["momentum"] if "betas" in group else [])]


def _assign(group: dict[str, Any], name: str, value: float) -> Any:
    """Set a group's value and return its mark; a tensor keeps its identity, so that compiled code sees the change."""
    if _is_tensor(group.get(name)):
        group[name].fill_(value)
    else:
        group[name] = value
    return _mark(group[name])


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _mark(value: Any) -> Any:
    """What tells later whether a value was changed: of a tensor its version, as reading a GPU's would wait for it."""
    return (value, value._version) if _is_tensor(value) else value


def _is_marked(value: Any, mark: Any) -> bool:
    """Whether a value is still the one that was marked."""
    if isinstance(mark, tuple):
        return value is mark[0] and value._version == mark[1]
    return bool(value == mark)


def _innermost(optimizer: Any) -> Optimizer:
    """The optimizer that does the updates; its wrappers share its groups, and few of them tell of an update.

    Lookahead, SAM and OrthoGrad are such, and the wrappers of accelerate, Fabric and Lightning.
    """
    for inner in getattr(optimizer, "__dict__", {}).values():
        if isinstance(inner, Optimizer) and inner is not optimizer and inner.param_groups is optimizer.param_groups:
            return _innermost(inner)
    if not isinstance(optimizer, Optimizer) or not hasattr(type(optimizer).step, "hooked"):
        raise TypeError(
            f"{type(optimizer).__name__} does not tell of its updates, as the step hooks of torch.optim.Optimizer do: "
            "give the Scheduler the optimizer that does them"
        )
    return optimizer


def _count_open_steps(optimizer: Optimizer) -> int:
    """How many calls of an optimizer's step are on the stack, each by the function in which torch calls the hooks."""
    count, frame, wrapper = 0, sys._getframe(), type(optimizer).step.__code__
    while frame := frame.f_back:  # type: ignore[assignment]
        count += frame.f_code is wrapper and frame.f_locals.get("self") is optimizer
    return count
