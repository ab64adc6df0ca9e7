"""Which jobs of a search are ended early: Optuna's pruners, told at each validation what the other jobs had by then."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from lrtrain.plan.progress import total_steps
from lrtrain.run_folder.files import read_table
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.sweep_folder import DONE, PlannedJob, SweepFolder, SweepPlan
from lrtrain.settings import Metric
from lrtrain.sweeps.search import load_optuna, new_study, outcome_of

if TYPE_CHECKING:
    import optuna

WHOLE = 1000
"""A whole run, as Optuna counts: its steps are integers, and the schedules of two runs are compared at equal shares."""
HALF = WHOLE // 2
"""Of a run, in which no median ends any: the curves of schedules cross, and the first to fall seldom ends lowest."""
FIRST = WHOLE // 27
"""Of a run, after which Hyperband first ends some; then a third of those that are left go on, three times as far."""


class Pruning:
    """Decides where it is asked, by what the folders of all jobs say, so that workers need not talk to each other.

    Args:
        folder: Of the sweep.
        kind: ``median`` or ``hyperband``.
    """

    def __init__(self, folder: SweepFolder, kind: str) -> None:
        self.folder, self._kind = folder, kind
        self._study: optuna.Study | None = None
        self._trials: list[optuna.Trial] = []
        self._told: dict[int, int] = {}
        self._over: set[int] = set()

    def judge(self, plan: SweepPlan, job: PlannedJob, metric: Metric) -> Callable[[float, float], bool]:
        """What says of a job, at a share of its updates and with the metric there, whether it ends."""

        def ends(share: float, value: float) -> bool:
            self._read(plan, metric)
            return self._tell(job.number, share, value if math.isfinite(value) else metric.worst)

        return ends

    def _read(self, plan: SweepPlan, metric: Metric) -> None:
        """Learn what is new of the jobs."""
        from optuna.trial import TrialState

        if self._study is None:
            load_optuna()
            self._study = new_study(metric, self._pruner())
        for job in plan.jobs:
            if job.number == len(self._trials):
                self._trials.append(self._study.ask())
            if job.number in self._over:
                continue
            standing = self.folder.look(job)
            for share, value in _validations(self.folder.job(job), metric):
                self._tell(job.number, share, value)
            if standing.state in DONE:
                state, result = outcome_of(standing, metric)
                self._study.tell(job.number, result if state == "COMPLETE" else None, TrialState[state])
                self._over.add(job.number)

    def _tell(self, number: int, share: float, value: float) -> bool:
        """Tell Optuna of a validation; whether the job ends there, which it did not where the validation is known.

        It is asked of all jobs, as it remembers by that who has come how far.
        """
        step = round(WHOLE * share)
        if step <= self._told.get(number, -1):
            return False
        self._told[number] = step
        self._trials[number].report(value, step)
        return self._trials[number].should_prune()

    def _pruner(self) -> optuna.pruners.BasePruner:
        from optuna import pruners

        if self._kind == "median":
            return pruners.MedianPruner(n_warmup_steps=HALF)
        return pruners.HyperbandPruner(min_resource=FIRST, max_resource=WHOLE)


def _validations(folder: RunFolder, metric: Metric) -> Iterator[tuple[float, float]]:
    """The share of its updates that a run had done by each validation, and the metric there."""
    total, rows = total_steps(folder), []
    with suppress(OSError):  # it has none yet
        rows = read_table(folder.metrics)
    for row in rows if total else ():
        with suppress(ValueError, KeyError):
            share, value = (int(row["step"]) + 1) / total, float(row[metric.name])
            yield share, value if math.isfinite(value) else metric.worst
