"""One or more numbers are told for each sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from lrtrain.errors import RequestError
from lrtrain.objectives.building import Loss, Names, Objective, check_options, loss_of
from lrtrain.objectives.reports import Layout, Report, Scatter
from lrtrain.objectives.targets import Encoded, Raw, Targets
from lrtrain.parameters.rules import Factor, Positive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MEASURED = ("r2", "mae", "rmse")
LEAST = 2
"""Samples without which no R2 is to be had."""


def claims(raw: Raw) -> str | None:
    """Why such targets are taken for numbers; None where they are not."""
    if raw.numbers is None or raw.classes:
        return None
    return f"{raw.what} {'holds' if raw.columns == 1 else 'hold'} numbers"


def read(raw: Raw, known: Targets | None) -> Encoded:
    """Numbers, float64 of shape (n, columns).

    Raises:
        RequestError: They are not finite numbers, or not of the columns of the run.
    """
    import numpy as np

    if raw.numbers is None or raw.classes:
        raise RequestError(f"objective=regression tells numbers, and {raw.what} holds names")
    values = np.asarray(raw.numbers, np.float64)
    if not np.isfinite(values).all():
        place = int(np.isfinite(values).all(axis=1).argmin())
        raise RequestError(f"{raw.what}: the sample at index {place:,} has no finite number to tell")
    if known and known.names and raw.labels != known.names:
        raise RequestError(f"{raw.what} {', '.join(raw.labels)}: the run was to tell {', '.join(known.names)}")
    return values, Targets("regression", values.shape[1], raw.labels).remembering(known)


def fit(values: NDArray[Any], train: NDArray[np.int64], targets: Targets) -> Encoded:
    """The numbers standardised as the training split has them, or as the run had, float32 of shape (n, columns).

    Raises:
        RequestError: A column is the same for all samples: there is nothing to tell.
    """
    import numpy as np

    if targets.standards is None:
        mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
        for name, spread, middle in zip(targets.labels, deviation, mean, strict=True):
            if not spread > 1e-12 * abs(middle):
                raise RequestError(
                    f"target {name!r} is {middle:g} in all of the training split: nothing can be learned"
                )
        pairs = zip(mean.tolist(), deviation.tolist(), strict=True)
        targets = targets._replace(standards=dict(zip(targets.labels, pairs, strict=True)))
    assert targets.standards is not None, "just made"
    mean, deviation = np.array(list(targets.standards.values())).T
    return ((values - mean) / deviation).astype(np.float32), targets


def regression(
    targets: Targets,
    /,
    *,
    loss: Annotated[str, Loss(("mse", "mae", "huber", "quantile"))] = "mse",
    delta: Positive = 1.0,
    level: Factor = 0.5,
    metrics: Names = (),
) -> Objective:
    """One or more numbers are told for each sample; R2, MAE and RMSE are measured, in the data's own unit.

    Targets are standardised on the training split. The loss is that of standardised values; all else is given back in
    the data's own unit, and for several columns is the mean over them.

    Args:
        targets: The columns.
        loss: mse, mae, huber, quantile, or module:function of outputs and targets, both standardised.
        delta: from where on huber is linear, in deviations of the target.
        level: which quantile is told: 0.9 is exceeded by a tenth of the samples.
        metrics: further ones of torchmetrics: [mape,spearman].

    Raises:
        ValueError: A key is of another loss, or there is no such metric.
    """
    from lrtrain.objectives import functional
    from lrtrain.objectives.metrics import make_metrics

    check_options(loss, {"delta": (delta != 1, ["huber"]), "level": (level != 0.5, ["quantile"])})
    options = {"huber": {"delta": delta}, "quantile": {"level": level}}.get(loss, {})
    own = {name: getattr(functional, name) for name in ("mse", "mae", "huber", "quantile")}
    losses, mean = loss_of(loss, own, options, rows)
    named = dict.fromkeys((*MEASURED, *metrics))
    restored = partial(_restored, targets)
    said = f"{loss} ({', '.join(f'{key} {value:g}' for key, value in options.items())})" if options else loss
    return Objective(
        targets=targets,
        unit="targets" if targets.outputs > 1 else "target",
        words=f"{said} of standardised values" if targets.standards else said,
        losses=losses,
        loss=mean,
        rows=rows,
        predictions=restored,
        means=(
            "standardised values: output * deviation + mean, as in standards, is in the data's own unit"
            if targets.standards
            else "values in the data's own unit"
        ),
        truths=restored,
        metrics=make_metrics(named, "regression", targets.outputs),
        details=_details(),
        report=partial(_report, targets),
        layout=partial(_layout, targets),
        remarks=_remarks(targets),
    )


def rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both of shape (n, columns); one column may be left out.

    Raises:
        ValueError: They differ in more than that.
    """
    if outputs.shape != targets.shape:
        if outputs.numel() != targets.numel():
            raise ValueError(
                f"the model gives {tuple(outputs.shape)} numbers for targets of {tuple(targets.shape)}: one for each "
                "column of each sample is needed"
            )
        outputs = outputs.reshape(targets.shape)
    return (outputs, targets) if targets.dim() > 1 else (outputs[:, None], targets[:, None])


def _restored(targets: Targets, values: Tensor) -> Tensor:
    """Values in the data's own unit, float64: a mean far from 0 leaves few digits for what differs."""
    import torch

    values = values.double()
    values = values if values.dim() > 1 else values[:, None]
    if targets.standards is None:
        return values
    mean, deviation = torch.tensor(list(targets.standards.values()), dtype=torch.float64, device=values.device).T
    restored: Tensor = values * deviation + mean
    return restored


def _details() -> dict[str, Any]:
    from lrtrain.objectives.own_metrics import Pairs

    return {"pairs": Pairs}


def _report(targets: Targets, measured: Mapping[str, NDArray[np.float64]]) -> Report:
    """A table by column, and pictures of what was told against what is true."""
    import numpy as np
    from sklearn import metrics as known

    predicted, true = measured["pairs"]
    metrics = {name: float(value.mean()) for name, value in measured.items() if name != "pairs"}
    labels, error = targets.labels, predicted - true
    each = {
        "r2": known.r2_score(true, predicted, multioutput="raw_values")
        if len(true) >= LEAST
        else np.full(len(labels), np.nan),
        "mae": np.abs(error).mean(axis=0),
        "rmse": np.sqrt((error**2).mean(axis=0)),
        "bias": error.mean(axis=0),
        "mean": true.mean(axis=0),
        "sd": true.std(axis=0),
    }
    numbers = list(zip(labels, *(values.tolist() for values in each.values()), strict=True))
    constant = {"mae": float(np.abs(true - true.mean(axis=0)).mean()), "rmse": float(true.std(axis=0).mean())}
    several = len(labels) > 1
    mean = ["mean", *(f"{metrics[name]:.4g}" for name in ("r2", "mae", "rmse")), "", "", ""] if several else []
    after = [
        f"loss {metrics['loss']:.4f} (of standardised values), R2 {metrics['r2']:.4f}, MAE {metrics['mae']:.4g}, RMSE "
        f"{metrics['rmse']:.4g} of {len(true):,} samples, in the data's own unit",
        f"always saying their mean: MAE {constant['mae']:.4g}, RMSE {constant['rmse']:.4g}",
    ]
    return Report(
        metrics=metrics,
        support=len(true),
        headline=f"R2 {metrics['r2']:.4f}",
        columns=["target", "R2", "MAE", "RMSE", "bias", "true mean", "true sd"],
        rows=[[name, *(f"{value:.4g}" for value in own)] for name, *own in numbers],
        mean=mean,
        lines=([], after),
        tables={"per_target": (["target", *each], numbers)},
        pictures={
            "predicted": Scatter(true, predicted, labels, ("true", "predicted"), "diagonal"),
            "residuals": Scatter(predicted, error, labels, ("predicted", "predicted - true"), "zero"),
        },
        extra={f"mean_{name}": value for name, value in constant.items()},
    )


def _layout(targets: Targets, labelled: bool, top: int | None) -> Layout:
    """What is true and what is predicted of each column, in the data's own unit."""
    if top:
        raise RequestError("top= is for classes: leave it out")
    import torch

    names = targets.labels

    def rows(predictions: Tensor, truths: Tensor) -> Iterable[Iterable[Any]]:
        values = torch.cat([truths, predictions], dim=1) if labelled else predictions
        return ([f"{value:.8g}" for value in row] for row in values.tolist())  # restored from 32 bits

    return Layout([*(f"true_{name}" for name in names if labelled), *(f"predicted_{name}" for name in names)], rows)


def _remarks(targets: Targets) -> list[str]:
    """Which metric is in which unit."""
    if targets.standards is None:
        return [
            "val_loss and the other metrics are in the unit of the targets as they come: these are not standardised"
        ]
    return ["train_loss and val_loss are of standardised targets; all other metrics are in the data's own unit"]
