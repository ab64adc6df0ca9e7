"""Dropout whose masks are drawn outside of the network, from each run's own random numbers, as a run alone draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

KINDS = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout


class Masked(nn.Module):
    """Multiplies by a mask while training; the mask is a buffer, which a functional call is given."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of the mask's shape."""
        return inputs * self.mask if self.training else inputs


class Mask(NamedTuple):
    """A mask that a network needs.

    Attributes:
        name: Of its buffer.
        shape: Of what it multiplies, without the samples.
        p: The probability of a zero.
    """

    name: str
    shape: tuple[int, ...]
    p: float


def draw(mask: Mask, rows: Tensor, generators: Sequence[torch.Generator | None]) -> None:
    """Draw each run's mask into its row, as `torch.nn.functional.dropout` does; a run without a generator has none."""
    for row, generator in zip(rows, generators, strict=True):
        if generator is not None:
            row.bernoulli_(1 - mask.p, generator=generator)
    rows.div_(1 - mask.p)


@torch.no_grad()
def mask_dropout(net: nn.Module, inputs: Tensor) -> list[Mask]:
    """Replace the dropout of a network, and say which masks it needs, in the order in which it draws them.

    Args:
        net: Changed in place.
        inputs: Two samples or more.

    Raises:
        ValueError: It has dropout of another kind, or draws a mask otherwise than once a batch.
    """
    for path, layer in net.named_modules():
        hidden = getattr(layer, "dropout", 0.0)
        if (isinstance(layer, KINDS) and type(layer) is not nn.Dropout) or (isinstance(hidden, float) and hidden > 0):
            raise ValueError(f"the dropout inside of {path} ({type(layer).__name__}) cannot be drawn for each run")
    layers = {path: layer for path, layer in net.named_modules() if type(layer) is nn.Dropout and layer.p > 0}
    if any(layer.p == 1 for layer in layers.values()):
        raise ValueError("dropout=1 draws nothing")
    found: list[Mask] = []

    def note(path: str, p: float, output: Tensor) -> None:
        if not output.is_contiguous():
            raise ValueError(f"the dropout {path} follows a change of the layout")
        found.append(Mask(f"{path}.mask", tuple(output.shape[1:]), p))

    handles = [
        layer.register_forward_hook(lambda _, __, output, path=path, p=layer.p: note(path, p, output))
        for path, layer in layers.items()
    ]
    state, training = torch.get_rng_state(), net.training
    net.train()(inputs)
    torch.set_rng_state(state)
    net.train(training)
    for handle in handles:
        handle.remove()
    if len(found) != len(layers):
        raise ValueError("a layer of dropout is used twice, or not at all")
    for path in layers:
        parent, _, name = path.rpartition(".")
        setattr(net.get_submodule(parent), name, Masked())
    return found
