"""Tells samples apart: a digest of their labels and inputs, and where their inputs lie."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lrtrain.datasets import Source
from lrtrain.datasets.sources import InMemory

SOME = 64
"""Samples of a split whose inputs are always looked at, where they are not larger than `MOST_BYTES`."""
MOST_BYTES = 1 << 25
QUICK_BYTES = 1 << 28
"""All inputs are looked at where they are in memory and not more than that: a fraction of a second."""
MOST_LEVELS = 1000


def fingerprint(parts: Sequence[Source]) -> dict[str, Any]:
    """The fields of an `Identity` that are of the samples themselves.

    Args:
        parts: Of the dataset.
    """
    some = [part.gather(_spread(part))[0] for part in parts if len(part)]
    found = {"labels": _digest(part.labels for part in parts), "some_inputs": _digest(some)}
    held = [part.inputs for part in parts if isinstance(part, InMemory)]
    if len(held) == len(parts) and sum(map(_size, held)) <= QUICK_BYTES:
        found["inputs"] = _digest(inputs if inputs.dtype == torch.uint8 else inputs.float() for inputs in held)
    return {"fingerprint": found, "levels": _levels(some[0]) if some else None}


def _spread(part: Source) -> Tensor:
    """The places of some samples, from the first to the last."""
    count = min(SOME, len(part), max(1, MOST_BYTES // (4 * math.prod(part.shape) or 1)))
    return torch.linspace(0, len(part) - 1, count).round().long()


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        overlaps = tensor.untyped_storage().nbytes() < tensor.nbytes  # as windows do: what they show is in there once
        whole = tensor.new_empty(0).set_(tensor.untyped_storage()) if overlaps else tensor.contiguous()
        digest.update(whole.numpy().tobytes())
    return digest.hexdigest()


def _size(inputs: Tensor) -> int:
    return min(inputs.nbytes, inputs.untyped_storage().nbytes())


def _levels(inputs: Tensor) -> dict[str, list[float]] | None:
    """Mean and std, of each feature or channel where there are not too many."""
    if not inputs.is_floating_point():
        return None
    rows = inputs.flatten(2).transpose(1, 2).flatten(0, 1) if inputs.ndim > 2 else inputs
    rows = (rows if rows.shape[1] <= MOST_LEVELS else rows.reshape(-1, 1)).double()
    found = {"mean": rows.mean(0), "std": rows.std(0, correction=0)}
    if not all(bool(values.isfinite().all()) for values in found.values()):
        return None
    return {name: [float(f"{value:.6g}") for value in values.tolist()] for name, values in found.items()}
