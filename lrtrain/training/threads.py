"""How many CPU threads suit a model."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from lrtrain.datasets import Inputs

WORTH_SHARING = 1e8
"""Floating-point operations of a batch, forwards, from which on several threads gain more than their meeting costs."""

_OWN = torch.get_num_threads()


def use_threads(threads: int | None, network: nn.Module, inputs: Inputs | None, batch_size: int) -> None:
    """Set the number of threads of this process.

    Args:
        threads: None takes one for a small network, where others would only wait for each other, and torch's own
            number for a larger one, or wherever ``OMP_NUM_THREADS`` says what the user wants.
        network: Takes `inputs`.
        inputs: What the network is given; None where that is not known, which gets torch's own number.
        batch_size: Samples a batch.
    """
    if threads is None:
        small = inputs is not None and operations(network, inputs) * batch_size < WORTH_SHARING
        threads = 1 if small and "OMP_NUM_THREADS" not in os.environ else _OWN
    torch.set_num_threads(threads)


@torch.no_grad()
def operations(network: nn.Module, inputs: Inputs) -> float:
    """Floating-point operations on one sample, forwards: two for each weight of a layer at each place of its output.

    Attention's own products are left out, as they are the lesser part at the lengths where it matters.
    """
    found: list[float] = []

    def count(layer: nn.Module, _: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        weights = [weight for weight in layer.parameters(recurse=False) if weight.dim() > 1]
        if not weights or not isinstance(output, Tensor) or isinstance(layer, nn.Embedding):
            return
        channels = output.shape[1 if weights[0].dim() > 2 else -1]  # a convolution has its channels first
        found.append(2.0 * sum(weight.numel() for weight in weights) * output.numel() / channels)

    handles = [layer.register_forward_hook(count) for layer in network.modules()]
    training = network.training
    network.eval()(torch.zeros(1, *inputs.shape, dtype=torch.int64 if inputs.tokens else torch.float32))
    network.train(training)
    for handle in handles:
        handle.remove()
    return sum(found)
