"""One class of several is told for each sample, or token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

from lrtrain.errors import RequestError
from lrtrain.objectives.building import Loss, Names, Objective, Weights, check_options, loss_of
from lrtrain.objectives.reports import Confusion, Layout, Report, shortened, shortest
from lrtrain.objectives.targets import MOST_NAMES, Encoded, Raw, Targets
from lrtrain.parameters.rules import NonNegative, Probability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MEASURED = ("acc", "perplexity")
"""The second of tokens only."""
FEW = 20
"""Different whole numbers in a column of a table that are taken for classes, where each is there twice on average."""
MOST = 0.5
"""A class with more of the labels than that is said."""
MOST_ROWS = 30
"""Of the table that is printed."""
MOST_CONFUSIONS = 5
BY_CLASS = ("precision", "recall", "f1")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def claims(raw: Raw) -> str | None:
    """Why such targets are taken for classes; None where they are not."""
    if raw.columns != 1:
        return None
    if raw.numbers is None or raw.classes:
        return f"{raw.what} holds names"
    if raw.texts is None:
        return f"{raw.what} holds whole numbers" if raw.numbers.dtype.kind in "iub" else None
    different, rows = len(set(raw.texts[0])), len(raw.texts[0])
    if raw.are_whole and different <= min(FEW, rows / 2):
        return f"{raw.what} holds {different} different whole numbers; objective=regression takes them for numbers"
    return None


def read(raw: Raw, known: Targets | None) -> Encoded:
    """Labels, int64 of shape (n,).

    Args:
        raw: As the file holds them.
        known: The classes of a run, by name where they have names.

    Raises:
        RequestError: They are not classes, or not those of the run.
    """
    if raw.columns != 1:
        raise RequestError(f"objective=classification tells one class of each sample, and {raw.what} has {raw.columns}")
    if raw.texts is None and not raw.classes:
        assert raw.numbers is not None, "what has no texts is numbers"
        labels, classes = labels_and_classes(raw.numbers[:, 0], raw.what, known.outputs if known else None)
        return labels, Targets("classification", classes).remembering(known)
    labels, found = _named(raw)
    names = known.names if known and known.names else found
    return class_order(found, names, raw.what)[labels], Targets("classification", len(names), names).remembering(known)


def _named(raw: Raw) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels of classes that have names, and these: in their order in the file, that of numbers, or of the alphabet."""
    import numpy as np

    if raw.classes:
        assert raw.numbers is not None, "they number the names"
        labels = raw.numbers[:, 0].astype(np.int64)
        if not 0 <= labels.min() <= labels.max() < len(raw.classes):
            raise RequestError(
                f"{raw.what} must have a class from 0 to {len(raw.classes) - 1} in every row of every split"
            )
        return labels, raw.classes
    assert raw.texts is not None, "it has texts or classes"
    [values] = raw.texts
    found = sorted(set(values))
    if all(map(_NUMBER.fullmatch, found)):
        found.sort(key=float)
    places = {name: label for label, name in enumerate(found)}
    return np.array([places[value] for value in values], np.int64), tuple(found)


def fit(labels: NDArray[Any], train: NDArray[np.int64], targets: Targets) -> Encoded:
    """The labels, and how often each is among those to train on."""
    import numpy as np

    return labels, targets.counted(np.bincount(labels[train], minlength=targets.outputs), len(train))


def labels_and_classes(values: NDArray[Any], what: str, known: int | None = None) -> tuple[NDArray[np.int64], int]:
    """Labels as int64, and how many classes there are; false is 0, and true is 1.

    Args:
        values: The labels.
        what: A person's name for them.
        known: How many classes there are; None takes as many as the labels tell.

    Raises:
        RequestError: They are not whole numbers from 0, one a sample, of two classes or more.
    """
    import numpy as np

    labels = np.asarray(values)
    if labels.dtype == bool:
        labels = labels.astype(np.int64)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RequestError(f"{what} must have a whole number for each sample, got {labels.dtype} of {labels.shape}")
    if known and len(labels) and labels.min() >= 0 and labels.max() < known:
        return labels.astype(np.int64), known
    if known and len(labels):
        raise RequestError(f"{what} has labels from {labels.min()} to {labels.max()}, and the run had {known} classes")
    if not len(labels) or labels.min() < 0 or not 1 <= labels.max() < len(labels):
        ends = f"from {labels.min()} to {labels.max()}" if len(labels) else "none"
        raise RequestError(
            f"{what} must be labels from 0, fewer than there are samples, got {ends}; objective=regression takes them "
            "for numbers"
        )
    return labels.astype(np.int64), int(labels.max()) + 1


def class_order(names: Sequence[str], known: Sequence[str], what: str) -> NDArray[np.int64]:
    """For each class by name, its label in a run.

    Raises:
        RequestError: The run did not know one of them.
    """
    import numpy as np

    if unknown := [name for name in names if name not in known]:
        raise RequestError(
            f"{what} has the class {unknown[0]!r}, which is not among those that the run was trained on: "
            f"{', '.join(known[:MOST_NAMES])}{', ...' * (len(known) > MOST_NAMES)}"
        )
    return np.array([known.index(name) for name in names], np.int64)


def classification(
    targets: Targets,
    /,
    *,
    loss: Annotated[str, Loss(("cross_entropy", "focal"))] = "cross_entropy",
    label_smoothing: Probability = 0.0,
    gamma: NonNegative = 2.0,
    class_weights: Weights = None,
    metrics: Names = (),
) -> Objective:
    """One class of several is told for each sample, or token; accuracy is measured.

    Args:
        targets: The classes.
        loss: cross_entropy, focal, or module:function of logits and labels.
        label_smoothing: share of the target that is spread over all classes, of cross_entropy.
        gamma: how much focal neglects what is told well.
        class_weights: how much a sample of each class counts, scaled to 1 on average over the training samples:
            balanced lets all classes count the same, or a list of numbers.
        metrics: further ones of torchmetrics: [f1_macro,auroc,top5].

    Raises:
        ValueError: A key is of another loss, or there is no such metric.
    """
    from torch.nn.functional import cross_entropy

    from lrtrain.objectives import functional
    from lrtrain.objectives.metrics import make_metrics

    both = ("cross_entropy", "focal")
    check_options(
        loss,
        {
            "label_smoothing": (label_smoothing > 0, ["cross_entropy"]),
            "gamma": (gamma != 2, ["focal"]),
            "class_weights": (class_weights is not None, both),
        },
    )
    options: dict[str, Any] = {}
    if label_smoothing:
        options["label_smoothing"] = label_smoothing
    if loss == "focal":
        options["gamma"] = gamma
    own: dict[str, Any] = {"cross_entropy": cross_entropy, "focal": functional.focal}
    if class_weights is not None:
        values = weights_of(class_weights, targets)
        own["cross_entropy"] = functional.cross_entropy
        own = {name: weighted(function, values) for name, function in own.items()}
    losses, mean = loss_of(loss, own, options, rows)
    ours = ("acc", "perplexity") if targets.each_token else ("acc",)
    extra = [name for name in dict.fromkeys(metrics) if name not in ours]
    measured = make_metrics(extra, "classification", targets.outputs)
    if targets.each_token:
        measured["perplexity"] = _perplexity
    return Objective(
        targets=targets,
        unit="classes",
        words=_words(loss, label_smoothing, gamma, class_weights),
        losses=losses,
        loss=mean,
        rows=rows,
        predictions=lambda outputs: outputs.float().softmax(-1),
        means="logits: softmax over the last axis gives the probability of each class",
        # Torchmetrics takes numbers that are all in [0, 1] for probabilities, and others for logits: these always are.
        scores=(lambda outputs: outputs.float().log_softmax(-1)) if extra else (lambda outputs: outputs),
        averaged={"acc": lambda outputs, labels: outputs.argmax(-1) == labels},
        metrics=measured,
        details=_details(targets.outputs),
        report=partial(_report, targets),
        layout=partial(_layout, targets),
        remarks=_remarks(targets),
    )


def rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels, one row per label: a sequence has one per token."""
    return (outputs, targets) if targets.dim() == 1 else (outputs.flatten(0, -2), targets.flatten())


def weights_of(asked: str | Sequence[float], targets: Targets) -> list[float]:
    """The weight of each class, 1 on average over the training samples.

    Raises:
        ValueError: There are more or fewer weights than classes.
    """
    counts = [max(count, 1) for count in targets.counts or [1] * targets.outputs]
    own = [1 / count for count in counts] if isinstance(asked, str) else list(asked)
    if len(own) != targets.outputs:
        raise ValueError(f"objective.class_weights has {len(own)} weights, and there are {targets.outputs} classes")
    mean = sum(weight * count for weight, count in zip(own, counts, strict=True)) / sum(counts)
    return [weight / mean for weight in own]


def weighted(function: Any, values: Sequence[float]) -> Any:
    """A loss with weights, which are on the device of its outputs."""
    import torch

    weights = cache(lambda device: torch.tensor(values, device=device))
    return lambda outputs, targets, **options: function(outputs, targets, weights=weights(outputs.device), **options)


def _words(loss: str, label_smoothing: float, gamma: float, class_weights: Any) -> str:
    said = [f"label smoothing {label_smoothing:g}"] * (label_smoothing > 0)
    said += [f"gamma {gamma:g}"] * (loss == "focal") + ["weighted classes"] * (class_weights is not None)
    return f"{loss} ({', '.join(said)})" if said else loss


def _perplexity() -> Any:
    from lrtrain.objectives.own_metrics import Perplexity

    return Perplexity()


def _details(classes: int) -> dict[str, Any]:
    """Precision, recall and F1, by class and their means over the classes that occur, and the confusion matrix."""
    from torchmetrics import classification as known

    kinds = {"precision": known.MulticlassPrecision, "recall": known.MulticlassRecall, "f1": known.MulticlassF1Score}
    return {
        "confusion": partial(known.MulticlassConfusionMatrix, classes),
        **{name: partial(kind, classes, average="macro") for name, kind in kinds.items()},
        **{f"{name}_by_class": partial(kind, classes, average="none") for name, kind in kinds.items()},
    }


def _report(targets: Targets, measured: Mapping[str, NDArray[np.float64]]) -> Report:
    """A table by class, and who was taken for whom."""
    counts = measured["confusion"].astype(int)
    by_class = {name: measured[f"{name}_by_class"] for name in BY_CLASS}
    metrics = {
        name: float(value.mean()) for name, value in measured.items() if name not in ("confusion", *map(_by, BY_CLASS))
    }
    support, total, labels = counts.sum(axis=1), int(counts.sum()), targets.labels
    majority, unit = float(support.max() / total), "tokens" if targets.each_token else "samples"
    shown = range(len(labels)) if len(labels) <= MOST_ROWS else by_class["f1"].argsort(kind="stable")[:MOST_ROWS]
    worst = [f"the {MOST_ROWS} classes of {len(labels):,} with the lowest F1:"] if len(labels) > MOST_ROWS else []
    after = [
        f"loss {metrics['loss']:.4f}, accuracy {metrics['acc']:.4f} of {total:,} {unit}",
        f"always saying the most frequent class: accuracy {majority:.4f}",
    ]
    if wrong := confusions(counts, MOST_CONFUSIONS):
        pairs = (f"{shortened(labels[t], 40)} for {shortened(labels[p], 40)} ({n:,})" for t, p, n in wrong)
        after.append(f"taken for another: {', '.join(pairs)}")
    numbers = zip(labels, support.tolist(), *(values.tolist() for values in by_class.values()), strict=True)
    return Report(
        metrics=metrics,
        support=total,
        headline=f"accuracy {metrics['acc']:.2%}",
        columns=["class", "support", "precision", "recall", "F1"],
        rows=[[labels[k], f"{support[k]:,}", *(f"{values[k]:.4f}" for values in by_class.values())] for k in shown],
        mean=["mean", f"{total:,}", *(f"{metrics[name]:.4f}" for name in BY_CLASS)],
        lines=(worst, after),
        tables={
            "per_class": (["class", "support", *by_class], numbers),
            "confusion": (["true", *labels], ([name, *own] for name, own in zip(labels, counts.tolist(), strict=True))),
        },
        pictures={"confusion": Confusion(counts, labels)},
        extra={"majority": majority},
    )


def _by(name: str) -> str:
    return f"{name}_by_class"


def confusions(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """The most frequent errors: true class, predicted class, and how often; the most frequent first."""
    import numpy as np

    errors = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    largest = np.argsort(-errors, axis=None, kind="stable")[:most]
    found = [(int(index) // len(counts), int(index) % len(counts)) for index in largest]
    return [(true, predicted, int(errors[true, predicted])) for true, predicted in found if errors[true, predicted]]


def _layout(targets: Targets, labelled: bool, top: int | None) -> Layout:
    """The label and what is predicted, by name where classes have names; then the probabilities of all, or the best."""
    labels, most = targets.names or range(targets.outputs), top and min(top, targets.outputs)
    if most:
        values = [name for k in range(1, most + 1) for name in (f"class_{k}", f"probability_{k}")]
    else:
        values = [f"p_{name}" for name in targets.names] if targets.names else [f"p{k}" for k in labels]

    def rows(probabilities: Tensor, truths: Tensor) -> Iterable[Iterable[Any]]:
        best, predicted = probabilities.max(dim=-1)
        columns: list[Iterable[Any]] = [
            (labels[k] for k in part.tolist()) for part in [truths] * labelled + [predicted]
        ]
        for *said, p, own in zip(*columns, shortest(best), _values(probabilities, most), strict=True):
            yield [*said, p, *own]

    def _values(probabilities: Tensor, most: int | None) -> Iterable[Iterable[Any]]:
        if not most:
            return shortest(probabilities)
        best, classes = probabilities.topk(most)
        pairs = zip(([labels[k] for k in own] for own in classes.tolist()), shortest(best), strict=True)
        return (chain.from_iterable(zip(*pair, strict=True)) for pair in pairs)

    return Layout([*["label"] * labelled, "predicted", "probability", *values], rows)


def _remarks(targets: Targets) -> list[str]:
    """What an accuracy is to be compared with, where one class makes up most of the samples."""
    if not targets.counts or not (total := sum(targets.counts)) or max(targets.counts) / total < MOST:
        return []
    most = targets.counts.index(max(targets.counts))
    name = repr(targets.names[most]) if targets.names else most
    share = targets.counts[most] / total
    return [f"{share:.1%} of the training labels are of class {name}: so high an accuracy needs no learning"]
