"""task=diagnose: say what the curves of runs that were made tell of their rates; writes nothing, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from lrtrain.errors import RequestError
from lrtrain.evidence.diagnosis import Run, diagnose, told
from lrtrain.parameters.rules import OrNull, Table, Text
from lrtrain.plan.history import read_history
from lrtrain.records.elsewhere import Conventions
from lrtrain.records.find import find_records
from lrtrain.records.record import UNREAD, Record
from lrtrain.run_folder.find import find_run
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job


def run(
    job: Job,
    /,
    *,
    run: Annotated[str, Text()] = "last",
    tags: Annotated[Mapping[str, str] | None, OrNull(Table(Text()))] = None,
) -> Summary:
    """Print the findings of each run, with their evidence and the command to try.

    Args:
        run: a run's folder, a folder of runs, or a log of another program; last for the newest run
        tags: what logs of other programs call our metrics: {val_loss:eval/loss,lr:lr-SGD}

    Raises:
        RequestError: There is no run.
    """
    place = find_run("last").path if run == "last" else Path(run)
    records = find_records(place, Conventions(tags or {}))
    if all(record.status == UNREAD for record in records):
        raise RequestError(f"run={run}: there is no run that has ended, nor a log")
    for record in records:
        if record.status == UNREAD:
            print(f"{record.place}: does not say how it ended ({record.error})")
            continue
        found = told(diagnose(_read(record)), RunFolder(record.place).words if record.place else [], record.place)
        print(f"{record.place or record.name}:" + ("" if found else " nothing is odd about its curves"))
        for finding in found:
            print(finding.sentence())
    return Summary(status="finished", task="diagnose")


def _read(record: Record) -> Run:
    """What a record knows of the rate."""
    config = record.config
    clips = config.get("trainer.gradient_clip_algorithm", "norm") == "norm"
    planned = None
    if record.place:
        with suppress(OSError, RequestError, LookupError):
            planned = read_history(RunFolder(record.place).history)[-1].total_steps
    return Run(
        curves=record.series,
        status=record.status,
        steps=record.steps,
        planned=planned,
        lr=config.get("lr"),
        clip=config.get("trainer.gradient_clip_val") if clips else None,
        feedback=config.get("feedback"),
        patience=config.get("patience"),
    )
