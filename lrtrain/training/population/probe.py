"""How many runs of a kind are trained quickest together: a few updates of copies are timed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from lrtrain.training.faults import lacks_memory
from lrtrain.training.population.stack import Member, Program, Stack, clock_of

FEW = 8
"""Runs of a small block, whose weights stay in the cache where those of a large one do not."""
TIMED = 3
"""Updates that are timed; the quickest counts."""


class Speed(NamedTuple):
    """What updates take.

    Attributes:
        runs: That are trained quickest together; 1 for one by one.
        alone: Seconds an update of a run by itself.
        together: Seconds an update and run of so many, or of those that came closest; infinite where memory is too
            little for several.
    """

    runs: int
    alone: float
    together: float


def quickest(program: Program, members: Sequence[Member], size: int) -> Speed:
    """Find the speeds; the runs are left as they are.

    Args:
        program: Of their kind.
        members: Two or more.
        size: Of their batches.
    """
    numbers = torch.get_rng_state()
    try:
        alone, runs = _time_alone(program, members[0], size), min(FEW, len(members))
        together = _time_together(program, members[:runs], size)
        if together < alone and len(members) > runs and (more := _time_together(program, members, size)) < together:
            runs, together = len(members), more
    finally:
        torch.set_rng_state(numbers)
    return Speed(runs if together < alone else 1, alone, together)


def _time_alone(program: Program, member: Member, size: int) -> float:
    net, optimizer = copy.deepcopy((member.net, member.optimizer))
    device = next(net.parameters()).device
    places = torch.zeros(1, size, dtype=torch.int64, device=device)

    def update() -> None:
        (inputs,), (targets,) = program.batch(places)
        optimizer.zero_grad()
        loss = program.loss(net(inputs), targets)
        torch.autograd.backward(loss)
        optimizer.step()
        loss.item()

    return _time(update, device)


def _time_together(program: Program, members: Sequence[Member], size: int) -> float:
    """Of copies, beside which there are the runs themselves: where there is memory for both, there is for them."""
    try:
        copies = [_copy(member) for member in members]
        stack = Stack(program, copies)
        read = [[program.rule.read(group, 1) for group in member.optimizer.param_groups] for member in copies]
        values = torch.tensor(read, dtype=torch.float64).permute(2, 1, 0)[None]
        places = [torch.zeros(len(members), size, dtype=torch.int64)]
        return _time(lambda: stack.take(places, values), stack.device) / len(members)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return math.inf


def _copy(member: Member) -> Member:
    net, optimizer, average = copy.deepcopy((member.net, member.optimizer, member.average))
    generator = torch.Generator(member.generator.device).set_state(member.generator.get_state())
    return Member(net, optimizer, member.clips, generator, average)


def _time(update: Callable[[], object], device: torch.device) -> float:
    clock, found = clock_of(device), []
    for _ in range(TIMED + 1):  # the first makes the optimizer's state
        began = clock()
        update()
        found.append(clock() - began)
    return min(found[1:])
