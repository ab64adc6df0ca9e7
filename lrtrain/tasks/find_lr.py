"""task=find_lr: find a base learning rate by short trainings under a rising one, and say how well it is known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lrtrain import __version__
from lrtrain.errors import FaultError
from lrtrain.process.imports import import_large
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import write_bytes, write_json
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job

if TYPE_CHECKING:
    from lrtrain.evidence.range_test import RateFound
    from lrtrain.report.rate import RateShown


def run(job: Job, /, *, by_group: bool = False) -> Summary:
    """Print a rate, its bracket and the loss over the rate, and write them with a picture.

    Args:
        by_group: find one for each of the groups too, while all other weights stay as they are

    Raises:
        RequestError: The rate of such a run cannot be looked for; nothing was written.
    """
    began, now = time.perf_counter(), datetime.now(UTC)
    with ClaimedFolder(job.folder, locks=job.locks) as folder:
        folder.check_unused()
        groups, found = _by_group(job) if by_group else {}, find_rate(job)
        from lrtrain.report.curves import png
        from lrtrain.report.rate import print_groups, print_rate

        folder.write_request(job.asked)
        own = {"groups": {pattern: each.plain() for pattern, each in groups.items()}} if by_group else {}
        write_json(folder.rate_found, found.plain() | own)
        write_bytes(folder.rate_picture, png(found.picture))
        nothing = FaultError(f"{found.reason}; the settings stay as they are") if found.suggestion is None else None
        summary = Summary(
            status="failed" if nothing else "finished",
            ended_by="error" if nothing else "end",
            error=str(nothing) if nothing else None,
            task="find_lr",
            strategy=job.settings.strategy,
            seed=job.settings.seed,
            steps=found.updates,
            wall_s=round(time.perf_counter() - began, 3),
            started=now.isoformat(timespec="seconds"),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={"lrtrain": __version__},
            config=job.settings.plain(),
            extra={"suggestion": found.suggestion, "low": found.low, "high": found.high, "error_factor": found.error},
            folder=folder.path,
            exception=nothing,
        )
        summary.write(folder.summary)
        folder.begun = True
    print_rate(found)
    print_groups(groups)
    print(f"{folder.path}\n{folder.rate_picture}")
    return summary


def find_rate(job: Job) -> RateShown:
    """Find a rate; writes nothing."""
    ramps = import_large("lrtrain.training.ramps")
    from lrtrain.report.rate import RateShown

    settings = job.settings
    trained = f"{settings.model.name} on {settings.dataset.name} by {settings.optimizer.name}"
    return RateShown.of(ramps.find_rate_for(settings, job.start), trained)


def _by_group(job: Job) -> Mapping[str, RateFound]:
    """A rate for each group; writes nothing."""
    found: Mapping[str, RateFound] = import_large("lrtrain.training.ramps").find_rates_by_group(job.settings, job.start)
    return found
