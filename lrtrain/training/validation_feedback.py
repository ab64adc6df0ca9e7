"""The callback that gives validations to a schedule's feedback."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from lrtrain.errors import RequestError
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.private import names_in_sanity_check
from lrtrain.training.rate_changes import tell_change
from lrtrain.training.validation import ValidationObserver


class ValidationFeedback(ValidationObserver):
    """Gives every validation's metric to the feedback rule: one decision each, before any checkpoint of it is written.

    A validation that does not log the metric, or that there is only because the training ends, decides nothing.
    Lightning averages a metric that is logged with ``sync_dist=True`` over the ranks, so all of them decide alike.

    The feedback of a resumed run restarts if its metric, or whether less of it is better, is not what it was.

    Args:
        monitor: The metric that the feedback observes; the validation must log it.
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self._logged: list[str] = []
        self._mode: Any = None
        self._saved: tuple[str, Any] | None = None

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse, before the first update, a metric that the validation does not log."""
        self._logged = sorted(names_in_sanity_check(trainer))
        self._refuse_unless_in(self._logged)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what was observed of another metric."""
        scheduler = scheduler_of(trainer)
        if scheduler.feedback is not None:
            self._mode = scheduler.feedback.parameters.get("mode")
            if self._saved not in (None, (self.monitor, self._mode)):
                scheduler.forget()
        self._saved = None

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Observe the metric, and print a change of the rate that an update will see."""
        scheduler = scheduler_of(trainer)
        if scheduler.feedback is None or closing:
            return
        if self.monitor not in metrics:
            self._refuse_unless_in(sorted(trainer.callback_metrics))
            return
        before, state = scheduler.get_lr()[0], scheduler.state
        if scheduler.observe(metrics[self.monitor]) != 1 and scheduler.last_epoch != scheduler.total_steps:
            bad = (state.bad + 1) * scheduler.feedback.parameters.get("mean_of", 1)
            why = _reason(state.best, scheduler.state.best, f"{bad} {_period(trainer)}{'s' * (bad > 1)}")
            tell_change(trainer, scheduler.last_epoch, before, scheduler.get_lr()[0], f"{self.monitor} {why}")

    def state_dict(self) -> dict[str, Any]:
        """The observed metric, and all that are logged."""
        return {"monitor": self.monitor, "mode": self._mode, "logged": self._logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Learn what a saved run observed; raises RequestError if it did not log the present metric."""
        self._saved, self._logged = (state_dict["monitor"], state_dict["mode"]), state_dict["logged"]
        if self._logged:
            self._refuse_unless_in(self._logged)

    def _refuse_unless_in(self, logged: list[str]) -> None:
        if self.monitor not in logged:
            known = ", ".join(logged) or "none"
            raise RequestError(f"monitor={self.monitor} is not logged by the validation; there are {known}")


def _reason(before: float | None, best: float | None, time: str) -> str:
    """What a metric had done by a decision, of the best before and after it: improved, or not for some time."""
    known = "" if before is None else f" on {before:.4g}"
    return f"had not improved{known} for {time}" if before == best else f"improved{known}"


def _period(trainer: pl.Trainer) -> str:
    """What lies between two validations."""
    per_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_batch == trainer.num_training_batches
    return "epoch" if per_epoch else "validation"
