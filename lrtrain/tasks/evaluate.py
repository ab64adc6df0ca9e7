"""task=evaluate: measure the weights of a checkpoint, in a folder of its own."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from lrtrain.parameters.rules import Text
from lrtrain.process.imports import import_large
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import Table, write_bytes
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job

PREFIX = {"test": "test", "validation": "val", "train": "train"}
"""What the metrics of a split are called, as in training."""
MOST_CHARACTERS = 40
"""Of a name in what is printed."""


def run(
    job: Job, /, *, checkpoint: Annotated[str, Text()] = "best", split: Literal["test", "validation", "train"] = "test"
) -> Summary:
    """Measure a checkpoint on a split of the data, print a table, and write tables and pictures.

    Args:
        checkpoint: a run's folder (its best weights), a .ckpt file, or best or last of the newest run
        split: of the data

    Raises:
        RequestError: The checkpoint is not there, is damaged, or does not fit the model or the data.
    """
    began, loading = time.perf_counter(), import_large("lrtrain.training.trained")
    from lrtrain.objectives.reports import shortened
    from lrtrain.report.pictures import draw
    from lrtrain.report.table import print_parts
    from lrtrain.training.evaluation import measure

    with loading.measuring(job.settings, job.folder, checkpoint, split, job.names_data) as trained:
        report = trained.objective.report(measure(trained.trainer, trained.network, trained.objective, trained.data))
        final = {f"{PREFIX[split]}_{name}": value for name, value in report.metrics.items()}
        summary: Summary = trained.summarise(began, report.support, final, **report.extra)
        if not trained.trainer.is_global_zero:
            return summary
        with ClaimedFolder(job.folder, locks=job.locks) as folder:
            folder.check_unused()
            folder.write_request(job.asked)
            for name, (columns, rows) in report.tables.items():
                table = Table(folder.table(name), columns)
                table.extend(rows)
                table.close()
            for name, picture in report.pictures.items():
                write_bytes(folder.picture(name), draw(picture, f"{trained.what}, {report.headline}"))
            summary.write(folder.summary)
            folder.begun = True

    trained.introduce()
    before, after = report.lines
    print(*before, sep="\n", end="\n" * bool(before))
    print_parts(report.columns, [[shortened(name, MOST_CHARACTERS), *own] for name, *own in report.rows], report.mean)
    print(*after, folder.path, *map(folder.picture, report.pictures), sep="\n")
    return summary
