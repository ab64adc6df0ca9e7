"""task=train: train a model under the strategy, and keep what came of it."""

from __future__ import annotations

from lrtrain.process import ranks
from lrtrain.process.imports import import_large
from lrtrain.report.table import print_findings, print_result
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job


def run(job: Job, /) -> Summary:
    """Train, and print a short table of what came of it.

    Raises:
        RequestError: The run cannot begin; nothing was written.
    """
    for line in job.remarks if ranks.is_first(job.settings.trainer.is_alone) else ():
        print(line)
    training = import_large("lrtrain.training.run")
    summary: Summary = training.run_in(
        job.settings, job.folder, start=job.start, asked=job.asked, locks=job.locks, finds_rate=job.finds_rate
    )
    if summary.is_good and ranks.is_first(job.settings.trainer.is_alone):
        print_result(summary, job.folder)
    elif summary.status == "diverged" and ranks.is_first(job.settings.trainer.is_alone):
        print_findings(summary)
    return summary
