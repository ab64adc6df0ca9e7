"""Many runs of one network as one computation: the weights of all side by side, one step for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer

from lrtrain.errors import first_line
from lrtrain.training.population.dropout import Mask, draw, mask_dropout
from lrtrain.training.population.rules import Rule, Values, along, clip, norms, rule_of, whole
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
    """

    net: nn.Module
    optimizer: Optimizer
    clips: float
    generator: torch.Generator


class Arrays(NamedTuple):
    """What a step works on; the first dimension of every tensor is the runs.

    Attributes:
        weights: By name; what is trained.
        fixed: Parameters that are not, and buffers, which a step may change.
        states: What the optimizer keeps, for each of the weights.
        masks: Of the dropout.
    """

    weights: dict[str, Tensor]
    fixed: dict[str, Tensor]
    states: list[dict[str, Tensor]]
    masks: dict[str, Tensor]


class Program:
    """A step and a validation of a kind of run; blocks of runs share it, and what was compiled of it.

    Args:
        member: One of the runs.
        loss: Given outputs and targets of one run, the mean loss of its batch.
        gather: Gives the batches of training data.
        by_value: Gradients are clipped by value.

    Attributes:
        fault: Why it cannot be compiled, once that is known.
        compiled_for: The numbers of runs, and of samples of a batch, that it was compiled for.

    Raises:
        Exception: The network is not one that `torch.func` takes; of many kinds, as what is not supported raises them.
    """

    def __init__(self, member: Member, loss: Loss, gather: Gather, by_value: bool) -> None:
        self.net = copy.deepcopy(member.net).train()
        device = next(self.net.parameters()).device
        inputs, targets = gather(torch.arange(2, device=device))
        self.masks: list[Mask] = mask_dropout(self.net, inputs)
        if self.masks and device.type != "cpu":
            raise ValueError("each run's own dropout is drawn on a CPU")
        self.rule: Rule = rule_of(member.optimizer)
        self.loss, self.gather, self.by_value = loss, gather, by_value
        groups = enumerate(member.optimizer.param_groups)
        of_group = {weight: number for number, group in groups for weight in group["params"]}
        own = dict(member.net.named_parameters())
        self.group_of = {name: of_group[weight] for name, weight in own.items() if weight.requires_grad}
        self.still = {name: of_group.get(weight, 0) for name, weight in own.items() if name not in self.group_of}
        self._gradient = grad_and_value(self._loss, has_aux=True)
        self._gradients = vmap(self._gradient, in_dims=(0, 0, 0, 0, 0))
        self._outputs = vmap(self._forward, in_dims=(0, 0, None))
        self._traced: dict[tuple[int, int], Callable[[list[Tensor]], tuple[Tensor, ...]]] = {}
        self.fault: str | None = None
        self.compiled_for: set[tuple[int, int]] = set()
        self._try(inputs, targets)

    def _try(self, inputs: Tensor, targets: Tensor) -> None:
        """Take a gradient and an output of copies of the network, to see whether it can be done."""
        tensors = {name: torch.stack([tensor.detach()] * 2) for name, tensor in _tensors(self.net).items()}
        weights = {name: tensors[name] for name in self.group_of}
        masks = {mask.name: tensors.pop(mask.name).new_ones(2, 2, *mask.shape) for mask in self.masks}
        fixed = {name: tensor for name, tensor in tensors.items() if name not in weights}
        self._gradients(weights, fixed, masks, torch.stack([inputs] * 2), torch.stack([targets] * 2))
        self.outputs(weights, fixed, inputs)

    def batch(self, places: Tensor) -> Batch:
        """The inputs and targets of places in the training data, (runs, n), of shapes (runs, n, ...)."""
        inputs, targets = (part.view(*places.shape, *part.shape[1:]) for part in self.gather(places.reshape(-1)))
        return inputs, targets

    def step(
        self, arrays: Arrays, batch: Batch, values: Tensor, clips: Tensor | None, *, measures: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one update of every run.

        Args:
            arrays: Changed in place.
            batch: Of each run.
            values: What the rule has to know, (names, groups, runs).
            clips: Where each run's gradient is clipped, (runs,); None if none is.
            measures: Also the gradient's absolute values.

        Returns:
            Each run's loss before the update, and the Euclidean norm of each weight's gradient before clipping,
            (weights, runs); and the same with that of absolute values.
        """
        inputs, targets = batch
        runs = len(inputs)
        found, (losses, fixed) = self._of_runs(runs)(arrays.weights, arrays.fixed, arrays.masks, inputs, targets)
        gradients = list(found.values())
        lengths = norms(gradients)
        sums = norms(gradients, 1) if measures else lengths
        if clips is not None:
            gradients = clip(gradients, whole(lengths), clips, self.by_value)
        for name, buffer in fixed.items():
            arrays.fixed[name].copy_(buffer)
        for (name, weight), gradient, state in zip(arrays.weights.items(), gradients, arrays.states, strict=True):
            own = values[:, self.group_of[name]]
            known: Values = {key: along(own[place], weight) for place, key in enumerate(self.rule.names)}
            self.rule.update(weight, gradient, state, known)
        return losses, lengths, sums

    def _of_runs(self, runs: int) -> Callable[..., Any]:
        """Gradients, losses and changed buffers of so many runs; a single one is spared what batching it costs."""
        if runs > 1:
            return self._gradients

        def alone(*given: dict[str, Tensor] | Tensor) -> Any:
            first: list[Any] = [
                part[0] if isinstance(part, Tensor) else {name: own[0] for name, own in part.items()} for part in given
            ]
            gradients, (loss, fixed) = self._gradient(*first)
            gradients, fixed = ({name: own[None] for name, own in part.items()} for part in (gradients, fixed))
            return gradients, (loss[None], fixed)

        return alone

    def trace(self, arrays: Arrays, batch: Batch, values: Tensor, clips: Tensor | None) -> None:
        """Make ready to compile the step for so many runs, and samples of a batch.

        What is compiled is the list of operations that the step comes to: finding it in the code takes
        `torch.compile` several times as long.
        """
        tensors, shape = tree_flatten((arrays, batch, values, clips))

        def step(flat: list[Tensor | None]) -> tuple[Tensor, ...]:
            return self.step(*tree_unflatten(flat, shape))

        graph = make_fx(step)([None if tensor is None else tensor.clone() for tensor in tensors])
        self._traced[_key(batch)] = torch.compile(graph, fullgraph=True, dynamic=False)

    def compiled(
        self, arrays: Arrays, batch: Batch, values: Tensor, clips: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same step, compiled at the first call for so many runs; as it is where that fails."""
        try:
            if _key(batch) not in self._traced:
                self.trace(arrays, batch, values, clips)
            losses, lengths, sums = self._traced[_key(batch)](tree_flatten((arrays, batch, values, clips))[0])
        except Exception as error:  # of many kinds; nothing was computed yet
            self.fault = first_line(error)
            return self.step(arrays, batch, values, clips)
        self.compiled_for.add(_key(batch))
        return losses, lengths, sums

    def outputs(self, weights: dict[str, Tensor], fixed: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """What the networks say in eval mode of the same inputs: (runs, n, ...)."""
        self.net.eval()
        with torch.no_grad():
            found: Tensor = self._outputs(weights, fixed, inputs)
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


def _key(batch: Batch) -> tuple[int, int]:
    """How many runs and samples there are, which a compiled step is made for."""
    runs, size, *_ = batch[1].shape
    return runs, size


class Measured(NamedTuple):
    """What was measured of some updates of all runs.

    Attributes:
        losses: Of each update, those of the runs.
        norms: Of their whole gradients, likewise.
        sizes: Of each run, and each group, what `Taken` has of the last update; empty if not asked for.
    """

    losses: list[list[float]]
    norms: list[list[float]]
    sizes: list[list[list[float]]]


class Stack:
    """Runs whose weights, buffers and optimizer state stand side by side; each run's own are views of its row.

    A run that leaves takes copies of its own with it. Its row goes on being computed, so that the bits of the others
    stay what they are.

    Args:
        program: Of runs of this kind.
        members: The runs.

    Attributes:
        compiled: Updates of batches of this size are compiled ones; 0 for none.
    """

    def __init__(self, program: Program, members: Sequence[Member]) -> None:
        self.program, self.members = program, members
        self.compiled = 0
        self._generators: list[torch.Generator | None] = [member.generator for member in members]
        self._masks: dict[int, dict[str, Tensor]] = {}
        nets = [_tensors(member.net) for member in members]
        trained = list(program.group_of)
        columns = {name: _side_by_side([net[name] for net in nets]) for name in nets[0]}
        self.weights = {name: columns[name] for name in trained}
        self.fixed = {name: column for name, column in columns.items() if name not in self.weights}
        for member in members:
            _complete_state(member.optimizer, program.rule)
        owners = [[net[name] for net in nets] for name in trained]
        self.states, self._steps = zip(*map(self._join_states, owners), strict=True)
        first = next(iter(self.weights.values()))
        self.device, self.dtype = first.device, first.dtype
        clips = torch.tensor([member.clips for member in members], dtype=self.dtype, device=self.device)
        self._clips = None if torch.isinf(clips).all() else clips

    def _join_states(self, owners: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
        """What the optimizers keep for one weight of each run side by side."""
        rule = self.program.rule
        if not (rule.state or rule.counts):
            return {}, None
        states = [member.optimizer.state[weight] for member, weight in zip(self.members, owners, strict=True)]
        found = {key: _side_by_side([state[key] for state in states]) for key in rule.state}
        return found, _side_by_side([state["step"] for state in states]) if rule.counts else None

    def leave(self, row: int) -> None:
        """Give a run what is its own."""
        member, self._generators[row] = self.members[row], None
        for tensor in _tensors(member.net).values():
            tensor.data = tensor.data.clone()
        for state in member.optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = value.clone()

    def take(self, places: Sequence[Tensor], values: Tensor, *, measures: bool) -> Measured:
        """Take updates of all runs.

        Args:
            places: For each update, those of each run's samples, (runs, batch).
            values: What the rule has to know, (updates, names, groups, runs).
            measures: The sizes of the last update.
        """
        found, before = [], []
        batches = [batch.to(self.device).reshape(-1).view(batch.shape) for batch in places]  # strides as compiled for
        for number, (batch, own) in enumerate(zip(batches, values.to(self.device, self.dtype), strict=True)):
            last = measures and number == len(places) - 1
            if last:
                before = [weight.clone() for weight in self.weights.values()]
            given = self._given(batch, own)
            if self.compiled and batch.shape[1] == self.compiled and not self.program.fault:
                found.append(self.program.compiled(*given))
            else:
                found.append(self.program.step(*given, measures=last))
        for steps in self._steps:
            if steps is not None:
                steps += len(places)
        losses, lengths, sums = zip(*found, strict=True)
        before_update, gradients = torch.stack([torch.stack(losses), whole(torch.stack(lengths))]).tolist()
        return Measured(before_update, gradients, self._sizes(lengths[-1], sums[-1], before) if measures else [])

    def trace(self, places: Tensor, values: Tensor) -> None:
        """Make ready to compile updates of such batches, given what `take` is given of an update."""
        masks = self._masks.get(places.shape[1], {})
        arrays = Arrays(self.weights, self.fixed, list(self.states), masks)
        batch = self.program.batch(places.to(self.device))
        self.program.trace(arrays, batch, values.to(self.device, self.dtype), self._clips)

    def _given(self, places: Tensor, values: Tensor) -> tuple[Arrays, Batch, Tensor, Tensor | None]:
        """What a step is given; the masks are drawn."""
        arrays = Arrays(self.weights, self.fixed, list(self.states), self._draw(places.shape[1]))
        return arrays, self.program.batch(places), values, self._clips

    def _sizes(self, lengths: Tensor, sums: Tensor, before: Sequence[Tensor]) -> list[list[list[float]]]:
        """The sizes of an update by run and group, of the norms of its gradients and the weights before it."""
        program, groups = self.program, []
        changes = norms([weight - old for weight, old in zip(self.weights.values(), before, strict=True)])
        weights = norms([*before, *(self.fixed[name] for name in program.still)])
        of_weight = [*program.group_of.values(), *program.still.values()]
        for group in range(max(of_weight) + 1):
            own = [place for place, number in enumerate(of_weight) if number == group]
            trained = [place for place in own if place < len(before)]
            parts = whole(lengths[trained]), whole(sums[trained], 1), whole(changes[trained]), whole(weights[own])
            groups.append(torch.stack(parts))
        return torch.stack(groups).permute(2, 0, 1).tolist()

    def outputs(self, inputs: Tensor) -> Tensor:
        """What all networks say of the same inputs in eval mode: (runs, n, ...)."""
        return self.program.outputs(self.weights, self.fixed, inputs)

    def _draw(self, size: int) -> dict[str, Tensor]:
        """The masks of a step, each run's in the order in which a run alone draws them."""
        if size not in self._masks:
            first = next(iter(self.weights.values()))
            self._masks[size] = {
                mask.name: first.new_ones(len(self.members), size, *mask.shape) for mask in self.program.masks
            }
        masks = self._masks[size]
        for mask in self.program.masks:
            draw(mask, masks[mask.name], self._generators)
        return masks


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
def _side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors as rows of one, which they become views of."""
    stacked = torch.stack([tensor.data for tensor in tensors])
    for tensor, row in zip(tensors, stacked, strict=True):
        tensor.data = row
    return stacked
