"""One table for a sweep: a row per job, the best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrtrain.report.table import METRICS, print_rows
from lrtrain.run_folder.files import Table
from lrtrain.run_folder.summary import Summary
from lrtrain.sweeps.jobs import SweepJob

SHOWN = ("job", "status", "best_val_loss", "best_val_acc", "best_test_acc", "name")


def write_table(jobs: Sequence[SweepJob], outcomes: Sequence[Summary], place: Path, varied: Sequence[str]) -> None:
    """Write `summary.csv` into a sweep's folder, and print the ranking; a job that failed is a row too."""
    pairs = list(zip(jobs, outcomes, strict=True))
    metrics = dict.fromkeys((*METRICS, *(outcome.monitor for outcome in outcomes if outcome.monitor)))
    measured = [f"{which}_{metric}" for which in ("best", "final") for metric in metrics]
    own = ["job", "name", "status", "strategy"]
    columns = dict.fromkeys([*own, *varied, "seed", "steps", "wall_s", "monitor", *measured])
    rows = [_row(job, outcome, varied, measured) for job, outcome in sorted(pairs, key=_rank)]
    table = Table(place / "summary.csv", columns)
    for row in rows:
        table.add(row)
    table.close()
    print_rows(
        [name.replace("_", " ", 1) for name in SHOWN], [[_text(row.get(name)) for name in SHOWN] for row in rows]
    )
    failed = sum(not outcome.is_good for outcome in outcomes)
    print(f"{len(rows)} jobs, failed: {failed}\n{place / 'summary.csv'}\ntensorboard --logdir {place}")


def _row(job: SweepJob, outcome: Summary, varied: Sequence[str], measured: Sequence[str]) -> dict[str, Any]:
    said = dict(word.lstrip("+").split("=", 1) for word in job.words if "=" in word)
    values: Mapping[str, Any] = {"best": outcome.best, "final": outcome.final}
    row = {"job": job.number, "name": job.name, "status": outcome.status, "strategy": outcome.strategy}
    row |= {key: said.get(key) for key in varied}
    row |= {"seed": outcome.seed, "steps": outcome.steps, "wall_s": outcome.wall_s, "monitor": outcome.monitor}
    return row | {name: values[name.partition("_")[0]].get(name.partition("_")[2]) for name in measured}


def _rank(pair: tuple[SweepJob, Summary]) -> tuple[bool, float]:
    """The best of each job's monitored metric first; jobs that did not finish last."""
    job, outcome = pair
    value = outcome.best.get(str(outcome.monitor))
    if not outcome.is_good or value is None or job.job is None:
        return True, 0.0
    return False, -value if job.job.settings.metric.mode == "max" else value


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str("" if value is None else value)
