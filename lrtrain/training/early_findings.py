"""Says while a run goes on what is wrong with it, if that is certain."""

from __future__ import annotations

from collections.abc import Callable

import lightning.pytorch as pl

from lrtrain.evidence.diagnosis import Run, diagnose_early
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.progress_bar import tell
from lrtrain.training.validation import ValidationObserver

LOOKS = (0.1, 0.2, 0.3, 0.4)
"""Shares of the run after which its curves are looked at, at the next validation: later, the end is near enough."""


class EarlyFindings(ValidationObserver):
    """Tells of a finding, once, that two looks at the curves in a row have in common.

    Args:
        judged: What the diagnosis sees of the run, of its status and the updates done.
    """

    def __init__(self, judged: Callable[[str, int], Run]) -> None:
        self._judged = judged
        self._looks = list(LOOKS)
        self._before = ""
        self._told: set[str] = set()

    def observe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, metrics: dict[str, float], closing: bool
    ) -> None:
        """Look at the curves, if it is time to."""
        scheduler = scheduler_of(trainer)
        done, total = scheduler.last_epoch, scheduler.total_steps
        passed = [look for look in self._looks if done >= look * total]
        if not (passed and trainer.is_global_zero and done < total):
            return
        self._looks = self._looks[len(passed) :]
        found = diagnose_early(self._judged("running", done))
        before, self._before = self._before, found[0].name if found else ""
        if found and found[0].name == before and before not in self._told:
            self._told.add(before)
            epoch, (name, evidence, command) = done / (scheduler.steps_per_epoch or 1), found[0]
            tell(trainer, f"epoch {epoch:.4g}: {name.replace('_', ' ')}: {evidence} (try {command})")
