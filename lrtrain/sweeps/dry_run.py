"""What a sweep would do: its jobs, their updates, and how long they would take, as far as earlier runs tell."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from lrtrain.errors import RequestError
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.run_folder.find import find_runs
from lrtrain.run_folder.summary import read_summary
from lrtrain.run_folder.sweep_folder import PlannedJob
from lrtrain.settings import Settings

ALIKE = ("model", "dataset", "batch_size")
"""The settings that decide the time of an update, as far as this looks."""


def print_plan(jobs: Sequence[PlannedJob], read: Sequence[Settings | RequestError]) -> None:
    """Print a line for each job, and how many they are.

    Args:
        jobs: Of the sweep.
        read: The settings of each, or why it would be refused.
    """
    total, seconds = 0, 0.0
    costs, unknown = _costs(), 0
    for job, settings in zip(jobs, read, strict=True):
        if isinstance(settings, RequestError):
            print(f"{job.name}: refused: {settings}")
            continue
        updates = Segment(settings, steps_per_epoch(settings)).total_steps
        total += updates
        print(f"{job.name}: {updates:,} updates")
        cost = costs.get(_alike(settings.plain()))
        unknown += cost is None
        seconds += updates * (cost or 0)
    took = "no earlier run below outputs/ tells how long" if unknown else f"about {seconds:,.0f} s one after the other"
    print(f"{len(jobs)} jobs, {total:,} updates; {took}")


def _costs() -> dict[str, float]:
    """Seconds an update of runs before, by what decides them."""
    found = {}
    for folder in find_runs():
        with suppress(FileNotFoundError, RequestError):
            summary = read_summary(folder.summary)
            if summary.task == "train" and summary.is_good and summary.steps:
                found[_alike(summary.config)] = summary.wall_s / summary.steps
    return found


def _alike(config: object) -> str:
    assert isinstance(config, dict)
    return repr([config.get(key) for key in ALIKE])
