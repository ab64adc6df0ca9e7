"""The one writer of an optimizer's learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrtrain.schedules import Feedback, Observed, Progress

Curve: TypeAlias = Callable[[Progress], float]


class Scheduler(LRScheduler):
    """Sets ``group["lr"] = base_lr * schedule(progress) * feedback.scale`` before every optimizer update.

    The position is the number of updates that the optimizer has really done: the scheduler counts them itself, so
    accumulated batches and updates that a `GradScaler` skips do not advance it, and `step()` may be called after
    every update, once an epoch, or never. A group's base rate is its rate when the scheduler first sees it, which
    may be in the middle of the run.

    The state holds the position and the feedback only: after `load_state_dict` the schedule and the base rates are
    still those this object was built with.

    Example:
        >>> scheduler = Scheduler(optimizer, warmup(cosine(), "5%"), total_steps=1000, steps_per_epoch=100)
        >>> for batch in batches:
        ...     loss(batch).backward()
        ...     optimizer.step()  # the next update has its own rate

    Args:
        optimizer: Any `torch.optim.Optimizer`; a rate that is a tensor is changed in place.
        schedule: Maps `Progress` to a multiplier; or one for each group, by the group's ``name``.
        total_steps: Updates in the run; needed by schedules with an end and by lengths in percent.
        steps_per_epoch: Updates in an epoch; needed by schedules that count epochs.
        feedback: A rule such as ``plateau(factor=0.5)``; give it each validation's metric by `observe`.
        min_factor: The feedback reduces no further than to this share of the base rate.
        hyperparameters: Schedules of other settings of the groups, by name; what they return is the value itself.
            ``momentum`` is Adam's first beta. A group may name settings that are not to be touched in its ``fixed``.

    Raises:
        ValueError: A length is not positive, a group has no schedule, or a schedule needs a length that is not given.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Curve | Mapping[str, Curve],
        *,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        feedback: Feedback | None = None,
        min_factor: float = 0.0,
        hyperparameters: Mapping[str, Curve] | None = None,
    ) -> None:
        # torch's own constructor patches optimizer.step to guess whether updates happen; the hook below knows.
        for name, value in {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        self.optimizer = optimizer
        self.schedule = schedule
        self.feedback = feedback
        self.min_factor = min_factor
        self.hyperparameters = dict(hyperparameters or {})
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.base_lrs: list[Any] = []
        self.used_lrs: list[float] = []
        self.last_epoch = 0  # torch's name; it counts updates
        self.state = Observed()
        self._common = None if isinstance(schedule, Mapping) else schedule
        self._curves: list[Curve] = []
        self._write()
        optimizer.register_step_pre_hook(self._before_update)
        optimizer.register_step_post_hook(self._updated)
        optimizer.register_load_state_dict_post_hook(lambda _: self._write())

    def step(self, metrics: Any = None) -> None:
        """Bring the rates up to date; with a metric, as Lightning and torch's plateau give one, also `observe` it."""
        if metrics is not None:
            self.observe(float(metrics))
        self._write()

    def observe(self, metric: float) -> float:
        """Give the feedback rule one validation's metric.

        Returns:
            The new scale over the old: 1 where nothing changed.

        Raises:
            ValueError: This scheduler has no feedback rule.
        """
        if self.feedback is None:
            raise ValueError("this scheduler has no feedback rule: give Scheduler(..., feedback=plateau())")
        before = self.state.scale
        self.state = self.feedback(self.state, float(metric))
        self._write()
        return self.state.scale / before if before else 1.0

    def rescale(self, scale: float) -> None:
        """Set what all rates are multiplied by besides the schedule; the feedback goes on from there."""
        self.state = self.state._replace(scale=scale)
        self._write()

    def forget(self) -> None:
        """Let the feedback begin anew, as where another metric is given to it from here on."""
        self.state = Observed()
        self._write()

    def get_lr(self) -> list[Any]:
        """The rate of each group for the next update."""
        progress = Progress(self.last_epoch, self.steps_per_epoch, self.total_steps)
        base_lrs = self.base_lrs
        if self._common is None:
            curves = zip(base_lrs, self._curves, strict=True)
            return [base * self._reduced(curve(progress)) for base, curve in curves]
        factor = self._common(progress)
        if self.state.scale != 1.0:
            factor = self._reduced(factor)
        return [base_lrs[0] * factor] if len(base_lrs) == 1 else [base * factor for base in base_lrs]

    def _reduced(self, factor: float) -> float:
        """A schedule's factor under the feedback, which takes no rate below the least one, nor raises it to that."""
        return max(factor * self.state.scale, min(factor, self.min_factor))

    def state_dict(self) -> dict[str, Any]:
        """The position and the feedback's state, as plain numbers."""
        rule = self.feedback.name if self.feedback else None
        return {"step": self.last_epoch, "feedback": {"rule": rule, **self.state._asdict()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved position; what this object was built with stays.

        The state of another feedback rule than ours is not taken over.
        """
        self.last_epoch = state_dict["step"]
        saved = dict(state_dict["feedback"])
        same = saved.pop("rule") == (self.feedback.name if self.feedback else None)
        self.state = Observed(**saved) if same else Observed()
        self._write()

    def _before_update(self, *_: Any) -> None:
        if len(self.optimizer.param_groups) != len(self.base_lrs):  # a group was added since the last update
            self._write()

    def _updated(self, optimizer: Optimizer, *_: Any) -> None:
        overflow = getattr(optimizer, "found_inf", None)
        if overflow is not None and overflow.item():  # a GradScaler lets a fused optimizer skip its update by itself
            return
        self.used_lrs = self._last_lr
        self.last_epoch += 1
        self._write()

    def _write(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            self._adopt(groups)
        self._last_lr: list[Any] = self.get_lr()
        for index, rate in enumerate(self._last_lr):
            group = groups[index]
            if not 0.0 <= rate < _INFINITY:
                raise ValueError(f"the rate of update {self.last_epoch} is {rate}: it must be finite and >= 0")
            if type(group["lr"]) is float:
                group["lr"] = rate
            else:
                _assign(group, "lr", rate)
        if self.hyperparameters:
            self._write_hyperparameters(groups)

    def _write_hyperparameters(self, groups: list[dict[str, Any]]) -> None:
        progress = Progress(self.last_epoch, self.steps_per_epoch, self.total_steps)
        for name, curve in self.hyperparameters.items():
            value = curve(progress)
            for group in groups:
                if name in group.get("fixed", ()):
                    continue
                if name == "momentum" and "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                elif name in group:
                    _assign(group, name, value)
                else:
                    raise ValueError(f"the optimizer has no setting {name!r}; there are {', '.join(_settings(group))}")

    def _adopt(self, groups: list[dict[str, Any]]) -> None:
        """Take the base rate, and find the curve, of groups that are new."""
        for group in groups[len(self.base_lrs) :]:
            if isinstance(self.schedule, Mapping):
                name = group.get("name", "")
                if name not in self.schedule:
                    raise ValueError(f"no schedule for the group {name!r}; there are {', '.join(self.schedule)}")
                self._curves.append(self.schedule[name])
            self.base_lrs.append(group.setdefault("initial_lr", float(group["lr"])))


_INFINITY = float("inf")


def setting(group: Mapping[str, Any], name: str) -> float:
    """A group's present value of a hyperparameter; ``momentum`` is Adam's first beta."""
    return float(group["betas"][0] if name == "momentum" and "betas" in group else group[name])


def _settings(group: Mapping[str, Any]) -> list[str]:
    numbers = (name for name, value in group.items() if isinstance(value, float) and name not in ("lr", "initial_lr"))
    return [*numbers, *(["momentum"] if "betas" in group else [])]


def _assign(group: dict[str, Any], name: str, value: float) -> None:
    """Set a group's value; a tensor keeps its identity, so that compiled code sees the change."""
    if isinstance(group.get(name), torch.Tensor):
        group[name].fill_(value)
    else:
        group[name] = value
