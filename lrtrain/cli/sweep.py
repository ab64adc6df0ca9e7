"""The words of a sweep, as its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrtrain.cli.compose import Composer
from lrtrain.cli.exit import FAILED, GOOD, code_of
from lrtrain.cli.request import read_request
from lrtrain.cli.words import key_of, value_of
from lrtrain.errors import InterruptedRunError, RequestError
from lrtrain.process import signals
from lrtrain.sweeps.jobs import SweepJob, name_job
from lrtrain.sweeps.run import run_sweep
from lrtrain.tasks import Job


def sweep(composer: Composer, words: Sequence[str]) -> int:
    """Run one job for each combination of values, one after the other; returns the exit code.

    In a sweep, a value that is wrong in some of the jobs only is left for those jobs to fail on.

    Raises:
        RequestError: The words are wrong, or no job would be accepted.
    """
    for task in ("evaluate", "predict"):
        if value_of("task", words) == task:
            raise RequestError(f"task={task} takes one checkpoint; leave out -m")
    if value_of("resume", words) not in (None, "null"):
        raise RequestError("resume goes on with one run; leave out -m")
    varied = composer.swept(words)
    asked = composer.expand(words)
    if not asked:
        raise RequestError("the sweep is empty: a list of values, or what glob() found, has nothing in it")
    place = composer.compose(asked[0]).sweep_dir
    jobs = []
    for number, own in enumerate(asked):
        name = name_job(number, len(asked), [word for word in own if key_of(word) in varied])
        jobs.append(_read(composer, SweepJob(number, name, own), place / name))
    refusals = [job.refusal for job in jobs if job.refusal]
    if len(refusals) == len(jobs):
        raise refusals[0]
    if any(job.job and job.task and job.task.name == "train" and _starts_processes(job.job) for job in jobs):
        raise RequestError(
            "a sweep cannot start several processes per job: each process would restart the sweep; use one device"
        )
    outcomes = run_sweep(jobs, place, varied, words)
    if outcomes and isinstance(outcomes[-1].exception, InterruptedRunError):
        raise outcomes[-1].exception
    if signals.received and len(outcomes) < len(jobs):
        raise InterruptedRunError(signals.received)
    return FAILED if any(code_of(outcome) for outcome in outcomes) else GOOD


def _read(composer: Composer, job: SweepJob, place: Path) -> SweepJob:
    try:
        request = read_request(composer, job.words, place)
    except RequestError as error:
        return job._replace(refusal=error)
    return job._replace(task=request.task, job=request.job)


def _starts_processes(job: Job) -> bool:
    """Whether Lightning would start a run's other processes by the command line of this one."""
    trainer = job.settings.trainer
    return not trainer.is_alone and trainer.strategy not in ("ddp_spawn", "ddp_fork", "ddp_notebook")
