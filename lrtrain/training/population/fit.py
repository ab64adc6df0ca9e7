"""Trains runs of one kind together, each in its own folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lrtrain.datasets import LastRead
from lrtrain.plan.start import Start
from lrtrain.process import signals
from lrtrain.process.imports import collected_seldom
from lrtrain.process.state import kept_as_it_is
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.log import logging_to
from lrtrain.run_folder.summary import Summary
from lrtrain.settings import Settings
from lrtrain.training.checkpoints import Sharers
from lrtrain.training.population.crew import Crew, Say, Seat, Way
from lrtrain.training.population.kinds import kind_of
from lrtrain.training.session import Session

log = logging.getLogger("lrtrain")

SIZE = 48
"""Runs of a block: more of them gain little, as what all of them work on no longer fits the cache."""


class Ordered(NamedTuple):
    """A run that is to be trained.

    Attributes:
        settings: What decides it.
        folder: Its own, claimed.
        start: Where it starts from.
        asked: The words of the command that asked for it, by name of the file that keeps them.
    """

    settings: Settings
    folder: RunFolder
    start: Start
    asked: Mapping[str, str]


class Population:
    """Trains blocks of runs, one block after the other; what was made for a kind of run serves all of its blocks.

    Args:
        say: Tells a person a line.
        read: Reads the datasets.
    """

    def __init__(self, say: Say, read: LastRead) -> None:
        self._ways: dict[str, Way] = {}
        self._read = read
        self._say = say

    def train(
        self, block: Sequence[Ordered], end: Callable[[int, Summary | BaseException], None], later: int = 0
    ) -> None:
        """Train runs of one kind, each as `run_in` does.

        Args:
            block: The runs.
            end: Told of each run that has ended, by its index, and what came of it, or why it could not begin.
            later: Runs of the kind that are to follow in other blocks.
        """
        crew: Crew[Summary] = Crew(self._ways, kind_of(block[0].settings), later, self._say)
        with signals.interrupt_taken_over(), kept_as_it_is(), collected_seldom():
            signals.defer()  # the runs look for one where they can be saved
            sharers = Sharers(len(block))
            for index, seat in crew.run([self._work(ordered, sharers) for ordered in block]):
                if seat.result and seat.result.exception:
                    with logging_to(block[index].folder.log):
                        log.error("%s", seat.result.error, exc_info=seat.result.exception)
                outcome = seat.result or seat.error
                assert outcome is not None
                end(index, outcome)

    def _work(self, ordered: Ordered, sharers: Sharers) -> Callable[[Seat[Summary]], Summary]:
        def work(seat: Seat[Summary]) -> Summary:
            settings, folder, start, asked = ordered
            if not start.resumes:
                folder.check_unused()
            session = Session.open(settings, folder, start, asked=asked, stepper=seat, read=self._read, sharers=sharers)
            for line in session.announce():
                print(line)
            ended = session.fit()
            seat.leave()
            return session.conclude(ended)

        return work
