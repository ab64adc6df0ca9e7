"""Sees to it that the jobs of a sweep are done: starts workers, watches the folders of the jobs, and keeps the view."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lrtrain.errors import FaultError, InterruptedRunError
from lrtrain.process import parent, signals
from lrtrain.run_folder.summary import BAD, Summary
from lrtrain.run_folder.sweep_folder import DONE, PlannedJob, Standing, SweepFolder, SweepPlan
from lrtrain.sweeps.clusters import Process
from lrtrain.sweeps.search import Search
from lrtrain.sweeps.view import View
from lrtrain.sweeps.worker import Worker

EVERY = 1.0
"""Seconds between two looks at the jobs, and at least between two versions of `sweep.json`."""
SHARE = 20
"""Writing `sweep.json` takes at most the 20th part of the time, and so does looking at the jobs that run here."""
SHARE_OF_PROCESS = 24
"""Jobs of a population that are worth a process of their own."""
FRUITLESS = 3
"""Workers that may end one after the other before anything has come of them."""


Hint = Callable[[Summary, int, int], str | None]


class Coordinator:
    """Watches over the jobs of a sweep, whose folders alone say how they stand.

    Args:
        folder: Of the sweep, which this process has claimed.
        plan: Its jobs.
        view: Shows it to a person.
        count: How many jobs run at a time.
        search: Proposes more jobs as these end; None where the plan has all.
        batch: How many it proposes at once, when all before have ended; None for one whenever one can begin.
        stops: At the first job that fails.
        hint: Given what came of the first job, how many are left, and how many run at a time, what a person is told.

    Attributes:
        plan: Its jobs, as far as there are.
        standings: Of the jobs, in their order.
    """

    def __init__(
        self,
        folder: SweepFolder,
        plan: SweepPlan,
        view: View,
        *,
        count: int,
        search: Search | None,
        batch: int | None = None,
        stops: bool,
        hint: Hint | None = None,
    ) -> None:
        self.folder, self.plan, self.view = folder, plan, view
        self._count, self._search, self._batch = count, search, batch
        self.standings = folder.look_at_all(plan.jobs)
        self._open = {job.number: job for job in plan.jobs if self.standings[job.number].state not in DONE}
        self._stops, self._changes, self._hint = stops, 0, hint
        self._lock = threading.Lock()
        self._written, self._took = 0.0, 0.0
        self.stopped = False
        self._propose()
        self._write()
        self.view.begin(self.plan, self.standings)

    def look(self, job: PlannedJob | None = None) -> None:
        """See how the jobs stand that are not done, or one of them; tell of those that have come to an end."""
        with self._lock:
            there = set() if job else {path.name for path in self.folder.path.iterdir()}
            for each in [job] if job else [each for each in self._open.values() if each.name in there]:
                self._look_at(each)
            if self._propose() or time.monotonic() - self._written >= max(EVERY, SHARE * self._took):
                self._write()
            self.view.refresh(self.plan, self.standings)

    def _look_at(self, job: PlannedJob) -> None:
        before, now = self.standings[job.number], self.folder.look(job)
        if job.number not in self._open or (now.state, now.attempts) == (before.state, before.attempts):
            return
        self.standings[job.number] = now
        self._changes += 1
        if now.state in DONE:
            del self._open[job.number]
            self.view.tell(job, now)
            if self._hint and now.summary:
                if line := self._hint(now.summary, len(self._open), self._count):
                    self.view.say(line)
                self._hint = None
            self.stopped |= self._stops and now.state in BAD

    def _propose(self) -> bool:
        """Have the search propose the jobs that can begin; they are written down before anybody begins them."""
        free = self._count - len(self._open) if self._batch is None else 0 if self._open else self._batch
        wanted = 0 if self.stopped else min(free, self._to_come)
        for _ in range(wanted):
            assert self._search, "else there are none to come"
            job = self._search.propose(self.plan.jobs, self.standings)
            self.plan = self.plan._replace(jobs=[*self.plan.jobs, job])
            self.standings.append(Standing())
            self._open[job.number] = job
        return wanted > 0

    @property
    def _to_come(self) -> int:
        """How many jobs are still to be proposed."""
        return max(0, self._search.trials - len(self.plan.jobs)) if self._search else 0

    def run_here(self, worker: Worker) -> None:
        """Do the jobs in this process, one after the other.

        A thread of its own watches meanwhile, so that what runs can be seen.
        """
        ended = threading.Event()

        def watch() -> None:
            wait = EVERY
            while not ended.wait(wait):
                wait = self._look_again_in(EVERY)

        watching = threading.Thread(target=watch, name="sweep", daemon=True)
        watching.start()
        try:
            while self._open and not self.stopped:
                is_idle = True
                for job, outcome in worker._replace(plan=self.plan).outcomes():
                    is_idle = False
                    if outcome.status == "interrupted":
                        return
                    self.look(job)
                    if self.stopped:
                        return
                if self._open and is_idle:
                    time.sleep(EVERY)  # others do what is left
                    self.look()
        except InterruptedRunError:
            pass  # it is remembered
        finally:
            signals.defer()  # only the table is left
            ended.set()
            watching.join()

    def run_beside(self, start: Callable[[int], Process]) -> None:
        """Let other processes do the jobs; one that is killed is replaced.

        Args:
            start: Starts a worker, told which of those that run at a time it is.

        Raises:
            FaultError: They end before anything comes of them.
        """
        signals.defer()
        workers: dict[int, tuple[Process, int]] = {}
        fruitless, pause = 0, EVERY / 5
        while self._open and not self.stopped and signals.received is None:
            for slot, (process, changes) in list(workers.items()):
                if (code := process.poll()) is not None:
                    del workers[slot]
                    fruitless = fruitless + 1 if code and changes == self._changes else 0
            if fruitless >= FRUITLESS:
                raise FaultError(f"{FRUITLESS} workers ended before they had done anything; the last one said why")
            if self._has_work():
                for slot in [slot for slot in range(min(self._count, len(self._open))) if slot not in workers]:
                    workers[slot] = start(slot), self._changes
            time.sleep(pause)
            pause = min(EVERY, self._look_again_in(EVERY / 5))
        for process, _ in workers.values():
            if self._open:
                process.send_signal(signals.received or signal.SIGTERM)
        for process, _ in workers.values():
            process.wait()

    def conclude(self) -> None:
        """Bring the view up to date for the last time."""
        self.look()
        self._write()
        self.view.end()

    @property
    def idle(self) -> int:
        """How many jobs nobody does."""
        return sum(self.standings[number].state != "running" for number in self._open)

    @property
    def left(self) -> int:
        """How many jobs are not done."""
        return len(self._open) + self._to_come

    @property
    def failed(self) -> int:
        """How many jobs failed or diverged."""
        return sum(standing.state in BAD for standing in self.standings)

    def _look_again_in(self, least: float) -> float:
        """Look at the jobs; the seconds, so many at least, until doing so again takes no more than its share."""
        began = time.monotonic()
        self.look()
        return max(least, SHARE * (time.monotonic() - began))

    def _has_work(self) -> bool:
        return any(self.standings[number].state in ("waiting", "interrupted") for number in self._open)

    def _write(self) -> None:
        began = time.monotonic()
        self.folder.write(self.plan, self.standings)
        self._written = time.monotonic()
        self._took = self._written - began


def start_beside(command: Sequence[str]) -> Callable[[int], Process]:
    """What starts a worker on this machine, each with a GPU where there are some."""
    devices = visible_devices()

    def start(slot: int) -> Process:
        return parent.start(command, {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {})

    return start


def visible_devices() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA takes; none is asked for what it is."""
    if (said := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in said.split(",") if name.strip() not in ("", "-1")]
    with suppress(OSError):
        return [str(number) for number in range(len(list(Path("/proc/driver/nvidia/gpus").iterdir())))]
    return []


def count_workers(jobs: int | str, planned: int, *, here: bool = True) -> int:
    """How many processes do the jobs.

    Args:
        jobs: So many; ``auto`` is one a GPU, or one a core, and ``population`` at most that.
        planned: How many jobs there are.
        here: On this machine; a cluster decides itself how many of a population's there is room for.
    """
    if isinstance(jobs, int):
        return jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = len(visible_devices()) or cores or 1
    if jobs == "auto":
        return most
    shares = max(1, planned // SHARE_OF_PROCESS)
    return min(most, shares) if here else shares
