"""The one writer of an optimizer's learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrtrain.schedules import Feedback, Observed, Progress


class Scheduler(LRScheduler):
    """Sets ``group["lr"] = base_lr * schedule(progress) * feedback.scale`` before every optimizer update.

    The position is the number of updates that the optimizer has really done: the scheduler counts them itself, so
    accumulated batches and updates that a `GradScaler` skips do not advance it, and `step()` may be called after
    every update, once an epoch, or never. A group's base rate is its rate when the scheduler first sees it.

    The state holds the position and the feedback only: after `load_state_dict` the schedule and the base rates are
    still those this object was built with.

    Example:
        >>> scheduler = Scheduler(optimizer, warmup(cosine(), "5%"), total_steps=1000, steps_per_epoch=100)
        >>> for batch in batches:
        ...     loss(batch).backward()
        ...     optimizer.step()  # the next update has its own rate

    Args:
        optimizer: Any `torch.optim.Optimizer`; a rate that is a tensor is changed in place.
        schedule: Maps `Progress` to a multiplier.
        total_steps: Updates in the run; needed by schedules with an end and by lengths in percent.
        steps_per_epoch: Updates in an epoch; needed by schedules that count epochs.
        feedback: A rule such as ``plateau(factor=0.5)``; give it each validation's metric by `observe`.

    Raises:
        ValueError: A length is not positive, or the schedule needs one that is not given.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Callable[[Progress], float],
        *,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        # torch's own constructor patches optimizer.step to guess whether updates happen; the hook below knows.
        for name, value in {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        self.optimizer = optimizer
        self.schedule = schedule
        self.feedback = feedback
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.base_lrs: list[Any] = []
        self.used_lrs: list[float] = []
        self.last_epoch = 0
        self.state = Observed()
        self._write()
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

    def get_lr(self) -> list[Any]:
        """The rate of each group for the next update."""
        factor = self.factor
        return [float(base) * factor for base in self.base_lrs]

    @property
    def factor(self) -> float:
        """What the base rates are multiplied by for the next update."""
        factor = self.schedule(Progress(self.last_epoch, self.steps_per_epoch, self.total_steps))
        if not math.isfinite(factor) or factor < 0:
            raise ValueError(
                f"{self.schedule!r} gives {factor} at update {self.last_epoch}: it must be finite and >= 0"
            )
        return factor * self.state.scale

    def state_dict(self) -> dict[str, Any]:
        """The position and the feedback's state, as plain numbers."""
        return {"step": self.last_epoch, "feedback": self.state._asdict() if self.feedback else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved position; what this object was built with stays."""
        self.last_epoch = state_dict["step"]
        saved = state_dict["feedback"]
        self.state = Observed(**saved) if saved and self.feedback else Observed()
        self._write()

    def _updated(self, *_: Any) -> None:
        self.used_lrs = self._last_lr
        self.last_epoch += 1
        self._write()

    def _write(self) -> None:
        groups = self.optimizer.param_groups
        for group in groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", float(group["lr"])))
        self._last_lr: list[Any] = self.get_lr()
        for group, rate in zip(groups, self._last_lr, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
