"""The jobs of a sweep."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.tasks import Job

LONGEST = 120
"""Bytes of a name, so that paths stay short."""


class SweepJob(NamedTuple):
    """One job of a sweep.

    Attributes:
        number: From 0.
        name: Of its folder.
        words: Of the command, for this job.
        task: What it does; None where its words were refused.
        job: Likewise.
        refusal: Why they were.
    """

    number: int
    name: str
    words: list[str]
    task: Bound | None = None
    job: Job | None = None
    refusal: RequestError | None = None


def name_job(number: int, count: int, varied: Sequence[str]) -> str:
    """The name of a job's folder: ``03_scheduler=cosine,seed=0``, of what is swept.

    Args:
        number: From 0.
        count: Jobs in the sweep, which decide the width of the number.
        varied: The words that say what is swept in this job.
    """
    said = re.sub(r"[^\w.,=+%-]", "_", ",".join(varied))
    if len(said.encode()) > LONGEST:
        digest = hashlib.sha256(said.encode()).hexdigest()[:8]
        said = f"{said.encode()[: LONGEST - 9].decode(errors='ignore')}_{digest}"
    return f"{number:0{len(str(count - 1))}d}_{said}".rstrip("_")
