"""One table for a sweep: a row a job, the best first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lrtrain.planning import metric_mode
from lrtrain.report.table import print_rows
from lrtrain.runs import RunFolder, Table, job_folders, read_overrides

METRICS = ("val_loss", "val_acc", "test_loss", "test_acc")
COLUMNS = (
    "job",
    "status",
    "overrides",
    "strategy",
    "seed",
    "steps",
    "wall_s",
    "monitor",
    "monitor_mode",
    *(f"best_{m}" for m in METRICS),
    *(f"final_{m}" for m in METRICS),
)


class SweepFolder(Callback):
    """Remembers where Hydra runs a sweep, so that it can be summarised also when jobs failed; or a single run."""

    path: ClassVar[Path | None] = None
    run: ClassVar[Path | None] = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before it makes the folder of a single run."""
        SweepFolder.run = Path(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra before the first job."""
        SweepFolder.path = Path(config.hydra.sweep.dir)


def summarise(folder: Path) -> None:
    """Write `summary.csv` into a sweep's folder, and print the ranking; a job that failed is a row too."""
    rows = ranked([job_row(job, folder) for job in job_folders(folder)])
    if not rows:
        print(f"no job has left a folder of its own below {folder}")
        return
    others = dict.fromkeys(column for row in rows for column in row if column not in COLUMNS)
    table = Table(folder / "summary.csv", [*COLUMNS, *others])
    for row in rows:
        table.add(row)
    table.close()
    common = set.intersection(*(set(row["overrides"].split()) for row in rows))
    shown = [{**row, "overrides": " ".join(o for o in row["overrides"].split() if o not in common)} for row in rows]
    names = ("job", "status", "best_val_loss", "best_val_acc", "final_test_acc", "overrides")
    print_rows(
        [name.replace("_", " ", 1) for name in names], [[_text(row.get(name)) for name in names] for row in shown]
    )
    failed = sum(row["status"] != "finished" for row in rows)
    print(f"{len(rows)} jobs, failed: {failed}\n{folder / 'summary.csv'}\ntensorboard --logdir {folder}")


def job_row(folder: RunFolder, sweep: Path) -> dict[str, Any]:
    """What is known of a job: from its summary, or that it has none."""
    overrides = read_overrides(folder.overrides) if folder.overrides.is_file() else []
    name = str(folder.path.relative_to(sweep))
    row: dict[str, Any] = {"job": name, "overrides": " ".join(overrides), "status": "failed"}
    try:
        summary = folder.read_summary()
    except FileNotFoundError:
        return row
    row |= {name: summary[name] for name in ("status", "strategy", "seed", "steps", "wall_s", "monitor")}
    row["monitor_mode"] = metric_mode(summary["config"])
    for which in ("best", "final"):
        row |= {f"{which}_{metric}": summary[which].get(metric) for metric in (*METRICS, summary["monitor"])}
    return row


def ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best of each job's monitored metric first; jobs that did not finish last."""

    def key(row: dict[str, Any]) -> tuple[bool, float]:
        value = row.get(f"best_{row.get('monitor')}")
        if row["status"] != "finished" or value is None:
            return True, 0.0
        return False, -value if row["monitor_mode"] == "max" else value

    return sorted(rows, key=key)


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str("" if value is None else value)
