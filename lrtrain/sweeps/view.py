"""What a person sees of a sweep: a line for each job that runs and one for the sweep, or a line for each that ends."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lrtrain.plan.progress import progress, total_steps
from lrtrain.run_folder.summary import BAD
from lrtrain.run_folder.sweep_folder import DONE, PlannedJob, Standing, SweepFolder, SweepPlan
from lrtrain.sweeps.table import sign_of, value_of

BAR = 20


class View:
    """Shows a sweep while it runs.

    Args:
        folder: Of the sweep.
        total: How many jobs it is to have.
        workers: How many run at a time.
        live: Draw on the terminal, if the output is one.
        together: Each trains many jobs as one.
    """

    def __init__(self, folder: SweepFolder, total: int, workers: int, *, live: bool, together: bool = False) -> None:
        self._how = f"trained as one by {workers} process{'es' * (workers > 1)}" if together else f"{workers} at a time"
        self.folder, self.total, self.workers = folder, total, workers
        self._console = Console(file=sys.stdout, highlight=False)  # what the jobs print goes elsewhere
        self._live = Live(console=self._console, auto_refresh=False) if live and self._console.is_terminal else None
        self._seen: dict[int, tuple[int, float, int]] = {}
        self._began = time.monotonic()
        self._done_before = self._done = 0
        self._best: tuple[float, str] | None = None

    def begin(self, plan: SweepPlan, standings: Sequence[Standing]) -> None:
        """Say what is to be done."""
        self._done_before = self._done = sum(standing.state in DONE for standing in standings)
        for job, standing in zip(plan.jobs, standings, strict=True):
            self._compare(job, standing)
        done = f", {self._done} of them done" if self._done else ""
        self.say(f"{self.total} jobs{done}, {self._how}: {self.folder.path}")
        if self._live:
            self._live.start()

    def tell(self, job: PlannedJob, standing: Standing) -> None:
        """Say that a job has come to its end; one that failed at once, and why."""
        self._done += 1
        self._seen.pop(job.number, None)
        self._compare(job, standing)
        if standing.state in BAD:
            error = standing.summary.error if standing.summary else None
            line = f"job {job.number} failed: {error}"
            print(line, file=sys.stderr, flush=True) if not self._live else self.say(line)
        elif not self._live:
            name, value = value_of(standing)
            measured = f"{name} {value:.4f}, " if value is not None else f"{standing.state}, "
            self.say(f"[{self._done}/{self.total}] {job.name}: {measured}{standing.seconds:.1f} s")

    def refresh(self, plan: SweepPlan, standings: Sequence[Standing]) -> None:
        """Draw how it stands now."""
        if self._live:
            self._live.update(self._drawn(plan, standings), refresh=True)

    def end(self) -> None:
        """Release the terminal."""
        if self._live:
            self._live.stop()
            self._live = None

    def say(self, line: str) -> None:
        """Print a line above what is drawn."""
        self._console.print(line, markup=False, emoji=False, soft_wrap=True)

    def _drawn(self, plan: SweepPlan, standings: Sequence[Standing]) -> Group:
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right"):
            table.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
        for job in plan.jobs:
            if standings[job.number].state == "running":
                table.add_row(*map(Text, self._line(job)))
        counts = Counter(standing.state for standing in standings)
        told = ((counts["pruned"], "pruned"), (counts["failed"] + counts["diverged"], "failed"))
        said = ", ".join(
            [f"{self._done} of {self.total} done", *(f"{count} {state}" for count, state in told if count)]
        )
        parts = (said, self._best[1] if self._best else "", self._left())
        return Group(table, Text("  ".join(filter(None, parts)), no_wrap=True, overflow="ellipsis"))

    def _compare(self, job: PlannedJob, standing: Standing) -> None:
        """Remember the best job so far."""
        name, value = value_of(standing)
        if value is None or standing.summary is None:
            return
        less = sign_of(standing.summary) * value
        if self._best is None or less < self._best[0]:
            self._best = less, f"best {name} {value:.4f}: {job.name}"

    def _line(self, job: PlannedJob) -> tuple[str, str, str, str]:
        """What is known of a job that runs: its name, how far it is, its loss, the time it will take."""
        folder, now = self.folder.job(job), time.monotonic()
        first, since, total = self._seen.get(job.number, (0, now, 0))
        known = progress(folder, total or total_steps(folder))
        if job.number not in self._seen or not total:
            self._seen[job.number] = first, since, _ = known.step, now, known.total
        share = known.step / known.total if known.total else 0.0
        loss = next(
            (f"{name} {known.metrics[name]:.4f}" for name in ("val_loss", "train_loss") if name in known.metrics), ""
        )
        done = known.step - first
        left = _time((known.total - known.step) * (now - since) / done) if done > 0 else ""
        return job.name, f"{'━' * round(BAR * share):{BAR}} {share:4.0%}", loss, left

    def _left(self) -> str:
        """The time that the rest of the sweep will take, as long as the jobs so far."""
        done = self._done - self._done_before
        return _time((time.monotonic() - self._began) / done * (self.total - self._done)) if done else ""


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"
