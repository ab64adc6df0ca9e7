"""The one way in which a training is executed: by the command line, a sweep, a notebook, a test."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from lrtrain.datasets import Read, read
from lrtrain.errors import FaultError
from lrtrain.plan.start import FRESH, Start
from lrtrain.process import ranks, signals
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import as_json, as_yaml
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.log import logging_to
from lrtrain.run_folder.summary import Summary
from lrtrain.settings import Settings
from lrtrain.training.checkpoints import Judge
from lrtrain.training.session import Ended, Say, Session

log = logging.getLogger("lrtrain")


def run_in(
    settings: Settings,
    place: str | Path | ClaimedFolder,
    *,
    start: Start = FRESH,
    asked: Mapping[str, str] | None = None,
    locks: bool = True,
    finds_rate: bool = False,
    judge: Judge | None = None,
    read: Read = read,
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
        finds_rate: Find the base rate first, which takes the place of that of the settings.
        judge: Asked after each validation whether the run is pruned there.
        read: Reads the dataset.
        say: Tells a person a line.

    Returns:
        What came of it, however it ended.

    Raises:
        RequestError: The run cannot begin; nothing was written.
        InterruptedRunError: A signal came before it had begun; nothing was written.
        FaultError: No rate could be found; nothing was written.
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
        if finds_rate:
            settings, asked = _with_rate_found(settings, start, asked or {}, say)
        with logging_to(folder.log):
            summary = _train(settings, folder, start, asked, judge, read, say)
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


def _with_rate_found(
    settings: Settings, start: Start, asked: Mapping[str, str], say: Say
) -> tuple[Settings, Mapping[str, str]]:
    """The settings with a rate that was found for them, and the files that say so.

    It does not depend on the seed: the jobs of a sweep that differ in nothing else have one rate.
    """
    from lrtrain.training.ramps import find_rate_for  # few runs need scipy's optimizers

    found = find_rate_for(replace(settings, seed=0), start)
    if found.suggestion is None:
        raise FaultError(f"lr=auto: {found.reason}; give lr=NUMBER")
    say(f"lr=auto: {found.sentence()}")
    settings = replace(settings, lr=found.suggestion)
    own = {"config.yaml": as_yaml(settings.plain()), "lr_find.json": as_json(found.plain())}
    return settings, {**asked, **own}


def _train(
    settings: Settings,
    folder: RunFolder,
    start: Start,
    asked: Mapping[str, str] | None,
    judge: Judge | None,
    read: Read,
    say: Say,
) -> Summary:
    """Train, and again as often as a rollback is allowed: from the last checkpoint, and then from one before."""
    guard, scale = settings.guard, None
    tries = guard.rollbacks if guard.on_nonfinite == "rollback" else 0
    for attempt in range(tries + 1):
        words = None if attempt else asked
        session = Session.open(settings, folder, start, scale=scale, asked=words, say=say, read=read)
        tell = say if session.trainer.is_global_zero else lambda _: None
        for line in session.announce():
            tell(line)
        ended = session.fit(until=judge)
        if ended.status != "diverged" or attempt == tries or not folder.has_checkpoint:
            break
        if attempt and not session.checkpoints.has_saved:
            tell(f"{folder.last_checkpoint} is of no use at a lower rate either: going further back")
            if session.trainer.is_global_zero:
                folder.drop_last_checkpoint()
            session.trainer.strategy.barrier()
        scale = ended.error.scale * guard.rollback_factor  # type: ignore[union-attr]
        tell(f"{ended.error}\nrolling back ({attempt + 1} of {tries}): rates times {scale:.4g}")
        start = Start.resume(folder)
    return session.conclude(Ended("pruned", "search") if ended.status == "paused" else ended)
