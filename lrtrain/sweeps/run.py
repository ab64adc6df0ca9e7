"""Runs the jobs of a sweep one after the other; one that fails does not stop the others."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrtrain.errors import InterruptedRunError, RequestError
from lrtrain.process import signals
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import write_json, write_text
from lrtrain.run_folder.folder import SWEEP, RunFolder
from lrtrain.run_folder.log import logging_to
from lrtrain.run_folder.summary import Summary
from lrtrain.sweeps.jobs import SweepJob
from lrtrain.sweeps.table import write_table

FORMAT = 1

log = logging.getLogger("lrtrain")


def run_sweep(jobs: Sequence[SweepJob], place: Path, varied: Sequence[str], command: Sequence[str]) -> list[Summary]:
    """Run the jobs, and show what came of all of them.

    Args:
        jobs: In order.
        place: The sweep's folder.
        varied: The keys that are swept.
        command: The words of the sweep.

    Returns:
        What came of each job that was begun; a signal keeps those that follow from it.

    Raises:
        RequestError: Another sweep runs in the folder.
    """
    with ClaimedFolder(place) as folder:
        if (place / SWEEP).exists():
            raise RequestError(f"{place} already contains a sweep: give another hydra.sweep.dir")
        folder.begun = True
        states: list[dict[str, Any]] = [
            {
                "number": job.number,
                "name": job.name,
                "overrides": job.words,
                "state": "waiting",
                "attempts": 0,
                "seconds": 0,
            }
            for job in jobs
        ]
        outcomes: list[Summary] = []
        for job, state in zip(jobs, states, strict=True):
            if signals.received:
                break
            state |= {"state": "running", "attempts": 1}
            _write(place, command, states)
            began = time.perf_counter()
            outcome = _run(job, place / job.name)
            outcomes.append(outcome)
            state |= {"state": outcome.status, "seconds": round(time.perf_counter() - began, 3)}
        signals.defer()  # only the table is left
        _write(place, command, states)
        _show(jobs[: len(outcomes)], outcomes, place, varied)
    return outcomes


def _run(job: SweepJob, place: Path) -> Summary:
    """What comes of one job, whatever it runs into."""
    try:
        signals.act()  # the job before may have put them off
        if job.refusal:
            raise job.refusal
        assert job.task is not None
        outcome: Summary = job.task.make(job.job)
    except InterruptedRunError as error:
        return Summary(status="interrupted", ended_by=signals.name_of(error.signum), error=str(error), exception=error)
    except Exception as error:
        write_text(place / ".hydra" / "overrides.yaml", json.dumps(job.words))  # JSON is YAML
        with logging_to(RunFolder(place).log):
            log.exception("%s", error)
        outcome = Summary(status="failed", ended_by="error", error=str(error), exception=error)
    if not outcome.is_good and outcome.status != "interrupted":
        print(f"job {job.number} failed: {outcome.error}", file=sys.stderr)
    return outcome


def _write(place: Path, command: Sequence[str], states: Sequence[dict[str, Any]]) -> None:
    write_json(place / SWEEP, {"format": FORMAT, "command": list(command), "jobs": states})


def _show(jobs: Sequence[SweepJob], outcomes: Sequence[Summary], place: Path, varied: Sequence[str]) -> None:
    if any(job.task and job.task.name == "preview" for job in jobs):
        from lrtrain.sweeps.previews import overlay_jobs  # imports what only a preview needs

        overlay_jobs(place, [place / job.name for job in jobs])
    else:
        write_table(jobs, outcomes, place, varied)
