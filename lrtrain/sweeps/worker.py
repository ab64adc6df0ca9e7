"""Does the jobs of a sweep, one after the other; several workers on one disk share them by their folders' claims."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from lrtrain.datasets import LastRead
from lrtrain.errors import FaultError, InterruptedRunError, RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.process import parent, signals
from lrtrain.process.imports import import_large
from lrtrain.report.table import print_result
from lrtrain.run_folder.claim import attempts_at, began_without_end, is_live
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import write_text
from lrtrain.run_folder.find import look, state_of
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.log import logging_to
from lrtrain.run_folder.summary import GOOD, Summary, read_summary
from lrtrain.run_folder.sweep_folder import DONE, TAKEN, PlannedJob, SweepFolder, SweepPlan
from lrtrain.settings import TrainerSettings
from lrtrain.sweeps.command import SweepCommand
from lrtrain.sweeps.pruning import Pruning
from lrtrain.tasks import Job

ATTEMPTS = 3
"""How often a job may be begun: more, and it is what kills its process."""

log = logging.getLogger("lrtrain")

Reader = Callable[[Sequence[str], Path, bool], tuple[Bound, Job]]
"""Reads what a job's words ask for, given its folder and whether it goes on there; raises RequestError."""


class Worker(NamedTuple):
    """What does the jobs of a sweep that nobody does; it does not know who started it.

    Attributes:
        folder: Of the sweep.
        plan: Its jobs.
        read: Reads a job.
        how: The sweep's own words.
        pruning: Ends jobs early; None for none.
        datasets: Reads what jobs are trained on, which those of a sweep often share.
        program: Starts a process of this program, where a job needs several.
    """

    folder: SweepFolder
    plan: SweepPlan
    read: Reader
    how: SweepCommand
    pruning: Pruning | None
    datasets: LastRead
    program: Sequence[str]

    def outcomes(self) -> Iterator[tuple[PlannedJob, Summary]]:
        """Claim the next job and do it, until none is left that nobody does; gives what came of each.

        Raises:
            InterruptedRunError: A signal came; what can be saved is.
        """
        if self.how.jobs == "population":
            yield from import_module("lrtrain.sweeps.populations").Blocks(self).outcomes()
            return
        open_jobs, found = list(self.plan.jobs), True
        while found:
            found = False
            for job in open_jobs:
                if outcome := self.take(job):
                    found = True
                    yield job, outcome
            open_jobs = [job for job in open_jobs if state_of(self.folder.job(job)) not in DONE]

    def take(self, job: PlannedJob) -> Summary | None:
        """Do a job; None where it is done, or somebody does it."""
        place = self.folder.job(job).path
        if state_of(RunFolder(place)) in TAKEN:
            return None
        signals.act()  # the job before may have put them off
        try:
            task, wanted = self.read_job(job, place)
        except (RequestError, FaultError) as error:
            with self.claimed(place, locks=True) as folder:
                return fail(folder, job.words, error) if folder else None
        if task.name != "train" or _starts_processes(wanted.settings.trainer):
            return self._do_unclaimed(job, task, wanted)
        with self.claimed(place, locks=wanted.locks) as folder:
            return self._train(folder, job, wanted) if folder else None

    def read_job(self, job: PlannedJob, place: Path) -> tuple[Bound, Job]:
        """What a job asks for; raises RequestError, and FaultError where it has killed its process too often."""
        if began_without_end(place) and attempts_at(place) >= self.plan.attempts.get(job.name, 0) + ATTEMPTS:
            raise FaultError(f"its process was killed {ATTEMPTS} times")
        return self.read(job.words, place, False)

    @contextmanager
    def claimed(self, place: Path, locks: bool) -> Iterator[ClaimedFolder | None]:
        """The folder of a job that is to be done, while it is ours; None where somebody does it, or has done it."""
        try:
            folder = ClaimedFolder(place, locks=locks, patience=0.1)
        except RequestError:
            if not is_live(place):
                raise
            yield None  # somebody was quicker
            return
        with folder:
            folder.begun = done = _is_done(folder)  # then a claim that was left without an end gets one
            yield None if done else folder

    def _train(self, folder: ClaimedFolder, job: PlannedJob, wanted: Job) -> Summary:
        training = import_large("lrtrain.training.run")
        judge = self.pruning.judge(self.plan, job, wanted.settings.metric) if self.pruning else None
        try:
            if folder.has_checkpoint:
                _, wanted = self.read(job.words, folder.path, True)
            with self.quiet():
                outcome: Summary = training.run_in(
                    wanted.settings,
                    folder,
                    start=wanted.start,
                    asked=wanted.asked,
                    finds_rate=wanted.finds_rate,
                    judge=judge,
                    read=self.datasets,
                    say=print if self.how.verbose else lambda _: None,  # nor is there a bar
                )
                if self.how.verbose and outcome.is_good:
                    print_result(outcome, folder.path)
        except Exception as error:
            return fail(folder, job.words, error)
        return keep(folder, outcome, self.how.keep) if outcome.status in (*GOOD, "pruned") else outcome

    def _do_unclaimed(self, job: PlannedJob, task: Bound, wanted: Job) -> Summary | None:
        """Do what claims its folder itself: a task that does not train, or a process of its own."""
        folder = self.folder.job(job)
        try:
            with self.quiet():
                return task.make(wanted) if task.name != "train" else self._start(job.words, folder)
        except Exception as error:
            return None if is_live(folder.path) else fail(folder, job.words, error)

    def _start(self, words: Sequence[str], folder: RunFolder) -> Summary | None:
        """Let a process of its own do a job that starts others, by its own command line."""
        place = f"resume={folder.path}" if folder.has_checkpoint else f"hydra.run.dir={folder.path}"
        out = None if self.how.verbose else subprocess.DEVNULL
        child = parent.start([*self.program, *words, place], stdout=out, stderr=subprocess.PIPE)
        try:
            _, said = child.communicate()
        except InterruptedRunError as error:
            child.send_signal(error.signum)
            child.communicate()
            raise
        state, summary = look(folder)
        if child.returncode < 0:
            return None  # it was killed, and may be begun once more
        if summary is None or state not in (*DONE, "interrupted"):
            raise FaultError(
                said.decode(errors="replace").strip().rpartition("\n")[2]
                or f"its process ended with {child.returncode}"
            )
        return summary

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Leave out what jobs print, unless it was asked for."""
        with Path(os.devnull).open("w") as nowhere, nullcontext() if self.how.verbose else redirect_stdout(nowhere):
            yield


def _is_done(folder: RunFolder) -> bool:
    """Whether the job of a folder that this process claims was done meanwhile, or before its process was killed."""
    with suppress(FileNotFoundError, RequestError):
        return read_summary(folder.summary).status in DONE
    return False


def _starts_processes(trainer: TrainerSettings) -> bool:
    """Whether Lightning would start a run's other processes by the command line of this one."""
    return not trainer.is_alone and trainer.strategy not in ("ddp_spawn", "ddp_fork", "ddp_notebook")


def fail(folder: RunFolder, words: Sequence[str], error: Exception) -> Summary:
    """Write down that a job could not begin, or what went wrong around it."""
    write_text(folder.path / ".hydra" / "overrides.yaml", json.dumps(list(words)))  # JSON is YAML
    with logging_to(folder.log):
        log.error("%s", error, exc_info=error)
    said = str(error) or type(error).__name__
    outcome = Summary(status="failed", ended_by="error", error=said, folder=folder.path, exception=error)
    outcome.write(folder.summary)
    folder.begun = True
    return outcome


def keep(folder: RunFolder, outcome: Summary, which: str) -> Summary:
    """Remove the other checkpoints of a job that has come to its end."""
    if which == "all":
        return outcome
    outcome = replace(outcome, checkpoints={name: file for name, file in outcome.checkpoints.items() if name == which})
    outcome.write(folder.summary)  # first: what it names is there, whenever this is killed
    for path in (folder.last_checkpoint, folder.previous_checkpoint, folder.best_checkpoint):
        if path.stem != which:
            path.unlink(missing_ok=True)
    return outcome
