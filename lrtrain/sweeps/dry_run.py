"""What a sweep would do: its jobs, their updates, and how long they would take, as far as earlier runs tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from lrtrain.errors import RequestError
from lrtrain.plan.history import Segment
from lrtrain.plan.length import steps_per_epoch
from lrtrain.run_folder.find import find_runs
from lrtrain.run_folder.summary import read_summary
from lrtrain.run_folder.sweep_folder import PlannedJob
from lrtrain.settings import Settings
from lrtrain.sweeps.command import SweepCommand
from lrtrain.sweeps.search import Space

ALIKE = ("model", "dataset", "batch_size")
"""The settings that decide the time of an update, as far as this looks."""


def print_plan(jobs: Sequence[PlannedJob], read: Iterable[Settings | RequestError]) -> None:
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
        updates = _updates(settings)
        total += updates
        print(f"{job.name}: {updates:,} updates")
        cost = costs.get(_alike(settings.plain()))
        unknown += cost is None
        seconds += updates * (cost or 0)
    took = "no earlier run below outputs/ tells how long" if unknown else f"about {seconds:,.0f} s one after the other"
    print(f"{len(jobs)} jobs, {total:,} updates; {took}")


def print_search(space: Space, how: SweepCommand, read: Iterable[Settings | RequestError]) -> None:
    """Print what is searched, and how much that is at most.

    Args:
        space: That is searched.
        how: The words of the sweep.
        read: The settings of a job of each branch, or why it would be refused.
    """
    for branch in space.branches.values():
        print(" ".join(word for word in branch.words if word.partition("=")[0] in space.choices) or "all jobs")
        for key, axis in branch.axes.items():
            print(f"  {key}: {axis}")
    known = [settings for settings in read if isinstance(settings, Settings)]
    updates = (how.trials or 0) * max(_updates(settings) for settings in known)
    print(f"{how.trials} jobs, of which search={how.search} proposes one after the other; at most {updates:,} updates")


def _updates(settings: Settings) -> int:
    return Segment(settings, steps_per_epoch(settings)).total_steps


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
