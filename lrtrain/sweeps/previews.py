"""The previews of a sweep's jobs, in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lrtrain.report.curves import Curve, overlay, png
from lrtrain.report.ranking import print_plot, print_ranking, rank
from lrtrain.run_folder.files import Table, write_bytes
from lrtrain.run_folder.folder import SWEEP_TABLE, RunFolder
from lrtrain.run_folder.summary import Summary, read_summary


def overlay_jobs(place: Path, jobs: Sequence[Path]) -> None:
    """Draw the previews of a sweep's jobs in one picture, and rank them; the jobs that failed are left out.

    Writes `schedule.png` and `summary.csv` into the sweep's folder, and prints both.
    """
    done = [folder for folder in map(RunFolder, jobs) if folder.schedule_table.exists() and folder.summary.exists()]
    if not done:
        print(f"no job has a preview: {place}")
        return
    summaries = [read_summary(folder.summary) for folder in done]
    curves = {}
    for label, folder, summary in zip(_labels(summaries), done, summaries, strict=True):
        rates = np.loadtxt(folder.schedule_table, delimiter=",", skiprows=1, usecols=2)
        curves[label] = Curve(rates.tolist(), summary.extra["steps_per_epoch"], summary.extra["warmup"])
    rows = rank(curves)
    curves = {str(row["strategy"]): curves[str(row["strategy"])] for row in rows}
    drawn, path = overlay(curves, f"{len(curves)} strategies, the best bound first"), RunFolder(place).schedule_picture
    write_bytes(path, png(drawn))
    table = Table(place / SWEEP_TABLE, rows[0])
    for row in rows:
        table.add(row)
    table.close()
    print_plot(curves)
    print_ranking(rows)
    if missing := [path.name for path in jobs if path not in {folder.path for folder in done}]:
        print(f"without a preview, and not shown: job {', '.join(missing)}")
    print(f"{path}\n{place / SWEEP_TABLE}")


def _labels(summaries: Iterable[Summary]) -> list[str]:
    """The strategy of each job, with the values of the keys that tell jobs of the same strategy apart."""
    configs = [dict(summary.config) for summary in summaries]
    names = [str(summary.strategy) for summary in summaries]
    labels = []
    for name, config in zip(names, configs, strict=True):
        same = [other for other, its_name in zip(configs, names, strict=True) if its_name == name]
        varied = [key for key in config if any(other.get(key) != config[key] for other in same)]
        labels.append(" ".join([name, *(f"{key}={config[key]}" for key in varied)]))
    return [f"{label} #{index}" if labels.count(label) > 1 else label for index, label in enumerate(labels)]
