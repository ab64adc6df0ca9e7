"""Runs that take turns in one process, and their updates together."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from lrtrain.datasets.sources import InMemory
from lrtrain.errors import InterruptedRunError, first_line
from lrtrain.training.averaging import MovingAverage
from lrtrain.training.configure_optimizers import scheduler_of
from lrtrain.training.data import Data
from lrtrain.training.loader import Batch, Loader
from lrtrain.training.measures import Measures
from lrtrain.training.module import Supervised
from lrtrain.training.network import has_compiler
from lrtrain.training.population.averages import Average
from lrtrain.training.population.probe import quickest
from lrtrain.training.population.rules import Rule, rule_of
from lrtrain.training.population.stack import TRIED, Measured, Member, Program, Stack
from lrtrain.training.private import import_compiler
from lrtrain.training.ranks import RandomNumbers
from lrtrain.training.stretch import Stretch, Taken

TRACING = 20
"""How much longer tracing an update takes than the update, at least."""
COMPILING = 35
"""How much longer compiling an update takes than tracing it, about."""
LEAST = 6.0
"""Seconds that compiling takes at least, the import of the compiler among them."""
GAIN = 0.7
"""Of the time of a step, but for its convolutions and matrix products, what compiling saves, about."""

Result = TypeVar("Result")
Say = Callable[[str], Any]


class Begin(NamedTuple):
    """A run asks to be stacked.

    Attributes:
        trainer: Of the run.
        member: What is to be stacked.
        step: The updates that it has done.
    """

    trainer: pl.Trainer
    member: Member
    step: int


class Validation(NamedTuple):
    """A run asks to be measured.

    Attributes:
        batches: By which; all runs that are stacked have the same.
        measures: Where it is added up.
    """

    batches: Iterable[Batch]
    measures: Measures


class Way(NamedTuple):
    """How runs of a kind are trained.

    Attributes:
        program: Of their updates; None where each takes its own.
        runs: How many together, at most.
    """

    program: Program | None
    runs: float


ALONE = Way(None, 1)


class Seat(Generic[Result]):
    """The place of a run in a crew: a `Stepper` that hands on what the run asks for, and waits for the answer.

    The run is in a thread of its own, of which one works at a time.

    Args:
        work: The run, which is given its seat.

    Attributes:
        asked: What the run waits for; None where it works, or has ended.
        trainer: Of the run, once it is stacked.
        result: What came of it.
        error: What ended it, where that was an error.
        has_ended: Whether it has.
    """

    def __init__(self, work: Callable[[Seat[Result]], Result]) -> None:
        self.asked: Begin | Stretch | Validation | None = None
        self.trainer: pl.Trainer | None = None
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.has_ended = False
        self.place: tuple[Stack, int] | None = None
        self._taken = Taken([], [], {})
        self._work = work
        self._answer: Any = None
        self._turn, self._back = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._rule: Rule | None = None
        self._done = 0

    def resume(self, answer: Any = None) -> None:
        """Let the run go on until it asks for something, or ends; an error is raised where it waits."""
        self.asked, self._answer = None, answer
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._turn.set()
        self._back.wait()
        self._back.clear()

    def begin(self, trainer: pl.Trainer, stretches: bool) -> bool:
        """Have the run stacked; it keeps its random numbers for itself from now on."""
        if not stretches:
            return False
        member, numbers = member_of(trainer)
        self._done = updates_of(member.optimizer)
        if not self._ask(Begin(trainer, member, scheduler_of(trainer).last_epoch)):
            numbers.take_back()
            return False
        self.trainer = trainer
        self._optimizer, self._rule = member.optimizer, rule_of(member.optimizer)
        return True

    @property
    def most(self) -> float:
        """What takes all of them about a second."""
        assert self.place, "it is stacked"
        return self.place[0].most

    def read(self, ahead: int) -> list[tuple[float, ...]]:
        """What the optimizer's rule has to know of its groups."""
        assert self._rule is not None, "it has begun"
        return [self._rule.read(group, self._done + ahead) for group in self._optimizer.param_groups]

    def take(self, stretch: Stretch) -> Taken:
        """Take updates with the others."""
        taken: Taken = self._ask(stretch)
        self._done += len(stretch.sizes)
        return taken

    def measure(self, batches: Iterable[Batch], measures: Measures) -> None:
        """Add up what the network says of batches, together with the others."""
        self._ask(Validation(batches, measures))

    def receive(self, measured: Measured, count: int) -> Taken | None:
        """Keep the run's own of what was measured of updates; gives what it has asked for, once all of it is there."""
        assert self.place, "it is stacked"
        assert isinstance(self.asked, Stretch), "it waits for updates"
        row, (losses, norms, sizes) = self.place[1], self._taken
        own = {len(losses) + number: measured.sizes[number][row] for number in self.asked.measured if number < count}
        self._taken = Taken(
            [*losses, *(each[row] for each in measured.losses)],
            [*norms, *(each[row] for each in measured.norms)],
            {**sizes, **own},
        )
        if count < len(self.asked.sizes):
            self.asked = self.asked.after(count)
            return None
        found, self._taken = self._taken, Taken([], [], {})
        return found

    def leave(self) -> None:
        """Take the run's own out of its stack."""
        if self.place:
            stack, row = self.place
            stack.leave(row)
            self.place = None

    def _ask(self, what: Begin | Stretch | Validation) -> Any:
        self.asked = what
        self._back.set()
        self._turn.wait()
        self._turn.clear()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    def _run(self) -> None:
        try:
            self.result = self._work(self)
        except BaseException as error:  # raised again in the thread of the crew
            self.error = error
        self.has_ended = True
        self._back.set()


class Crew(Generic[Result]):
    """Does the work of several runs of one kind, whose updates are taken together.

    Args:
        ways: How kinds of runs are trained, by their names; what is found for this one is kept there.
        kind: Of the runs.
        later: Runs of the kind that this process has still to train after these.
        say: Tells a person a line.
    """

    def __init__(self, ways: dict[str, Way], kind: str, later: int, say: Say) -> None:
        self._ways, self._kind, self._later, self._say = ways, kind, later, say

    def run(self, works: Sequence[Callable[[Seat[Result]], Result]]) -> Iterator[tuple[int, Seat[Result]]]:
        """Do the work; gives each seat, and its index, when its run has ended."""
        seats = [Seat(work) for work in works]
        for seat in seats:
            seat.resume()
            if seat.has_ended:
                yield seats.index(seat), seat
        asking = [seat for seat in seats if not seat.has_ended]
        for _, same in groupby(sorted(asking, key=_position), _position):
            group = list(same)
            program, most = self._way(group) if len(group) > 1 else ALONE
            parts = max(1, math.ceil(len(group) / most))
            for part in range(parts):
                for seat in self._run_together(group[part::parts], program):
                    yield seats.index(seat), seat

    def _way(self, seats: Sequence[Seat[Result]]) -> Way:
        """How the runs are trained quickest."""
        if self._kind not in self._ways:
            begun = [seat.asked for seat in seats if isinstance(seat.asked, Begin)]
            try:
                program = program_of(begun[0].trainer, begun[0].member)
                loader = begun[0].trainer.train_dataloader
                assert isinstance(loader, Loader), "only these are taken places of"
                speed = quickest(program, [each.member for each in begun], loader.size(0))
            except Exception as error:  # of many kinds, as whatever torch.func does not support raises them
                self._say(f"trained one by one, as these runs cannot be stacked: {first_line(error)}")
                self._ways[self._kind] = ALONE
                return ALONE
            if math.isinf(speed.together):
                self._say("trained one by one, as memory is too little for several")
            elif speed.runs == 1:
                self._say(
                    f"trained one by one, as an update then takes {speed.alone * 1e6:,.0f} us, and of a population "
                    f"{speed.together * 1e6:,.0f} us a run"
                )
            self._ways[self._kind] = Way(program, math.inf if speed.runs == len(seats) else speed.runs)
        return self._ways[self._kind]

    def _run_together(self, seats: list[Seat[Result]], program: Program | None) -> Iterator[Seat[Result]]:
        """Take the updates of runs that are at the same place; without a program each takes its own."""
        stack = self._stack(seats, program) if program and len(seats) > 1 else None
        for seat in seats:
            seat.resume(stack is not None)
        alive = seats
        while alive:
            for seat in alive:
                if seat.has_ended:
                    yield seat
            alive = [seat for seat in alive if not seat.has_ended]
            if stack and alive:
                self._serve(stack, alive)

    @staticmethod
    def _stack(seats: Sequence[Seat[Result]], program: Program) -> Stack:
        """The runs side by side."""
        stack = Stack(program, [seat.asked.member for seat in seats if isinstance(seat.asked, Begin)])
        for row, seat in enumerate(seats):
            seat.place = stack, row
        return stack

    def _serve(self, stack: Stack, seats: Sequence[Seat[Result]]) -> None:
        """Give runs that wait what they have asked for: measures first, as those who ask for updates wait longer."""
        waiting = [seat for seat in seats if isinstance(seat.asked, Validation)]
        try:
            answers: list[Any]
            if waiting:
                self._measure(stack, waiting)
                answers = [True] * len(waiting)
            else:
                waiting = list(seats)
                answers = list(self._take(stack, seats))
        except Exception as error:  # such as too little memory: each run explains its own end by it
            answers = [error] * len(waiting)
        for seat, answer in zip(waiting, answers, strict=True):
            if answer is not None:
                seat.resume(answer)

    @staticmethod
    def _measure(stack: Stack, seats: Sequence[Seat[Result]]) -> None:
        """Measure the networks of runs."""
        asked = [(seat.place[1], seat.asked) for seat in seats if seat.place and isinstance(seat.asked, Validation)]
        with torch.no_grad():
            for inputs, targets in asked[0][1].batches:
                outputs = stack.outputs(inputs)
                for row, validation in asked:
                    validation.measures.update(outputs[row], targets)

    def _take(self, stack: Stack, seats: Sequence[Seat[Result]]) -> list[Taken | None]:
        """Take as many updates as all have asked for; gives what was taken where that is all that a run has asked."""
        asked = [seat.asked for seat in seats]
        stretches = [each for each in asked if isinstance(each, Stretch)]
        count = min(len(stretch.sizes) for stretch in stretches)
        by_row = {seat.place[1]: stretch for seat, stretch in zip(seats, stretches, strict=True) if seat.place}
        rows = [by_row.get(row, stretches[0]) for row in range(len(stack.members))]  # who has left is computed as well
        sizes = stretches[0].sizes[:count]
        places = torch.split(torch.stack([stretch.places[: sum(sizes)] for stretch in rows]), sizes, dim=1)
        values = np.array([stretch.values[:count] for stretch in rows]).transpose(1, 3, 2, 0)
        asked_for = {number for stretch in stretches for number in stretch.measured}
        measured = stack.take(places, torch.from_numpy(values), asked_for)
        if not stack.compiled and stack.taken - count < TRIED <= stack.taken:
            self._choose(stack, seats, places[0], torch.from_numpy(values[0]))
        return [seat.receive(measured, count) for seat in seats]

    def _choose(self, stack: Stack, seats: Sequence[Seat[Result]], places: Tensor, values: Tensor) -> None:
        """Have updates like this one compiled where what is left of them pays for it; say so the first time."""
        program, (runs, size) = stack.program, places.shape
        if program.fault or not can_compile(stack.device):
            return
        assert seats[0].trainer, "it is stacked"
        total = scheduler_of(seats[0].trainer).total_steps
        left = (total - stack.taken) + math.ceil(self._later / runs) * total
        seconds = stack.pace * left
        if (runs, size) not in program.compiled_for:
            if seconds * GAIN < max(LEAST, COMPILING * TRACING * stack.pace):
                return
            try:
                import_compiler()
                traced = stack.trace(places, values)
            except (Exception, InterruptedRunError) as error:  # of many kinds, as in compiling
                program.fault = first_line(error)
                return
            compiling, gain = COMPILING * traced.seconds, GAIN * max(0.0, traced.step - traced.library) / stack.pace
            if seconds * gain < compiling:
                return
            self._say(
                f"compiling the update of {runs} runs, about {compiling:.0f} s: what is left takes about "
                f"{seconds * (1 - gain):.0f} s then, instead of {seconds:.0f} s"
            )
        stack.compiled = size


def can_compile(device: torch.device) -> bool:
    """Whether there is what `torch.compile` needs for a device: a C++ compiler, or Triton for a GPU."""
    return find_spec("triton") is not None if device.type == "cuda" else has_compiler()


def _position(seat: Seat[Any]) -> int:
    assert isinstance(seat.asked, Begin), "it waits to begin"
    return seat.asked.step


def member_of(trainer: pl.Trainer) -> tuple[Member, RandomNumbers]:
    """What of a run is stacked, and its random numbers, which the run keeps for itself from now on."""
    module = trainer.lightning_module
    assert isinstance(module, Supervised), "only these take plain steps"
    [numbers] = [each for each in trainer.callbacks if isinstance(each, RandomNumbers)]  # type: ignore[attr-defined]
    clips = math.inf if trainer.gradient_clip_val is None else float(trainer.gradient_clip_val)
    averages = [_average_of(each) for each in trainer.callbacks if isinstance(each, MovingAverage)]  # type: ignore[attr-defined]
    average = next(iter(averages), None)
    return Member(module.model, trainer.optimizers[0], clips, numbers.set_aside(), average), numbers


def _average_of(callback: MovingAverage) -> Average:
    kept = callback.average
    assert isinstance(kept.module, Supervised), "only these take plain steps"
    return Average(kept.module.model, kept.n_averaged, callback.decay)


def updates_of(optimizer: torch.optim.Optimizer) -> int:
    """The updates that an optimizer has done, as far as its rule has to know."""
    state: dict[str, Any] = next(iter(optimizer.state.values()), {})
    return int(state["step"]) if "step" in state else int(state.get("momentum_buffer") is not None)


def program_of(trainer: pl.Trainer, member: Member) -> Program:
    """What the runs of a kind do, as one of them says.

    Raises:
        Exception: They cannot be stacked.
    """
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(module, Supervised), "only these take plain steps"
    assert isinstance(data, Data), "the settings were looked at"
    if not isinstance(data.splits.train, InMemory):
        raise ValueError("the samples are not in memory")
    weight = next(member.net.parameters())
    source = data.splits.train.on(weight.device)

    def gather(places: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = (
            part.to(weight.dtype) if part.is_floating_point() else part for part in source.gather(places)
        )
        return inputs, targets

    by_value = trainer.gradient_clip_algorithm == "value"
    return Program(member, module.objective.loss, gather, by_value)
