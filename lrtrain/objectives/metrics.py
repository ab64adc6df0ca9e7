"""Metrics by name: any of torchmetrics that fits an objective, and which direction is better."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from lrtrain.parameters.nearest import nearest

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric

SHORT = {
    "acc": "accuracy",
    "f1": "f1score",
    "ap": "averageprecision",
    "map": "averageprecision",
    "auc": "auroc",
    "mcc": "matthewscorrcoef",
    "kappa": "cohenkappa",
    "iou": "jaccardindex",
    "ece": "calibrationerror",
    "hamming": "hammingdistance",
    "r2": "r2score",
    "mae": "meanabsoluteerror",
    "mse": "meansquarederror",
    "rmse": "meansquarederror",
    "mape": "meanabsolutepercentageerror",
    "smape": "symmetricmeanabsolutepercentageerror",
    "pearson": "pearsoncorrcoef",
    "spearman": "spearmancorrcoef",
    "kendall": "kendallrankcorrcoef",
    "ccc": "concordancecorrcoef",
}
"""What is usually written for some of torchmetrics' classes."""

DIRECTIONS = {
    **dict.fromkeys(("loss", "error", "mae", "mse", "rmse", "mape", "perplexity"), "min"),
    **dict.fromkeys(("acc", "accuracy", "r2", "map", "f1", "precision", "recall", "auroc"), "max"),
}
"""Which direction is better, of metrics that are asked for without importing torch."""

RISING = ("pearsoncorrcoef", "spearmancorrcoef", "kendallrankcorrcoef", "concordancecorrcoef", "explainedvariance")
"""Whose larger values are better although torchmetrics does not say so: a prediction is to rise with the truth."""

FAMILIES = {"classification": "Multiclass", "multilabel": "Multilabel", "regression": ""}
"""What the names of torchmetrics' classes begin with, by objective."""


def direction(name: str) -> str:
    """Whether less (``min``) or more (``max``) of a metric is better; empty where that is not known.

    Args:
        name: As it is recorded, such as ``val_f1_macro``; an ending such as ``_loss`` or ``_acc`` tells too.
    """
    own = re.sub(r"^(val|test|train)_", "", name)
    for known in (own, own.rpartition("_")[2]):
        if known in DIRECTIONS:
            return DIRECTIONS[known]
    for family in FAMILIES:
        if found := _classes(family).get(_base(own)[0]):
            better = True if _base(own)[0] in RISING else found.higher_is_better
            return "" if better is None else "max" if better else "min"
    return ""


def make_metrics(
    names: Iterable[str], family: str, outputs: int, threshold: float | None = None
) -> dict[str, Callable[[], Metric]]:
    """What makes each metric.

    Args:
        names: Torchmetrics' own, such as ``auroc`` or ``matthews_corr_coef``, or short ones; ``f1_macro``,
            ``recall_weighted`` and so on average over classes or labels, and ``top5`` is an accuracy.
        family: The objective.
        outputs: Classes, labels or columns.
        threshold: From where on a label is predicted.

    Raises:
        ValueError: There is no such metric, or it needs or gives more than a metric does that is recorded.
    """
    return {name: _make(name, family, outputs, threshold) for name in names}


def _make(name: str, family: str, outputs: int, threshold: float | None) -> Callable[[], Metric]:
    base, average, top = _base(name)
    kind = _classes(family).get(base)
    if kind is None:
        short = [key for key, whole in SHORT.items() if whole in _classes(family)]
        known = sorted({*short, *map(_snake, (found.__name__ for found in _classes(family).values()))})
        raise ValueError(f"objective.metrics: {family} has no metric {name!r}; {nearest(name, known)}")
    takes = inspect.signature(kind).parameters
    sizes = {key: outputs for key in ("num_classes", "num_labels", "num_outputs") if key in takes}
    options: dict[str, Any] = {"validate_args": False} if "validate_args" in takes else {}
    if family == "classification" and base == "accuracy":
        options["average"] = "micro"
    if threshold is not None and "threshold" in takes:
        options["threshold"] = threshold
    if average:
        options["average"] = average
    if top:
        options["top_k"] = top
    if name == "rmse":
        options["squared"] = False
    if unknown := [key for key in options if key not in takes]:
        raise ValueError(f"objective.metrics: {name!r}: {_snake(kind.__name__)} has no {unknown[0]}")
    made = partial(kind, **sizes, **options)
    if name not in DIRECTIONS:  # of which it is known what they give
        _check(name, made, family, outputs)
    return made


def _check(name: str, made: Callable[[], Metric], family: str, outputs: int) -> None:
    """Try a metric on a few samples, so that what cannot be recorded is refused before anything is trained."""
    import torch

    scores = torch.rand(2 * outputs, outputs, generator=torch.Generator().manual_seed(0))
    truths: Tensor = scores.flip(0)
    if family == "classification":
        scores, truths = scores.softmax(-1), torch.arange(len(scores)) % outputs
    elif family == "multilabel":
        truths = torch.eye(outputs, dtype=torch.int64).repeat(2, 1)
    try:
        with warnings.catch_warnings(action="ignore"):
            metric = made()
            metric.update(scores, truths)
            value = metric.compute()
    except Exception as error:  # of torchmetrics, for whatever it lacks
        said = " ".join(str(error).split())
        raise ValueError(f"objective.metrics: {name!r} cannot be measured here: {said}") from error
    if not isinstance(value, torch.Tensor) or value.numel() not in (1, outputs):
        raise ValueError(f"objective.metrics: {name!r} is more than a number: it cannot be recorded")


def _base(name: str) -> tuple[str, str, int]:
    """The class of a metric in small letters, the average that its name asks for, and the k of a top-k accuracy."""
    if top := re.fullmatch(r"top_?(\d+)(?:_acc|_accuracy)?", name):
        return "accuracy", "", int(top[1])
    whole, average = name, ""
    if found := re.fullmatch(r"(.+)_(macro|micro|weighted)", name):
        whole, average = found[1], found[2]
    return SHORT.get(whole, whole.replace("_", "").lower()), average, 0


@cache
def _classes(family: str) -> Mapping[str, Any]:
    """Torchmetrics' classes of a family, by their names in small letters."""
    room = importlib.import_module(f"torchmetrics.{'regression' if family == 'regression' else 'classification'}")
    before = FAMILIES[family]
    return {
        name.removeprefix(before).lower(): kind
        for name, kind in vars(room).items()
        if inspect.isclass(kind) and name.startswith(before) and name != before
    }


def _snake(name: str) -> str:
    for before in FAMILIES.values():
        name = name.removeprefix(before)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
