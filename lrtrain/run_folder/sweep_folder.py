"""The folder of a sweep: what it is to do, and how its jobs stand, which only their own folders say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lrtrain.errors import RequestError
from lrtrain.run_folder.claim import attempts_at, is_live
from lrtrain.run_folder.files import MOST_ROWS, read_text, write_text
from lrtrain.run_folder.find import look
from lrtrain.run_folder.folder import OUTPUTS, SWEEP, SWEEP_TABLE, RunFolder
from lrtrain.run_folder.summary import BAD, GOOD, Summary

FORMAT = 1
DONE = (*GOOD, "pruned", *BAD)
"""The states of a job that is left alone."""
TAKEN = (*DONE, "running")
"""Those of a job that nobody is to begin."""


class PlannedJob(NamedTuple):
    """One job of a sweep.

    Attributes:
        number: From 0.
        name: Of its folder.
        words: Of the command, for this job.
    """

    number: int
    name: str
    words: Sequence[str]


class SweepPlan(NamedTuple):
    """What a sweep is to do.

    Attributes:
        command: Its flags and words.
        jobs: In order.
        attempts: How often each had been begun, by name, when the sweep was last begun or gone on with.
    """

    command: Sequence[str]
    jobs: Sequence[PlannedJob]
    attempts: Mapping[str, int] = {}


class Standing(NamedTuple):
    """How a job stands.

    Attributes:
        state: Of its run, or ``waiting``.
        attempts: How often it was begun.
        seconds: That the last part of it took.
        summary: What came of it, where anything has.
    """

    state: str = "waiting"
    attempts: int = 0
    seconds: float = 0.0
    summary: Summary | None = None


def tally(standings: Sequence[Standing]) -> str:
    """How many jobs there are, and how many of each state."""
    counts = Counter(standing.state for standing in standings)
    return f"{len(standings)} jobs, " + ", ".join(f"{state}: {count}" for state, count in counts.items())


class SweepFolder:
    """Where a sweep keeps its jobs.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.view = path / SWEEP
        self.table = path / SWEEP_TABLE
        self.workers = path / "workers"

    def job(self, job: PlannedJob) -> RunFolder:
        """The folder of a job."""
        return RunFolder(self.path / job.name)

    def look(self, job: PlannedJob) -> Standing:
        """How a job stands now."""
        folder = self.job(job)
        if not folder.path.exists():
            return Standing()
        state, summary = look(folder)
        return Standing(state, attempts_at(folder.path), summary.wall_s if summary else 0.0, summary)

    def look_at_all(self, jobs: Iterable[PlannedJob]) -> list[Standing]:
        """How jobs stand now."""
        there = {path.name for path in self.path.iterdir()}
        return [self.look(job) if job.name in there else Standing() for job in jobs]

    def read(self) -> SweepPlan:
        """What the sweep is to do; raises RequestError where that cannot be read."""
        try:
            found = json.loads(read_text(self.view, MOST_ROWS))
            if found["format"] > FORMAT:
                raise RequestError(f"{self.view} was written by a newer lrtrain: update this one")
            jobs = [PlannedJob(job["number"], job["name"], job["overrides"]) for job in found["jobs"]]
            return SweepPlan(found["command"], jobs, found.get("attempts_before", {}))
        except FileNotFoundError:
            if not self.path.is_dir():
                raise RequestError(f"there is no folder {self.path}") from None
            said = f"{self.path} is not the folder of a sweep: there is no {SWEEP} in it"
            raise RequestError(f"{said}; a run is gone on with without -m") from None
        except RequestError:
            raise
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise RequestError(f"{self.view} cannot be read: {error}") from None

    def write(self, plan: SweepPlan, standings: Iterable[Standing]) -> None:
        """Replace what is said of the sweep: a line for each job, as there may be 100,000."""
        jobs = [
            json.dumps(
                {
                    "number": job.number,
                    "name": job.name,
                    "overrides": list(job.words),
                    "state": standing.state,
                    "attempts": standing.attempts,
                    "seconds": standing.seconds,
                }
            )
            for job, standing in zip(plan.jobs, standings, strict=True)
        ]
        said = {"format": FORMAT, "command": list(plan.command), "attempts_before": dict(plan.attempts)}
        write_text(self.view, f'{json.dumps(said)[:-1]}, "jobs": [\n' + ",\n".join(jobs) + "\n]}\n")


def find_sweep(wanted: str, below: Path = OUTPUTS) -> SweepFolder:
    """The sweep that `resume=` names under -m: its folder, or ``last`` for the newest that nobody runs."""
    if wanted != "last":
        return SweepFolder(Path(wanted).absolute())
    found = sorted(below.glob(f"**/{SWEEP}"), key=lambda path: -path.stat().st_mtime)
    for path in found:
        if not is_live(path.parent):
            return SweepFolder(path.parent.absolute())
    raise RequestError(f"resume=last: there is no sweep below {below} to go on with; give resume=FOLDER")
