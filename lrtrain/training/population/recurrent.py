"""Recurrent layers in operations that can be mapped over runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class StepByStep(nn.GRU):
    """A GRU that takes one step after the other, as torch's own function of all steps cannot be mapped over runs.

    Its dropout between layers is in layers of their own, which draw in the order in which torch's function does.
    """

    between: nn.ModuleList

    def forward(  # type: ignore[override]
        self,
        input: Tensor,  # noqa: A002 (as torch calls it)
        hx: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Batches of sequences that begin with no state; others as ever."""
        if hx is not None or not isinstance(input, Tensor) or input.dim() != 3:
            return super().forward(input, hx)
        states, last = input.transpose(0, 1) if self.batch_first else input, []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            if layer:
                length, n, width = states.shape
                states = self.between[layer - 1](states.reshape(n, -1)).view(length, n, width)
            found = [
                self._run(states, self.all_weights[directions * layer + direction], backwards=direction == 1)
                for direction in range(directions)
            ]
            last += [own[direction - 1] for direction, own in enumerate(found)]
            states = torch.cat(found, 2)
        return states.transpose(0, 1) if self.batch_first else states, torch.stack(last)

    def _run(self, inputs: Tensor, weights: Sequence[Tensor], backwards: bool) -> Tensor:
        """The states (length, n, width) of one layer in one direction."""
        of_input, of_state, *biases = weights
        bias_of_input, bias_of_state = biases or (None, None)
        steps, width = linear(inputs, of_input, bias_of_input).unbind(), self.hidden_size
        state = inputs.new_zeros(inputs.shape[1], width)
        found = []
        for step in reversed(steps) if backwards else steps:
            change = linear(state, of_state, bias_of_state)
            reset, update = (step[:, : 2 * width] + change[:, : 2 * width]).sigmoid().chunk(2, 1)
            new = (step[:, 2 * width :] + reset * change[:, 2 * width :]).tanh()
            state = new + update * (state - new)
            found.append(state)
        return torch.stack(found[::-1] if backwards else found)


def use_steps(net: nn.Module) -> None:
    """Make `StepByStep` of the GRUs of a network, in place: parameters and hooks stay what they are."""
    for layer in list(net.modules()):
        if type(layer) is nn.GRU:
            layer.__class__ = StepByStep
            layer.between = nn.ModuleList(nn.Dropout(layer.dropout) for _ in range(layer.num_layers - 1))
            layer.dropout = 0.0
