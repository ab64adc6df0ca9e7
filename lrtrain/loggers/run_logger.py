"""What a run asks of its loggers, besides what Lightning does."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from lightning.pytorch.loggers import Logger

from lrtrain.errors import RequestError, first_line
from lrtrain.run_folder.files import read_text, write_json
from lrtrain.run_folder.folder import RunFolder

log = logging.getLogger("lrtrain")


class RunLogger(Logger):
    """One of Lightning's loggers that a run can go on in, and that it closes when it ends."""

    def drop_from(self, step: int, is_new: Callable[[str, int], bool]) -> None:
        """Take back what was logged after a checkpoint, where the logger can.

        Args:
            step: The updates done by the checkpoint.
            is_new: Whether a value of an earlier step was logged after the checkpoint, by its name and step.
        """

    def log_line(self, tag: str, words: str, step: int) -> None:
        """Log a line on what happened at a step, where the logger takes text."""

    def log_result(self, config: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
        """Log the best values of a finished run."""
        self.log_metrics(dict(metrics), step)

    def end(self, status: str) -> None:
        """Close, when the run has come to an end of that status, or pauses."""


def is_result(name: str) -> bool:
    """Whether a value is of a finished run, and is measured again when the run goes on."""
    return name.startswith(("test_", "best/", "_hparams_/"))


def known_id(folder: RunFolder, kind: str) -> str | None:
    """The id of the run in another place; None where it was not logged there yet."""
    found = _ids(folder).get(kind)
    return found if isinstance(found, str) and re.fullmatch(r"[\w-]{1,64}", found) else None


def keep_id(folder: RunFolder, kind: str, value: str) -> None:
    """Keep the id of the run in another place, where it goes on when the run is resumed."""
    write_json(folder.ids, {**_ids(folder), kind: value})


def _ids(folder: RunFolder) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(read_text(folder.ids))
        return found if isinstance(found, dict) else {}
    return {}


@contextmanager
def refused_as(kind: str) -> Iterator[None]:
    """Say in one line what hinders a logger from opening; raises RequestError."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # whatever a service, a network or a disk gives as a reason
        raise RequestError(f"logger={kind} cannot be opened: {type(error).__name__}: {first_line(error)}") from error
