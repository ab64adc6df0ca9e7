"""Of several labels, each may hold for a sample or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

from lrtrain.errors import RequestError
from lrtrain.objectives.building import Loss, Names, Objective, Weights, check_options, loss_of
from lrtrain.objectives.classification import weighted
from lrtrain.objectives.reports import Bars, Layout, Report, shortest
from lrtrain.objectives.targets import MOST_NAMES, Encoded, Raw, Targets
from lrtrain.parameters.rules import Factor, NonNegative

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MEASURED = ("map", "f1")
MOST_ROWS = 30
"""Of the table that is printed."""
BY_LABEL = ("ap", "precision", "recall", "f1")


def claims(raw: Raw) -> str | None:
    """Why such targets are taken for labels; None where they are not."""
    if raw.columns < 2 or not raw.are_binary:
        return None
    return f"{raw.what} hold zeros and ones only; objective=regression takes them for numbers"


def read(raw: Raw, known: Targets | None) -> Encoded:
    """Zeros and ones, float32 of shape (n, labels).

    Raises:
        RequestError: They are not zeros and ones, or not of the labels of the run.
    """
    import numpy as np

    if not raw.are_binary:
        raise RequestError(f"objective=multilabel tells labels: {raw.what} must hold zeros and ones only")
    if known and known.names and raw.labels != known.names:
        raise RequestError(f"{raw.what} {', '.join(raw.labels)}: the run was to tell {', '.join(known.names)}")
    values = np.asarray(raw.numbers, np.float32)
    return values, Targets("multilabel", values.shape[1], raw.labels).remembering(known)


def fit(values: NDArray[Any], train: NDArray[np.int64], targets: Targets) -> Encoded:
    """The zeros and ones, and how many ones each label has among those to train on."""
    return values, targets.counted(values[train].sum(axis=0, dtype=float), len(train))


def multilabel(
    targets: Targets,
    /,
    *,
    loss: Annotated[str, Loss(("bce", "focal"))] = "bce",
    gamma: NonNegative = 2.0,
    class_weights: Weights = None,
    threshold: Factor = 0.5,
    metrics: Names = (),
) -> Objective:
    """Of several labels, each may hold for a sample or not; mAP and F1 are measured, the means over the labels.

    Args:
        targets: The labels.
        loss: bce, focal, or module:function of logits and zeros and ones.
        gamma: how much focal neglects what is told well.
        class_weights: what the ones of each label count, against 1 of its zeros: balanced lets both count the same,
            or a list of numbers.
        threshold: a label is predicted where its probability is above.
        metrics: further ones of torchmetrics: [auroc,exact_match].

    Raises:
        ValueError: A key is of another loss, or there is no such metric.
    """
    from lrtrain.objectives import functional
    from lrtrain.objectives.metrics import make_metrics

    both = ("bce", "focal")
    check_options(loss, {"gamma": (gamma != 2, ["focal"]), "class_weights": (class_weights is not None, both)})
    own: dict[str, Any] = {"bce": functional.bce, "focal": functional.binary_focal}
    if class_weights is not None:
        values = weights_of(class_weights, targets)
        own = {name: weighted(function, values) for name, function in own.items()}
    losses, mean = loss_of(loss, own, {"gamma": gamma} if loss == "focal" else {}, rows)
    said = [f"gamma {gamma:g}"] * (loss == "focal") + ["weighted labels"] * (class_weights is not None)
    measured = make_metrics(dict.fromkeys((*MEASURED, *metrics)), "multilabel", targets.outputs, threshold)
    return Objective(
        targets=targets,
        unit="labels",
        words=f"{loss} ({', '.join(said)})" if said else loss,
        losses=losses,
        loss=mean,
        rows=rows,
        predictions=lambda outputs: outputs.float().sigmoid(),
        means="logits: sigmoid gives the probability of each label",
        truths=lambda truths: truths.long(),
        metrics=measured,
        details=_details(targets.outputs, threshold),
        report=partial(_report, targets),
        layout=partial(_layout, targets, threshold),
        remarks=_remarks(targets),
    )


def rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and zeros and ones of their type."""
    return outputs, targets.to(outputs.dtype)


def weights_of(asked: str | Sequence[float], targets: Targets) -> list[float]:
    """The weight of the ones of each label; balanced is how many zeros there are for each.

    Raises:
        ValueError: There are more or fewer weights than labels.
    """
    if isinstance(asked, str):
        ones = targets.counts or [1] * targets.outputs
        return [max(targets.samples - count, 1) / max(count, 1) for count in ones]
    if len(asked) != targets.outputs:
        raise ValueError(f"objective.class_weights has {len(asked)} weights, and there are {targets.outputs} labels")
    return list(asked)


def _details(labels: int, threshold: float) -> dict[str, Any]:
    """Average precision, precision, recall and F1 by label, and how often each label holds."""
    from torchmetrics import classification as known

    from lrtrain.objectives.own_metrics import Pairs

    kinds = {"precision": known.MultilabelPrecision, "recall": known.MultilabelRecall, "f1": known.MultilabelF1Score}
    return {
        "pairs": Pairs,
        "ap_by_label": partial(known.MultilabelAveragePrecision, labels, average="none"),
        **{f"{name}_by_label": partial(kind, labels, threshold, average="none") for name, kind in kinds.items()},
    }


def _report(targets: Targets, measured: Mapping[str, NDArray[np.float64]]) -> Report:
    """A table by label."""
    import numpy as np

    true, labels = measured["pairs"][1], targets.labels
    by_label = {name: abs(measured[f"{name}_by_label"]) for name in BY_LABEL}  # torchmetrics has a -0
    own = ("pairs", *(f"{name}_by_label" for name in BY_LABEL))
    metrics = {name: float(value.mean()) for name, value in measured.items() if name not in own}
    support, chance = true.sum(axis=0).astype(int), true.mean(axis=0)
    order = by_label["ap"].argsort(kind="stable")[:MOST_ROWS] if len(labels) > MOST_ROWS else range(len(labels))
    worst = [f"the {MOST_ROWS} labels of {len(labels):,} with the lowest average precision:"]
    after = [
        f"loss {metrics['loss']:.4f}, mAP {metrics['map']:.4f}, F1 {metrics['f1']:.4f} of {len(true):,} samples",
        f"by chance: mAP {chance.mean():.4f}; always saying every label: F1 {_f1_of_all(chance):.4f}",
    ]
    if absent := [labels[k] for k in range(len(labels)) if not support[k]]:
        shown = ", ".join(absent[:MOST_NAMES]) + ", ..." * (len(absent) > MOST_NAMES)
        after.append(f"no sample has {shown}: with nothing to find, their measures count as 0 in the means")
    rows = [[labels[k], f"{support[k]:,}", *(f"{values[k]:.4f}" for values in by_label.values())] for k in order]
    numbers = zip(labels, support.tolist(), *(values.tolist() for values in by_label.values()), strict=True)
    return Report(
        metrics=metrics,
        support=len(true),
        headline=f"mAP {metrics['map']:.4f}",
        columns=["label", "support", "AP", "precision", "recall", "F1"],
        rows=rows,
        mean=["mean", f"{support.sum():,}", *(f"{np.mean(values):.4f}" for values in by_label.values())],
        lines=(worst if len(labels) > MOST_ROWS else [], after),
        tables={"per_label": (["label", "support", *by_label], numbers)},
        pictures={"per_label": Bars(by_label["ap"], chance, labels, ("average precision", "by chance"))},
        extra={"chance_map": float(chance.mean()), "chance_f1": _f1_of_all(chance)},
    )


def _f1_of_all(shares: NDArray[np.float64]) -> float:
    """The mean F1 where every label is always predicted: precision is its share, and recall 1."""
    return float((2 * shares / (1 + shares)).mean())


def _layout(targets: Targets, threshold: float, labelled: bool, top: int | None) -> Layout:
    """What is true and what is predicted of each label, and its probability."""
    if top:
        raise RequestError("top= is for classes: leave it out")
    names = targets.labels

    def rows(probabilities: Tensor, truths: Tensor) -> Iterable[Iterable[Any]]:
        parts = [*[truths.long().tolist()] * labelled, (probabilities > threshold).long().tolist()]
        return (list(chain(*row)) for row in zip(*parts, shortest(probabilities), strict=True))

    before = [*["true"] * labelled, "predicted", "p"]
    return Layout([f"{what}_{name}" for what in before for name in names], rows)


def _remarks(targets: Targets) -> list[str]:
    """The labels of which there is nothing to learn."""
    counts = zip(targets.labels, targets.counts or (), strict=False)
    same = [name for name, count in counts if count in (0, targets.samples)]
    return [f"warning: the same for all of the training split: {', '.join(same[:MOST_NAMES])}"] if same else []
