"""The one way in which a training is executed: by the command line, a sweep, a notebook, a test."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from lrtrain.plan.start import FRESH, Start
from lrtrain.process import ranks, signals
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.log import logging_to
from lrtrain.run_folder.summary import Summary
from lrtrain.settings import Settings
from lrtrain.training.session import Say, Session

log = logging.getLogger("lrtrain")


def run_in(
    settings: Settings,
    place: str | Path | ClaimedFolder,
    *,
    start: Start = FRESH,
    asked: Mapping[str, str] | None = None,
    locks: bool = True,
    say: Say = print,
) -> Summary:
    """Train, test the final and the best weights, and write the summary.

    It may be called many times in one process, which it leaves as it was. A run that diverges goes back to its last
    checkpoint, where the settings allow it.

    Args:
        settings: Of the run.
        place: Its folder, which may be claimed already.
        start: Where it starts from; at the first update if not said.
        asked: The words of the command that asked for it, by name of the file that keeps them.
        locks: The folder; False is the user's word that nobody else writes there.
        say: Tells a person a line.

    Returns:
        What came of it, however it ended.

    Raises:
        RequestError: The run cannot begin; nothing was written.
        InterruptedRunError: A signal came before it had begun; nothing was written.
    """
    with (
        signals.interrupt_taken_over(),
        kept_as_it_is(),
        signals.undisguised(),
        _claimed(settings, place, locks) as folder,
    ):
        ranks.introduce()
        if not start.resumes and ranks.is_first(settings.trainer.is_alone):
            folder.check_unused()
        with logging_to(folder.log):
            summary = _train(settings, folder, start, asked, say)
            if summary.exception:
                log.error("%s", summary.error, exc_info=summary.exception)
        return summary


def _claimed(settings: Settings, place: str | Path | ClaimedFolder, locks: bool) -> AbstractContextManager[RunFolder]:
    """The folder of a run while it is ours; only the first process of a run claims it."""
    if isinstance(place, ClaimedFolder):
        return nullcontext(place)
    return (
        ClaimedFolder(place, locks=locks)
        if ranks.is_first(settings.trainer.is_alone)
        else nullcontext(RunFolder(place))
    )


def _train(settings: Settings, folder: RunFolder, start: Start, asked: Mapping[str, str] | None, say: Say) -> Summary:
    """Train, and again as often as a rollback is allowed: from the last checkpoint, and then from one before."""
    guard, scale = settings.guard, None
    tries = guard.rollbacks if guard.on_nonfinite == "rollback" else 0
    for attempt in range(tries + 1):
        session = Session.open(settings, folder, start, scale=scale, asked=None if attempt else asked, say=say)
        tell = say if session.trainer.is_global_zero else lambda _: None
        for line in session.announce():
            tell(line)
        ended = session.fit()
        if ended.status != "diverged" or attempt == tries or not folder.last_checkpoint.exists():
            break
        if attempt and not session.checkpoints.has_saved:
            tell(f"{folder.last_checkpoint} is of no use at a lower rate either: going further back")
            if session.trainer.is_global_zero:
                folder.drop_last_checkpoint()
            session.trainer.strategy.barrier()
        scale = ended.error.scale * guard.rollback_factor  # type: ignore[union-attr]
        tell(f"{ended.error}\nrolling back ({attempt + 1} of {tries}): rates times {scale:.4g}")
        start = Start.resume(folder)
    return session.conclude(ended)
