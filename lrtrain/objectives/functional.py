"""Losses as pure functions of what a model gives and what is true; `torch.func` can transform each of them.

All take ``outputs`` and ``targets`` with a row for each sample, and return the loss of each row with
``reduction="none"``, and the mean of the rows with ``reduction="mean"``. Weights are part of a row's loss: the mean is
over the number of rows, so that it is the same function of a sample in a batch of any size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(
    outputs: Tensor,
    targets: Tensor,
    *,
    weights: Tensor,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Torch's softmax cross-entropy of logits (n, classes) and labels (n,), but for what a mean of weighted rows is.

    Args:
        outputs: Logits.
        targets: Labels, int64.
        weights: Of the classes.
        label_smoothing: Share of the target that is spread over all classes.
        reduction: none or mean.
    """
    each = functional.cross_entropy(outputs, targets, weights, label_smoothing=label_smoothing, reduction="none")
    return _reduced(each, reduction)


def focal(
    outputs: Tensor, targets: Tensor, *, gamma: float = 2.0, weights: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy times ``(1 - p) ** gamma``, p being the probability of the true class (arXiv:1708.02002, eq. 4)."""
    each = _focused(functional.cross_entropy(outputs, targets, reduction="none"), gamma)
    return _reduced(each if weights is None else each * weights[targets], reduction)


def mse(outputs: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Squared error, the mean over the columns of (n, columns)."""
    return _of_columns(functional.mse_loss(outputs, targets, reduction="none"), reduction)


def mae(outputs: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """Absolute error, likewise."""
    return _of_columns(functional.l1_loss(outputs, targets, reduction="none"), reduction)


def huber(outputs: Tensor, targets: Tensor, *, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Half the squared error up to `delta`, and linear beyond (Huber 1964)."""
    return _of_columns(functional.huber_loss(outputs, targets, delta=delta, reduction="none"), reduction)


def quantile(outputs: Tensor, targets: Tensor, *, level: float = 0.5, reduction: str = "mean") -> Tensor:
    """The loss that a quantile minimises (Koenker & Bassett 1978): too low costs `level`, too high 1 - `level`."""
    error = targets - outputs
    return _of_columns(torch.maximum(level * error, (level - 1) * error), reduction)


def bce(outputs: Tensor, targets: Tensor, *, weights: Tensor | None = None, reduction: str = "mean") -> Tensor:
    """Sigmoid cross-entropy of logits and zeros and ones (n, labels), the mean over the labels.

    Args:
        outputs: Logits.
        targets: Zeros and ones.
        weights: What the ones of each label count, against 1 of its zeros.
        reduction: none or mean.
    """
    each = functional.binary_cross_entropy_with_logits(outputs, targets, pos_weight=weights, reduction="none")
    return _of_columns(each, reduction)


def binary_focal(
    outputs: Tensor, targets: Tensor, *, gamma: float = 2.0, weights: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Sigmoid cross-entropy times ``(1 - p) ** gamma``, the mean over the labels (arXiv:1708.02002, eq. 4)."""
    each = _focused(functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none"), gamma)
    if weights is not None:
        each = each * torch.where(targets > 0, weights, torch.ones_like(weights))
    return _of_columns(each, reduction)


def _focused(each: Tensor, gamma: float) -> Tensor:
    """Cross-entropies times ``(1 - p) ** gamma``, p being the probability of what is true."""
    return (1 - torch.exp(-each)).clamp(min=0) ** gamma * each


def _of_columns(each: Tensor, reduction: str) -> Tensor:
    return _reduced(each.mean(-1), reduction)


def _reduced(each: Tensor, reduction: str) -> Tensor:
    return each.mean() if reduction == "mean" else each
