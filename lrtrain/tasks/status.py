"""task=status: say how a sweep or a run stands, from another terminal than its own; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import Text
from lrtrain.plan.progress import progress, total_steps
from lrtrain.report.table import print_rows
from lrtrain.run_folder.claim import LOCK, is_live
from lrtrain.run_folder.find import look
from lrtrain.run_folder.folder import OUTPUTS, SWEEP, RunFolder
from lrtrain.run_folder.summary import BAD, Summary
from lrtrain.run_folder.sweep_folder import SweepFolder, tally
from lrtrain.tasks import Job


def run(job: Job, /, *, run: Annotated[str, Text()] = "last") -> Summary:
    """Print what runs, with its loss, and what has failed, and how many jobs are done.

    Args:
        run: the folder of a sweep or of a run; last for the newest

    Raises:
        RequestError: There is no such folder.
    """
    place = _newest() if run == "last" else Path(run)
    if (place / SWEEP).exists():
        _show_sweep(SweepFolder(place))
    elif (place / LOCK).exists() or RunFolder(place).summary.exists():
        _show([place])
    else:
        raise RequestError(f"run={run} is not the folder of a sweep or of a run")
    return Summary(status="finished", task="status")


def _newest() -> Path:
    """The sweep or run that somebody has written to last; a job counts as its sweep."""
    found = [path for name in (SWEEP, LOCK) for path in OUTPUTS.glob(f"**/{name}")]
    if not found:
        raise RequestError(f"run=last: there is no run below {OUTPUTS}; give run=FOLDER")
    place = max(found, key=lambda path: path.stat().st_mtime).parent
    return place.parent if (place.parent / SWEEP).exists() else place


def _show_sweep(folder: SweepFolder) -> None:
    plan = folder.read()
    standings = folder.look_at_all(plan.jobs)
    print(f"{folder.path}: {'running' if is_live(folder.path) else 'nobody runs it'}")
    print(tally(standings))
    pairs = list(zip(plan.jobs, standings, strict=True))
    told = ("running", "interrupted", *BAD)
    if shown := [folder.job(job).path for job, standing in pairs if standing.state in told]:
        _show(shown)


def _show(places: Sequence[Path]) -> None:
    rows = []
    for folder in map(RunFolder, places):
        state, summary = look(folder)
        known = progress(folder, total_steps(folder))
        done = f"{known.step}/{known.total}" if known.total else ""
        losses = [f"{known.metrics[name]:.4f}" if name in known.metrics else "" for name in ("train_loss", "val_loss")]
        error = f": {summary.error}" if summary and summary.error and state != "running" else ""
        rows.append([state, done, *losses, f"{folder.path.name}{error}"])
    print_rows(["state", "updates", "train loss", "val loss", "run"], rows)
