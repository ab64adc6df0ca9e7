"""The words of a sweep, as its jobs."""

from __future__ import annotations

import functools
import itertools
import os
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrtrain.cli.compose import Composer, parse_arguments
from lrtrain.cli.exit import FAILED, GOOD, code_of
from lrtrain.cli.request import read_request
from lrtrain.cli.words import is_of_sweep, key_of, quoted, value_of
from lrtrain.configs import choices, config_dir
from lrtrain.datasets import LastRead
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.parameters.nearest import nearest
from lrtrain.process import parent, signals
from lrtrain.run_folder.claim import is_live
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.summary import BAD
from lrtrain.run_folder.sweep_folder import PlannedJob, SweepFolder, SweepPlan, find_sweep, tally
from lrtrain.settings import Settings
from lrtrain.sweeps.clusters import Submitted, check_workers, connect_to_ray, place_of_tasks, submit
from lrtrain.sweeps.command import SweepCommand
from lrtrain.sweeps.comparison import compare_jobs
from lrtrain.sweeps.coordinator import Coordinator, count_workers, start_beside
from lrtrain.sweeps.dry_run import print_plan, print_search
from lrtrain.sweeps.grid import check_kept, plan_jobs, read_grids
from lrtrain.sweeps.hint import hint_of_population
from lrtrain.sweeps.hparams import write_columns
from lrtrain.sweeps.pruning import Pruning
from lrtrain.sweeps.search import Search, Space, load_optuna
from lrtrain.sweeps.table import best_job, print_table, write_table
from lrtrain.sweeps.view import View
from lrtrain.sweeps.worker import Worker
from lrtrain.tasks import Job
from lrtrain.tasks.compare import as_command

PROGRAM = (sys.executable, "-m", "lrtrain")
ONCE = ("resume", "retry", "join")
"""The words that say what this command does with a sweep, and not what the sweep is."""
EVERY = 0.1
"""Seconds between two looks of a worker for more jobs of a search."""
MOST_REFUSALS = 1000
"""Jobs in a row that are refused, upon which the sweep is."""
SINGLE = ("seed", "monitor", "monitor_mode", "task")
"""The keys that have one value in a search, which judges by them."""


def sweep(composer: Composer, flags: Namespace, words: Sequence[str], *, dry: bool = False) -> int:
    """Run one job for each combination of values; returns the exit code.

    In a sweep, a value that is wrong in some of the jobs only is left for those jobs to fail on.

    Raises:
        RequestError: The words are wrong, or no job would be accepted.
    """
    watched = parent.end_with_parent()
    how = _read_own(composer, words)
    if dry and (how.join or value_of("resume", words)):
        raise RequestError(
            "--dry-run lists the jobs of a sweep that has not begun; task=status says what is left of one"
        )
    if how.join:
        return _join(SweepFolder(Path(how.join).absolute()), watched)
    wanted = value_of("resume", words)
    if how.retry is not None and wanted in (None, "null"):
        raise RequestError(f"retry={how.retry} is about a sweep that has ended: give resume= too")
    if wanted not in (None, "null"):
        return _go_on(composer, find_sweep(str(wanted)), words, how)
    if (task := value_of("task", words)) in set(choices("task")) - {"train", "preview"}:
        raise RequestError(f"task={task} is not for a sweep; leave out -m")
    space = _space(composer, words, how)
    asked = space.probes if space else expand(composer, words)
    folder = SweepFolder(composer.compose(asked[0]).sweep_dir)
    jobs = plan_jobs(asked)
    settings = _check(composer, folder, jobs)
    if dry:
        read = _read_jobs(composer, folder, jobs)
        print_search(space, how, read) if space else print_plan(jobs, read)
        return GOOD
    plan = SweepPlan([*_flags(flags), *words], () if space else jobs)
    with ClaimedFolder(folder.path) as claimed:
        if folder.view.exists():
            way = "go on with it by -m resume=FOLDER, or give another hydra.sweep.dir"
            raise RequestError(f"{folder.path} already contains a sweep: {way}")
        claimed.begun = True
        return _run(composer, folder, plan, how, _search(how, space, settings))


def expand(composer: Composer, words: Sequence[str]) -> list[list[str]]:
    """The words of each job: a key is varied only where the job's choices own it.

    Raises:
        RequestError: There is none.
    """
    settings = _settings(words)
    grids = _grids(composer, settings, _read_own(composer, words).sweep)
    jobs = [job for grid in grids for job in composer.expand(grid)]
    if not jobs:
        raise RequestError("the sweep is empty: a list of values, or what glob() found, has nothing in it")
    key = functools.cache(key_of)
    owned: dict[tuple[str, ...], set[str]] = {}
    for job in jobs:
        choices = tuple(word for word in job if composer.is_choice(key(word)))
        owned[choices] = owned.get(choices) or set(map(key, composer.owned(job)))
    known = set().union(*owned.values())
    kept = []
    for job in jobs:
        own = owned[tuple(word for word in job if composer.is_choice(key(word)))]
        kept.append([word for word in job if key(word) in own or key(word) not in known])
    return kept


def _settings(words: Sequence[str]) -> list[str]:
    """The words that are of the jobs."""
    settings = [word for word in words if not is_of_sweep(word) and key_of(word) not in ONCE]
    return settings + _pinned(settings)


def _space(composer: Composer, words: Sequence[str], how: SweepCommand) -> Space | None:
    """What a search may try; None where the jobs are those of a grid.

    Raises:
        RequestError: The words do not say what is searched.
    """
    if how.search is None:
        if how.trials or how.prune:
            raise RequestError(
                f"{'trials' if how.trials else 'prune'}= is for a search: add search=tpe or search=random"
            )
        return None
    if how.trials is None:
        raise RequestError(f"search={how.search} needs trials=N: how many jobs there are to be")
    if how.sweep:
        raise RequestError(f"sweep={how.sweep} is a set of grids, all of which are run: leave out it or search=")
    load_optuna()
    settings = _settings(words)
    axes = composer.searched(settings)
    if not axes:
        raise RequestError(f"search={how.search}: nothing has several values; give a key an interval(), or a list")
    if fixed := [key for key in SINGLE if key in axes]:
        raise RequestError(f"{fixed[0]} has one value in a search: try others with its best settings, in a sweep")
    space = Space.of(settings, axes, composer.is_choice, composer.owned)
    if space.size < how.trials:
        raise RequestError(
            f"trials={how.trials}: there are only {space.size} settings: leave out search= to run them all"
        )
    return space


def _search(how: SweepCommand, space: Space | None, settings: Settings | None) -> Search | None:
    """What proposes the jobs; the settings of one of them say by which metric they are judged, and the seed."""
    if space is None or settings is None or how.search is None or how.trials is None:
        return None
    return Search(how.search, how.trials, space, settings.metric, settings.seed)


def _grids(composer: Composer, settings: Sequence[str], name: str | None) -> list[list[str]]:
    """The words of each grid: one, or one for each strategy of a set, under what the settings say for all.

    Raises:
        RequestError: There is no such set, or a strategy is asked for that it has no grid for.
    """
    if name is None:
        return [list(settings)]
    grids = read_grids(name, [config_dir(), *composer.folders(settings)])
    common = grids.pop("common", "").split()
    chosen = [word.partition("=")[2] for word in composer.axes(settings).get("scheduler", [])] or list(grids)
    if others := [strategy for strategy in chosen if strategy not in grids]:
        raise RequestError(f"sweep={name} has no grid for scheduler={others[0]}; {nearest(others[0], list(grids))}")
    own = [word for word in settings if key_of(word) != "scheduler"]
    return [[f"scheduler={strategy}", *grids[strategy].split(), *common, *own] for strategy in chosen]


def _pinned(words: Sequence[str]) -> list[str]:
    """One CPU thread a job, if nothing else is said, so that its numbers do not depend on how many run at a time."""
    said = value_of("threads", words) or value_of("task", words) not in (None, "train")
    return [] if said else [f"threads={os.environ.get('OMP_NUM_THREADS', '1')}"]


def _read_own(composer: Composer, words: Sequence[str]) -> SweepCommand:
    """The words of the sweep itself."""
    how = SweepCommand(**composer.values_of([word for word in words if is_of_sweep(word)]))
    if how.workers != "local" and how.jobs == "auto":
        raise RequestError(f"workers={how.workers} needs jobs=N: how many there are to be at a time")
    if how.workers == "slurm" and how.on_failure == "stop" and not how.search:
        raise RequestError(
            "on_failure=stop needs somebody who watches, and workers=slurm leaves: leave one of them out"
        )
    if how.slurm and how.workers != "slurm":
        raise RequestError("slurm= is of workers=slurm: add that")
    check_workers(how.workers, how.slurm or {})
    return how


def _flags(flags: Namespace) -> list[str]:
    """The flags that a job's words are read under."""
    return [f"--config-dir={Path(flags.config_dir).resolve()}"] if flags.config_dir else []


def _check(composer: Composer, folder: SweepFolder, jobs: Sequence[PlannedJob]) -> Settings | None:
    """The settings of the first job that would be accepted; None where there is no job.

    Raises:
        RequestError: None of the first ones would be, or what one chooses is not there in any: this is said before
            anything is written.
    """
    for read in _read_jobs(composer, folder, _with_unknown_choices(composer, jobs)):
        if isinstance(read, RequestError):
            raise read
    refusals = []
    for read in itertools.islice(_read_jobs(composer, folder, jobs), MOST_REFUSALS):
        if isinstance(read, Settings):
            return read
        refusals.append(read)
    if refusals:
        raise refusals[0]
    return None


def _with_unknown_choices(composer: Composer, jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """The first job of each choice that is not one of ours; it may be in a folder of the user's."""
    first: dict[str, PlannedJob] = {}
    for job in jobs:
        for word in job.words:
            first.setdefault(word, job)
    named = ((word.partition("="), job) for word, job in first.items() if composer.is_choice(key_of(word)))
    return [job for (group, _, name), job in named if name not in choices(group)]


def _read_jobs(
    composer: Composer, folder: SweepFolder, jobs: Iterable[PlannedJob]
) -> Iterator[Settings | RequestError]:
    """The settings of each job, or why it would be refused."""
    for job in jobs:
        try:
            yield read_request(composer, job.words, folder.job(job).path).job.settings
        except RequestError as error:
            yield error


def _go_on(composer: Composer, folder: SweepFolder, words: Sequence[str], how: SweepCommand) -> int:
    """Do what is left of a sweep, and what its words have more of now."""
    plan = folder.read()
    before = parse_arguments(plan.command)
    new = [word for word in words if key_of(word) not in ONCE]
    named = {(key_of(word), is_of_sweep(word)) for word in new}
    merged = [*(word for word in before.overrides if (key_of(word), is_of_sweep(word)) not in named), *new]
    how = replace(_read_own(composer, merged), retry=how.retry)
    with ClaimedFolder(folder.path) as claimed, Composer(before.config_dir) as own:
        claimed.begun = True
        space = _space(own, merged, how)
        probes = plan_jobs(space.probes) if space else []
        if space:
            check_kept([_settings(before.overrides)], [_settings(merged)])
        elif not all(map(is_of_sweep, new)):
            jobs = plan_jobs(expand(own, merged), plan.jobs)
            _check(own, folder, jobs[len(plan.jobs) :])
            plan = plan._replace(jobs=jobs)
        plan = plan._replace(command=[*_flags(before), *merged])
        _retry(folder, plan.jobs, how.retry)
        attempts = {job.name: folder.look(job).attempts for job in plan.jobs}
        plan = plan._replace(attempts={name: count for name, count in attempts.items() if count})
        return _run(own, folder, plan, how, _search(how, space, _check(own, folder, probes)))


def _retry(folder: SweepFolder, jobs: Sequence[PlannedJob], wanted: int | str | None) -> None:
    """Have jobs that failed done again: what came of them is forgotten, and their checkpoints are gone on from."""
    if isinstance(wanted, int) and wanted >= len(jobs):
        raise RequestError(f"retry={wanted}: the sweep has jobs 0 to {len(jobs) - 1}")
    for job in jobs if wanted is not None else ():
        if wanted in ("failed", job.number) and folder.look(job).state in BAD:
            with ClaimedFolder(folder.job(job).path) as own:
                own.begun = True
                own.summary.unlink(missing_ok=True)


def _run(composer: Composer, folder: SweepFolder, plan: SweepPlan, how: SweepCommand, search: Search | None) -> int:
    """Do the jobs that are not done, and show what came of all."""
    total, together = max(search.trials if search else 0, len(plan.jobs)), how.jobs == "population"
    batch = search.batch if search and together else None
    workers = count_workers(how.jobs, batch or total, here=how.workers == "local")
    view = View(folder, total, workers, live=not how.verbose, together=together)
    hint = hint_of_population if search is None and not together else None
    stops = how.on_failure == "stop"
    over = Coordinator(folder, plan, view, count=workers, search=search, batch=batch, stops=stops, hint=hint)
    command = [*PROGRAM, "-m", f"join={folder.path}"]
    try:
        if how.workers == "slurm" and search is None and over.left:
            return _leave(folder, over, submit(command, min(workers, over.idle), folder.workers, how.slurm or {}))
        if how.workers == "slurm":
            over.run_beside(lambda _: Submitted(submit(command, 1, folder.workers, how.slurm or {})[0]))
        elif how.workers == "ray":
            over.run_beside(connect_to_ray(command))
        elif workers == 1:
            over.run_here(_worker(composer, folder, plan, how))
        else:
            over.run_beside(start_beside(command))
    finally:
        over.conclude()
    return _show(folder, over)


def _leave(folder: SweepFolder, over: Coordinator, submitted: Sequence[Any]) -> int:
    """Say how to come back to a sweep whose jobs others do."""
    names = ", ".join(job.job_id for job in submitted)
    print(f"{len(submitted)} workers for {over.left} jobs, {place_of_tasks()}: {names}")
    print(f"what they print: {folder.workers}")
    print(f"how it stands: python -m lrtrain task=status run={folder.path}")
    print(f"the tables, and what is left then: python -m lrtrain -m resume={folder.path}")
    return GOOD


def _show(folder: SweepFolder, over: Coordinator) -> int:
    """Write and print the tables; returns the exit code."""
    plan = over.plan
    if any(value_of("task", job.words) == "preview" for job in plan.jobs):
        from lrtrain.sweeps.previews import overlay_jobs  # imports what only a preview needs

        overlay_jobs(folder.path, [folder.job(job).path for job in plan.jobs])
    else:
        write_table(folder, plan, over.standings)
        write_columns(folder, plan, over.standings)
        print_table(folder, plan, over.standings)
        compare_jobs(folder, plan)
        if value_of("search", plan.command) and (best := best_job(plan, over.standings)):
            own = [word for word in best.words if key_of(word) not in ("seed", "threads", "hydra.sweep.dir")]
            print(f"its best settings over seeds: {as_command(['-m', *own, 'seed=0,1,2,3,4,5'])}")
        drawn = any(folder.job(job).events for job in plan.jobs)
        curves = f"\ntensorboard --logdir {shlex.quote(str(folder.path))}" if drawn else ""
        print(f"{tally(over.standings)}\n{folder.table}{curves}")
    if signals.received and over.left:
        said = f"interrupted by signal {int(signals.received)}; go on with -m resume={folder.path}"
        print(f"lrtrain: {said}", file=sys.stderr)
        return 128 + signals.received
    return FAILED if over.failed else GOOD


def _worker(composer: Composer, folder: SweepFolder, plan: SweepPlan, how: SweepCommand) -> Worker:
    def read(words: Sequence[str], place: Path, resumes: bool) -> tuple[Bound, Job]:
        request = read_request(composer, [*words, *([f"resume={quoted(place)}"] if resumes else [])], place)
        return request.task, request.job

    pruning = Pruning(folder, how.prune) if how.prune else None
    program = (*PROGRAM, *(word for word in plan.command if word.startswith("--")))
    return Worker(folder, plan, read, how, pruning, LastRead(), program)


def _join(folder: SweepFolder, watched: bool) -> int:
    """Do jobs of a sweep that another process watches over; returns the exit code."""
    plan, code = folder.read(), GOOD
    command = parse_arguments(plan.command)
    with Composer(command.config_dir) as composer:
        how = _read_own(composer, command.overrides)
        worker = _worker(composer, folder, plan, how)
        while True:
            for job, outcome in worker.outcomes():
                if outcome.status == "interrupted":
                    assert outcome.exception is not None
                    raise outcome.exception
                if not watched:
                    print(f"{job.name}: {outcome.status}")
                    code = code if code_of(outcome) == GOOD else FAILED
            if len(worker.plan.jobs) >= (how.trials or 0) or not is_live(folder.path):
                return code
            time.sleep(EVERY)  # the search proposes the next one
            worker = worker._replace(plan=folder.read())
