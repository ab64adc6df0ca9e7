"""Many runs of one network as one computation: the weights of all side by side, one step for all of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.fx import GraphModule, Interpreter
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer

from lrtrain.errors import InterruptedRunError, first_line
from lrtrain.process import signals
from lrtrain.training.population.averages import Average, Averages
from lrtrain.training.population.dropout import Mask, draw, mask_dropout
from lrtrain.training.population.linear import use_columns
from lrtrain.training.population.recurrent import use_steps
from lrtrain.training.population.rules import Rule, clip, norms, rule_of, whole
from lrtrain.training.private import tree_flatten, tree_unflatten

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]
Gather = Callable[[Tensor], Batch]
"""Given places of samples, their inputs and targets."""


class Member(NamedTuple):
    """A run that is to be stacked.

    Attributes:
        net: Its network; its weights are changed in place.
        optimizer: Of the weights.
        clips: The norm or value at which its gradient is clipped; infinite for none.
        generator: Draws its masks.
        average: Of its weights; None where none is kept.
    """

    net: nn.Module
    optimizer: Optimizer
    clips: float
    generator: torch.Generator
    average: Average | None = None


class Arrays(NamedTuple):
    """What a step works on; the first dimension of every tensor is the runs.

    Attributes:
        weights: What is trained, of each of the optimizer's groups in one row, (runs, numbers).
        fixed: Parameters that are not, and buffers, which a step may change.
        states: What the optimizer keeps of a group, likewise.
        masks: Of the dropout.
        averages: Of the weights; None where none are kept.
    """

    weights: list[Tensor]
    fixed: dict[str, Tensor]
    states: list[dict[str, Tensor]]
    masks: dict[str, Tensor]
    averages: Averages | None = None


class Traced(NamedTuple):
    """The operations that a step comes to.

    Attributes:
        graph: Those.
        seconds: That finding them took.
        step: Seconds of a step that is not compiled.
        library: Of these, those of operations that compiling leaves as they are.
    """

    graph: GraphModule
    seconds: float
    step: float
    library: float


class Program:
    """A step and a validation of a kind of run; blocks of runs share it, and what was compiled of it.

    Args:
        member: One of the runs.
        loss: Given outputs and targets of one run, the mean loss of its batch.
        gather: Gives the batches of training data.
        by_value: Gradients are clipped by value.

    Attributes:
        fault: Why it cannot be compiled, once that is known.

    Raises:
        Exception: The network is not one that `torch.func` takes; of many kinds, as what is not supported raises them.
    """

    def __init__(self, member: Member, loss: Loss, gather: Gather, by_value: bool) -> None:
        self.net = copy.deepcopy(member.net).train()
        device = next(self.net.parameters()).device
        inputs, targets = gather(torch.arange(2, device=device))
        use_steps(self.net)
        self.masks: list[Mask] = mask_dropout(self.net, inputs)
        use_columns(self.net)
        if self.masks and device.type != "cpu":
            raise ValueError("a run's own dropout is drawn on a CPU only: give model.dropout=0, or trainer=cpu")
        self.rule: Rule = rule_of(member.optimizer)
        self.loss, self.gather, self.by_value = loss, gather, by_value
        groups = member.optimizer.param_groups
        of_group = {weight: number for number, group in enumerate(groups) for weight in group["params"]}
        named = [(of_group.get(weight, 0), name, weight) for name, weight in member.net.named_parameters()]
        self.trained, self.still = (
            [
                {
                    name: weight.shape
                    for place, name, weight in named
                    if (place, weight.requires_grad) == (number, moves)
                }
                for number in range(len(groups))
            ]
            for moves in (True, False)
        )
        self._mapped: Callable[..., Any] = vmap(self._loss)
        self._outputs = vmap(self._forward, in_dims=(0, 0, None))
        self._traced: dict[tuple[int, int], Traced] = {}
        self._compiled: dict[tuple[int, int], Callable[..., Any]] = {}
        self.fault: str | None = None
        self._try(inputs, targets)

    def _try(self, inputs: Tensor, targets: Tensor) -> None:
        """Take a gradient and an output of copies of the network, to see whether it can be done."""
        tensors = {name: tensor.detach() for name, tensor in _tensors(self.net).items()}
        masks = {mask.name: tensors.pop(mask.name).new_ones(2, 2, *mask.shape) for mask in self.masks}
        like, own = next(self.net.parameters()), [[tensors.pop(name) for name in group] for group in self.trained]
        weights = [_in_rows([[tensor.clone() for tensor in group]], like).repeat(2, 1) for group in own]
        fixed = {name: torch.stack([tensor] * 2) for name, tensor in tensors.items()}
        self._gradients(Arrays(weights, fixed, [], masks), torch.stack([inputs] * 2), torch.stack([targets] * 2))
        self.outputs(weights, fixed, inputs)

    def batch(self, places: Tensor) -> Batch:
        """The inputs and targets of places in the training data, (runs, n), of shapes (runs, n, ...)."""
        inputs, targets = (part.view(*places.shape, *part.shape[1:]) for part in self.gather(places.reshape(-1)))
        return inputs, targets

    def step(
        self,
        arrays: Arrays,
        batch: Batch,
        values: Tensor,
        clips: Tensor | None,
        *,
        measures: bool = True,
        in_rows: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one update of every run.

        Args:
            arrays: Changed in place.
            batch: Of each run.
            values: What the rule has to know, (names, groups, runs).
            clips: Where each run's gradient is clipped, (runs,); None if none is.
            measures: Also the gradient's absolute values.
            in_rows: Update all weights of a group at once: that is quicker where it is compiled, and slower where not.

        Returns:
            Each run's loss before the update, and the Euclidean norm of each group's gradient before clipping,
            (groups, runs); and the same with that of absolute values.
        """
        gradients, losses, fixed = self._gradients(arrays, *batch)
        lengths = norms(gradients)
        sums = norms(gradients, 1) if measures else lengths
        if clips is not None:
            gradients = clip(gradients, whole(lengths), clips, self.by_value)
        for name, buffer in fixed.items():
            arrays.fixed[name].copy_(buffer)
        for number, (group, states) in enumerate(zip(gradients, arrays.states, strict=True)):
            known = dict(zip(self.rule.names, values[:, number, :, None].unbind(), strict=True))
            rows = arrays.weights[number], *states.values()
            parts: Iterable[Sequence[Tensor]] = zip(*(self._split(each, number) for each in rows), strict=True)
            if in_rows:
                group, parts = [torch.cat(group, 1)], [rows]
            for gradient, (weight, *state) in zip(group, parts, strict=True):
                self.rule.update(weight, gradient, dict(zip(states, state, strict=True)), known)
        if arrays.averages:
            arrays.averages.add(arrays.weights, arrays.fixed)
        return losses, lengths, sums

    def _gradients(
        self, arrays: Arrays, inputs: Tensor, targets: Tensor
    ) -> tuple[list[list[Tensor]], Tensor, dict[str, Tensor]]:
        """The gradients (of each group, of each of its weights, in rows), losses and changed buffers of the runs.

        Those of the sum of all losses are each run's own: torch's own pass backward costs less than one that
        `torch.func` maps over the runs.
        """
        weights = {name: weight.detach().requires_grad_() for name, weight in self._named(arrays.weights).items()}
        losses, fixed = self._losses(weights, arrays.fixed, arrays.masks, inputs, targets)
        found = torch.autograd.grad(losses.sum(), list(weights.values()), materialize_grads=True)
        rows = dict(zip(weights, (gradient.flatten(1) for gradient in found), strict=True))
        groups = [
            [rows[name] for name in shapes] or [own]  # of none there is a part that is empty
            for shapes, own in zip(self.trained, arrays.weights, strict=True)
        ]
        return groups, losses.detach(), fixed

    def _losses(self, *given: dict[str, Tensor] | Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses and the changed buffers; a single run is spared what mapping costs."""
        if len(given[-1]) > 1:
            return self._mapped(*given)  # type: ignore[no-any-return]
        only: list[Any] = [
            part[0] if isinstance(part, Tensor) else {name: own[0] for name, own in part.items()} for part in given
        ]
        loss, fixed = self._loss(*only)
        return loss[None], {name: own[None] for name, own in fixed.items()}

    def _named(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """The weights by their names and in their shapes, of the rows of the groups."""
        found = {}
        for number, (rows, shapes) in enumerate(zip(weights, self.trained, strict=True)):
            for (name, shape), part in zip(shapes.items(), self._split(rows, number), strict=False):
                found[name] = part.view(len(rows), *shape)
        return found

    def _split(self, rows: Tensor, number: int) -> Sequence[Tensor]:
        """The parts of a group's rows that belong to each of its weights."""
        return torch.split(rows, [shape.numel() for shape in self.trained[number].values()] or [0], dim=1)

    @property
    def compiled_for(self) -> Container[tuple[int, int]]:
        """The numbers of runs, and of samples of a batch, that it is compiled for."""
        return self._compiled.keys()

    def trace(self, arrays: Arrays, batch: Batch, values: Tensor, clips: Tensor | None) -> Traced:
        """Make ready to compile the step for so many runs, and samples of a batch, where it is not yet.

        What is compiled is the list of operations that the step comes to: finding it in the code takes
        `torch.compile` several times as long.

        Raises:
            InterruptedRunError: A signal has arrived.
        """
        key = _key(batch)
        if key in self._traced:
            return self._traced[key]
        clock, copies = clock_of(batch[1].device), _copies(arrays, batch, values, clips)
        _, shape = tree_flatten((arrays, batch, values, clips))

        def step(flat: list[Tensor | None]) -> tuple[Tensor, ...]:
            return self.step(*tree_unflatten(flat, shape), in_rows=True)

        with signals.at_once():
            began = time.thread_time()
            graph = make_fx(step)(copies)
            seconds = time.thread_time() - began
            began = clock()
            self.step(*tree_unflatten(copies, shape))
            taken = clock() - began
            left = LibraryTime(graph, clock)
            left.run(copies)
        self._traced[key] = Traced(graph, seconds, taken, left.seconds)
        return self._traced[key]

    def compiled(
        self, arrays: Arrays, batch: Batch, values: Tensor, clips: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same step, compiled at the first call for so many runs; as it is where that fails, or a signal comes."""
        key = _key(batch)
        if key not in self._compiled:
            try:
                self.trace(arrays, batch, values, clips)
                function = torch.compile(self._traced.pop(key).graph, fullgraph=True, dynamic=False)
                with signals.at_once():
                    function(_copies(arrays, batch, values, clips))  # which compiles it
            except (Exception, InterruptedRunError) as error:  # of many kinds
                self.fault = first_line(error)
                return self.step(arrays, batch, values, clips)
            self._compiled[key] = function
        losses, lengths, sums = self._compiled[key](tree_flatten((arrays, batch, values, clips))[0])
        return losses, lengths, sums

    def outputs(self, weights: Sequence[Tensor], fixed: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """What the networks say in eval mode of the same inputs: (runs, n, ...)."""
        self.net.eval()
        with torch.no_grad():
            found: Tensor = self._outputs(self._named(weights), fixed, inputs)
        self.net.train()
        return found

    def _forward(self, weights: dict[str, Tensor], fixed: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(self.net, {**weights, **fixed}, (inputs,))  # type: ignore[no-any-return]

    def _loss(
        self,
        weights: dict[str, Tensor],
        fixed: dict[str, Tensor],
        masks: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        changed = dict(fixed)
        outputs = functional_call(self.net, {**weights, **changed, **masks}, (inputs,))
        return self.loss(outputs, targets), changed


LIBRARY = {torch.ops.aten.convolution, torch.ops.aten.convolution_backward, torch.ops.aten.mm, torch.ops.aten.bmm}
"""The operations that compiling leaves as they are, and that take most of the time of large networks."""


class LibraryTime(Interpreter):
    """Runs operations, and adds up the seconds of those in `LIBRARY`."""

    def __init__(self, graph: GraphModule, clock: Callable[[], float]) -> None:
        super().__init__(graph)
        self.seconds = 0.0
        self._clock = clock

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run one."""
        if getattr(target, "overloadpacket", None) not in LIBRARY:
            return super().call_function(target, args, kwargs)
        began = self._clock()
        found = super().call_function(target, args, kwargs)
        self.seconds += self._clock() - began
        return found


def _copies(*given: Any) -> list[Tensor | None]:
    """Copies of the tensors that a step is given."""
    return [None if tensor is None else tensor.clone() for tensor in tree_flatten(given)[0]]


def _key(batch: Batch) -> tuple[int, int]:
    """How many runs and samples there are, which a compiled step is made for."""
    runs, size, *_ = batch[1].shape
    return runs, size


LONGEST = 1.0
"""Seconds that updates are to take at once, about: signals are answered, and checkpoints written, between two calls."""
TRIED = 20
"""Updates that are taken at once before it is known how long one takes."""


class Measured(NamedTuple):
    """What was measured of some updates of all runs.

    Attributes:
        losses: Of each update, those of the runs.
        norms: Of their whole gradients, likewise.
        sizes: By update, of those that were asked for: of each run, and each group, what `Taken` has of it.
    """

    losses: list[list[float]]
    norms: list[list[float]]
    sizes: dict[int, list[list[list[float]]]]


class Stack:
    """Runs whose weights, buffers and optimizer state stand side by side; each run's own are views of its row.

    A run that leaves takes copies of its own with it. Its row goes on being computed, so that the bits of the others
    stay what they are.

    Args:
        program: Of runs of this kind.
        members: The runs.

    Attributes:
        compiled: Updates of batches of this size are compiled ones; 0 for none.
        taken: Updates that were taken.
        pace: Seconds an update took, on average of the last call.
    """

    def __init__(self, program: Program, members: Sequence[Member]) -> None:
        self.program, self.members = program, members
        self.compiled, self.taken, self.pace = 0, 0, LONGEST / TRIED
        self._generators: list[torch.Generator | None] = [member.generator for member in members]
        self._masks: dict[int, dict[str, Tensor]] = {}
        groups, self.weights, self.fixed = self._arranged([member.net for member in members])
        self.averages = self._averages([member.average for member in members if member.average])
        for member in members:
            _complete_state(member.optimizer, program.rule)
        self.states = [
            {key: _in_rows(self._states(group, key), weights) for key in program.rule.state}
            for group, weights in zip(groups, self.weights, strict=True)
        ]
        counted = groups if program.rule.counts else []
        self._steps = [
            _side_by_side(steps) for group in counted for steps in zip(*self._states(group, "step"), strict=True)
        ]
        self.device, self.dtype = self.weights[0].device, self.weights[0].dtype
        clips = torch.tensor([member.clips for member in members], dtype=self.dtype, device=self.device)
        self._clips = None if torch.isinf(clips).all() else clips

    def _arranged(self, nets: Sequence[nn.Module]) -> tuple[list[list[list[Tensor]]], list[Tensor], dict[str, Tensor]]:
        """The weights of networks, by groups and networks; the rows that they become views of; and all else alike."""
        tensors, like = [_tensors(net) for net in nets], next(nets[0].parameters())
        groups = [[[own.pop(name) for name in group] for own in tensors] for group in self.program.trained]
        fixed = {name: _side_by_side([own[name] for own in tensors]) for name in tensors[0]}
        return groups, [_in_rows(group, like) for group in groups], fixed

    def _averages(self, averages: Sequence[Average]) -> Averages | None:
        if not averages:
            return None
        _, weights, fixed = self._arranged([average.net for average in averages])
        counts = _side_by_side([average.updates for average in averages])
        shares = weights[0].new_tensor([1 - average.decay for average in averages])
        return Averages(weights, fixed, counts, shares)

    def _states(self, weights: Sequence[Sequence[Tensor]], key: str) -> list[list[Tensor]]:
        """What the optimizer of each run keeps for its weights under a name."""
        return [
            [member.optimizer.state[weight][key] for weight in own]
            for member, own in zip(self.members, weights, strict=True)
        ]

    def leave(self, row: int) -> None:
        """Give a run what is its own."""
        member, self._generators[row] = self.members[row], None
        kept = [*_tensors(member.net).values()]
        if member.average:
            kept += [*_tensors(member.average.net).values(), member.average.updates]
        for tensor in kept:
            tensor.data = tensor.data.clone()
        for state in member.optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = value.clone()

    @property
    def most(self) -> int:
        """How many updates to take at once."""
        return max(1, int(LONGEST / max(self.pace, 1e-6)))  # a clock may be coarser than an update

    def take(self, places: Sequence[Tensor], values: Tensor, measured: Container[int] = ()) -> Measured:
        """Take updates of all runs.

        Args:
            places: For each update, those of each run's samples, (runs, batch).
            values: What the rule has to know, (updates, names, groups, runs).
            measured: The updates whose sizes are asked for, from 0.
        """
        clock, found, sizes = clock_of(self.device), [], {}
        began = clock()
        # With other strides, as of parts of something longer, an update would be compiled again.
        batches = [batch.to(self.device).reshape(-1).view(batch.shape) for batch in places]
        for number, (batch, own) in enumerate(zip(batches, self._on_device(values), strict=True)):
            measures = number in measured
            before = [weight.clone() for weight in self.weights] if measures else []
            given = self._given(batch, own)
            if self.compiled and batch.shape[1] == self.compiled and not self.program.fault:
                losses, lengths, sums = self.program.compiled(*given)
            else:
                losses, lengths, sums = self.program.step(*given, measures=measures)
            found.append(torch.stack([losses, whole(lengths)]))
            if measures:
                sizes[number] = self._sizes(lengths, sums, before)
        for steps in self._steps:
            steps += len(places)
        before_update, gradients = torch.stack(found, dim=1).tolist()
        self.taken, self.pace = self.taken + len(places), (clock() - began) / len(places)
        return Measured(before_update, gradients, {number: own.tolist() for number, own in sizes.items()})

    def trace(self, places: Tensor, values: Tensor) -> Traced:
        """Make ready to compile updates of such batches, given what `take` is given of one."""
        masks = self._masks.get(places.shape[1], {})
        arrays = Arrays(self.weights, self.fixed, list(self.states), masks, self.averages)
        batch = self.program.batch(places.to(self.device))
        return self.program.trace(arrays, batch, self._on_device(values), self._clips)

    def _on_device(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype).contiguous()

    def _given(self, places: Tensor, values: Tensor) -> tuple[Arrays, Batch, Tensor, Tensor | None]:
        """What a step is given; the masks are drawn."""
        masks = self._draw(places.shape[1])
        arrays = Arrays(self.weights, self.fixed, list(self.states), masks, self.averages)
        return arrays, self.program.batch(places), values, self._clips

    def _sizes(self, lengths: Tensor, sums: Tensor, before: Sequence[Tensor]) -> Tensor:
        """The sizes of an update, (runs, groups, 4), of the norms of its gradients and the weights before it."""
        changes = norms([[weight - old] for weight, old in zip(self.weights, before, strict=True)])
        weights = [
            norms([[old, *(self.fixed[name].reshape(len(old), -1) for name in still)]])[0]
            for old, still in zip(before, self.program.still, strict=True)
        ]
        return torch.stack([lengths, sums, changes, torch.stack(weights)]).permute(2, 1, 0)

    def outputs(self, inputs: Tensor) -> Tensor:
        """What all networks say of the same inputs in eval mode: (runs, n, ...)."""
        return self.program.outputs(self.weights, self.fixed, inputs)

    def _draw(self, size: int) -> dict[str, Tensor]:
        """The masks of a step, each run's in the order in which a run alone draws them."""
        if size not in self._masks:
            self._masks[size] = {
                mask.name: self.weights[0].new_ones(len(self.members), size, *mask.shape) for mask in self.program.masks
            }
        masks = self._masks[size]
        for mask in self.program.masks:
            draw(mask, masks[mask.name], self._generators)
        return masks


def clock_of(device: torch.device) -> Callable[[], float]:
    """What tells the time of computations on a device: of a CPU, which others may use as well, the time on it."""
    return time.thread_time if device.type == "cpu" else time.perf_counter


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a network, each once."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def _complete_state(optimizer: Optimizer, rule: Rule) -> None:
    """Begin with zeros what an optimizer would begin to keep at its first update, in the same order."""
    owned = ((group, weight) for group in optimizer.param_groups for weight in group["params"])
    for group, weight in ((group, weight) for group, weight in owned if weight.requires_grad):
        if rule.counts and "step" not in optimizer.state[weight]:
            optimizer.state[weight]["step"] = torch.zeros((), device=weight.device if group.get("fused") else "cpu")
        for key in rule.state:
            if optimizer.state[weight].get(key) is None:
                optimizer.state[weight][key] = torch.zeros_like(weight, requires_grad=False)


@torch.no_grad()
def _in_rows(tensors: Sequence[Sequence[Tensor]], like: Tensor) -> Tensor:
    """The tensors of each run in one row, which they become views of, (runs, numbers); they may be none."""
    none = like.new_empty(0)
    rows = torch.stack([torch.cat([none, *(tensor.data.flatten() for tensor in own)]) for own in tensors])
    for own, row in zip(tensors, rows, strict=True):
        for tensor, part in zip(own, torch.split(row, [tensor.numel() for tensor in own]) if own else (), strict=True):
            tensor.data = part.view_as(tensor)
    return rows


@torch.no_grad()
def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors as rows of one, which they become views of."""
    stacked = torch.stack([tensor.data for tensor in tensors])
    for tensor, row in zip(tensors, stacked, strict=True):
        tensor.data = row
    return stacked
