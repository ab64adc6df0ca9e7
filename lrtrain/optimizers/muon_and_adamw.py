"""Muon for the hidden weights and AdamW for all others, as one optimizer under one schedule."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


class Muon(Optimizer):
    """Steps groups marked ``by="muon"`` with torch's Muon, those marked ``by="adamw"`` with torch's AdamW.

    Both are groups of this one optimizer, so that a scheduler sees the rates of all, an update counts once, and the
    state is saved and loaded as that of any optimizer.

    Args:
        groups: As `split` returns them.
        lr: Of groups without their own.
        adamw_lr: The base rate of AdamW's groups, which `split` has given them.
        adamw_betas: Of AdamW.
        adamw_eps: Of AdamW.
        adamw_weight_decay: Of AdamW.
        adamw: Which weights AdamW takes, as `split` was told.
        settings: Of Muon.

    Raises:
        ValueError: A setting is outside what torch admits.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        *,
        adamw_lr: float = 3e-4,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 0.01,
        adamw: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        empty: list[dict[str, Any]] = [{"params": []}]
        self._parts: dict[str, Optimizer] = {
            "muon": _MatrixMuon(empty, lr=lr, **settings),
            "adamw": AdamW(empty, lr=adamw_lr, betas=adamw_betas, eps=adamw_eps, weight_decay=adamw_weight_decay),
        }
        super().__init__([{**self._parts[group["by"]].defaults, **group} for group in groups], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters once; return what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for kind, part in self._parts.items():
            # Shared anew each time: loading a state replaces ours.
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if group["by"] == kind]
            part.step()
        return loss


class _MatrixMuon(torch.optim.Muon):
    """torch's Muon, which also takes the weight of a convolution: as a matrix with a row for each output channel."""

    def _init_group(
        self,
        group: MutableMapping[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        muon_momentum_bufs: list[Tensor],
    ) -> bool:
        lists = params_with_grad, grads, muon_momentum_bufs
        complex_numbers = super()._init_group(group, *lists)
        for tensors in lists:
            tensors[:] = [tensor.view(len(tensor), -1) for tensor in tensors]
        return complex_numbers


def split(
    network: nn.Module, groups: Sequence[dict[str, Any]], lr: float, adamw_lr: float, adamw: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Divide each parameter group into what Muon takes and what AdamW takes, Muon's first.

    Muon takes the hidden weights: those of two or more dimensions, without the embeddings and the last layer
    (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    Args:
        network: Whose parameters the groups have.
        groups: With their ``params``, ``lr`` and ``name``.
        lr: The base rate, of which a group's rate is a multiple.
        adamw_lr: AdamW's base rate; its groups have the same multiples of it.
        adamw: Patterns of names that AdamW takes besides what has fewer than two dimensions, in place of the
            embeddings and the last layer.

    Raises:
        ValueError: Nothing is left for Muon.
    """
    others = _named(network, adamw) if adamw is not None else _outer(network)
    others |= {parameter for parameter in network.parameters() if parameter.ndim < 2}
    divided = []
    for kind in ("muon", "adamw"):
        for group in groups:
            parameters = [parameter for parameter in group["params"] if (parameter in others) == (kind == "adamw")]
            if parameters:
                own = {"name": f"{group['name']}_adamw", "lr": adamw_lr * group["lr"] / lr} if kind == "adamw" else {}
                divided.append({**group, **own, "params": parameters, "by": kind})
    if divided[0]["by"] != "muon":
        raise ValueError("optimizer=muon is for the weights between a network's first and last layer: there are none")
    return divided


def _named(network: nn.Module, patterns: Sequence[str]) -> set[nn.Parameter]:
    found: set[nn.Parameter] = set()
    for pattern in patterns:
        matched = {parameter for name, parameter in network.named_parameters() if re.fullmatch(pattern, name)}
        if not matched:
            raise ValueError(f"optimizer.adamw: {pattern!r} matches no parameter")
        found |= matched
    return found


def _outer(network: nn.Module) -> set[nn.Parameter]:
    """The weights of the embeddings and of the last layer that has a matrix."""
    layers = [module for module in network.modules() if any(p.ndim > 1 for p in module.parameters(recurse=False))]
    outer = [layer for layer in layers if isinstance(layer, nn.Embedding)] + layers[-1:]
    return {parameter for layer in outer for parameter in layer.parameters(recurse=False)}
