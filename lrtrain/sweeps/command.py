"""The words of a sweep itself, which are no settings of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from lrtrain.parameters.bound import Checked
from lrtrain.parameters.rules import Choice, Either, Number, OrNull, Table, Text


@dataclass(frozen=True, kw_only=True)
class SweepCommand(Checked):
    """What a sweep does with its jobs.

    Args:
        jobs: how many run at a time, each on one CPU thread if threads= says nothing; auto: one a core, or a GPU;
            population: those of one kind train as one
        workers: where they run: local processes; slurm tasks (through submitit); tasks of a ray cluster
        slurm: of each of its tasks, as submitit has it: {partition:gpu,gpus_per_node:1,timeout_min:240}
        sweep: a grid for each strategy: founding, tournament, or a file of yours; scheduler= chooses some of them
        search: tpe or random (through Optuna) proposes the jobs, from interval(), range(), choice() and tag(log,...)
        trials: how many jobs a search has
        prune: end jobs of a search early at a validation: median of the others, or hyperband
        retry: with resume=: do again what failed: failed (all of them), or the number of a job
        on_failure: continue with the others; stop at the first job that fails
        keep: checkpoints of jobs that have come to their end: all, best, last or none
        join: help with a sweep that is under way elsewhere: its folder, on a disk that both share
        verbose: print what each job prints
    """

    jobs: Annotated[int | str, Either((Number(low=1, integer=True), Choice(("auto", "population"))))] = 1
    workers: Literal["local", "slurm", "ray"] = "local"
    slurm: Annotated[Mapping[str, Any] | None, OrNull(Table())] = None
    sweep: Annotated[str | None, OrNull(Text())] = None
    search: Annotated[str | None, OrNull(Choice(("tpe", "random")))] = None
    trials: Annotated[int | None, OrNull(Number(low=1, integer=True))] = None
    prune: Annotated[str | None, OrNull(Choice(("median", "hyperband")))] = None
    retry: Annotated[int | str | None, OrNull(Either((Choice(("failed",)), Number(low=0, integer=True))))] = None
    on_failure: Literal["continue", "stop"] = "continue"
    keep: Literal["all", "best", "last", "none"] = "all"
    join: Annotated[str | None, OrNull(Text())] = None
    verbose: bool = False
