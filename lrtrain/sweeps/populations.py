"""Does the jobs of a sweep in blocks that train as one; those that cannot be are done one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from lrtrain.errors import FaultError, RequestError
from lrtrain.process import signals
from lrtrain.process.imports import import_large
from lrtrain.report.table import print_result
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.find import state_of
from lrtrain.run_folder.summary import Summary
from lrtrain.run_folder.sweep_folder import DONE, TAKEN, PlannedJob
from lrtrain.sweeps import worker as jobs
from lrtrain.sweeps.coordinator import count_workers
from lrtrain.tasks import Job

if TYPE_CHECKING:
    from lrtrain.sweeps.worker import Worker


class _Taken(NamedTuple):
    """A job of a block, whose folder is claimed."""

    job: PlannedJob
    folder: ClaimedFolder
    wanted: Job


class Blocks:
    """The jobs of a worker, in blocks of one kind.

    Args:
        worker: Whose jobs.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._fit = import_large("lrtrain.training.population.fit")
        self._kinds_of = import_large("lrtrain.training.population.kinds")
        self._population = self._fit.Population(_say, worker.datasets)
        self._left = list(worker.plan.jobs)
        self._kinds: dict[int, tuple[str, Job]] = {}
        self._said: set[str] = set()

    def outcomes(self) -> Iterator[tuple[PlannedJob, Summary]]:
        """Do the jobs, until none is left that nobody does; gives what came of each.

        Raises:
            InterruptedRunError: A signal came; what can be saved is.
        """
        workers, how = 0, self._worker.how
        while open_jobs := self._open():
            workers = workers or count_workers(how.jobs, len(open_jobs), here=how.workers == "local")
            signals.act()
            with ExitStack() as claims:
                block, alone = self._next(open_jobs, workers, claims)
                later = (len(open_jobs) - len(block) - len(alone)) // workers
                ended = list(self._train(block, max(0, later))) if block else []
            yield from ended
            for job in alone:
                if outcome := self._worker.take(job):
                    yield job, outcome
            signals.act()
            if not (ended or alone):
                return  # others do what is left

    def _open(self) -> list[PlannedJob]:
        """Those that are still to be done, and that nobody does; what is done is not looked at again."""
        states = [(job, state_of(self._worker.folder.job(job))) for job in self._left]
        self._left = [job for job, state in states if state not in DONE]
        return [job for job, state in states if state not in TAKEN]

    def _is_open(self, job: PlannedJob) -> bool:
        return state_of(self._worker.folder.job(job)) not in TAKEN

    def _next(
        self, open_jobs: list[PlannedJob], workers: int, claims: ExitStack
    ) -> tuple[list[_Taken], list[PlannedJob]]:
        """Claim jobs of one kind, as many as make a block; and jobs before them that cannot be in any."""
        block: list[_Taken] = []
        alone: list[PlannedJob] = []
        size = min(self._fit.SIZE, -(-len(open_jobs) // workers))
        for job in open_jobs:
            kind, wanted = self._read(job)
            if kind is None or wanted is None:
                alone.append(job)
            elif (not block or kind == self._kinds[block[0].job.number][0]) and self._is_open(job):  # others claim, too
                folder = claims.enter_context(self._worker.claimed(self._worker.folder.job(job).path, wanted.locks))
                if folder:
                    if folder.has_checkpoint:
                        _, wanted = self._worker.read(job.words, folder.path, True)
                    block.append(_Taken(job, folder, wanted))
            if len(block) == size:
                break
        return block, alone

    def _read(self, job: PlannedJob) -> tuple[str | None, Job | None]:
        """The kind of a job, and what it asks for; none where it is to be done alone, which is said."""
        if job.number in self._kinds:
            return self._kinds[job.number]
        try:
            task, wanted = self._worker.read_job(job, self._worker.folder.job(job).path)
        except (RequestError, FaultError):
            return None, None  # which is found once more, and written down
        why = "its rate is looked for first" if wanted.finds_rate else self._kinds_of.why_alone(wanted.settings)
        if self._worker.pruning:
            why = "prune= looks at each job by itself"
        if task.name != "train":
            why = f"task={task.name} trains nothing"
        if why:
            if why not in self._said:
                _say(f"trained one by one: {why}")
                self._said.add(why)
            return None, None
        self._kinds[job.number] = self._kinds_of.kind_of(wanted.settings), wanted
        return self._kinds[job.number]

    def _train(self, block: list[_Taken], later: int) -> Iterator[tuple[PlannedJob, Summary]]:
        """Train a block; gives what came of each job, the first to end first."""
        ended: list[tuple[PlannedJob, Summary]] = []
        orders = [self._fit.Ordered(wanted.settings, folder, wanted.start, wanted.asked) for _, folder, wanted in block]

        def end(index: int, outcome: Any) -> None:
            job, folder, _ = block[index]
            if isinstance(outcome, Exception):
                outcome = jobs.fail(folder, job.words, outcome)
            if isinstance(outcome, Summary):
                if outcome.is_good:
                    outcome = jobs.keep(folder, outcome, self._worker.how.keep)
                    if self._worker.how.verbose:
                        print_result(outcome, folder.path)
                ended.append((job, outcome))
            folder.leave()

        with self._worker.quiet():
            self._population.train(orders, end, later)
        return iter(ended)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
