"""One table for a sweep: a row a job, the best first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lrtrain.report.table import print_rows
from lrtrain.runs import RunFolder, Table

METRICS = ("val_loss", "val_acc", "test_loss", "test_acc")
COLUMNS = (
    "job",
    "status",
    "overrides",
    "strategy",
    "seed",
    "steps",
    "wall_s",
    *(f"best_{m}" for m in METRICS),
    *(f"final_{m}" for m in METRICS),
)


class SweepSummary(Callback):
    """Writes `summary.csv` into the sweep's folder after the last job, and prints the ranking.

    A job that failed is a row too. Called by Hydra.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Collect the jobs."""
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        rows = ranked([job_row(job) for job in jobs], config.get("monitor", "val_loss"))
        table = Table(folder / "summary.csv", COLUMNS)
        for row in rows:
            table.add(row)
        table.close()
        shown = ("job", "overrides", "best_val_loss", "best_val_acc", "final_test_acc", "status")
        print_rows(
            [name.replace("_", " ", 1) for name in shown], [[_text(row.get(name)) for name in shown] for row in rows]
        )
        print(f"{folder / 'summary.csv'}\ntensorboard --logdir {folder}")


def job_row(folder: Path) -> dict[str, Any]:
    """What is known of a job: from its summary, or that it has none."""
    overrides = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
    row: dict[str, Any] = {"job": folder.name, "overrides": " ".join(map(str, overrides)), "status": "failed"}
    try:
        summary = RunFolder(folder).read_summary()
    except FileNotFoundError:
        return row
    row |= {name: summary[name] for name in ("status", "strategy", "seed", "steps", "wall_s")}
    for which in ("best", "final"):
        row |= {f"{which}_{metric}": summary[which].get(metric) for metric in METRICS}
    return row


def ranked(rows: list[dict[str, Any]], monitor: str) -> list[dict[str, Any]]:
    """The best of the monitored metric first; jobs that did not finish last."""
    sign = -1 if monitor.endswith("_acc") else 1

    def key(row: dict[str, Any]) -> tuple[bool, float]:
        value = row.get(f"best_{monitor}")
        unfinished = row["status"] != "finished" or value is None
        return unfinished, 0.0 if unfinished or value is None else sign * value

    return sorted(rows, key=key)


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str("" if value is None else value)
