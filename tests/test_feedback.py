"""Rules that look at the validation: which sequence of metrics leads to which reductions."""

from __future__ import annotations

import math
from functools import partial
from itertools import accumulate, product
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, Run, Train
from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrtrain.schedules import Feedback, Observed, greedy, plateau, validation_drop

NAN, INF = math.nan, math.inf

SEQUENCES = {
    "falling": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    "flat": [1.0] * 20,
    "rising": [0.1 * n for n in range(1, 21)],
    "falls then flat": [1.0, 0.6, 0.4] + [0.3] * 15,
    "just within the threshold": [1.0] + [0.99995] * 12,
    "creeping": [1 - 0.00006 * n for n in range(30)],
    "zigzag": [1.0, 1.2, 0.9, 1.1, 0.8, 1.0, 0.85, 0.84, 0.83, 0.7, 0.9, 0.9, 0.9, 0.6, 1.0, 1.0, 1.0, 1.0],
    "noise": list(np.random.default_rng(0).uniform(0.5, 1.5, 60)),
    "down and up": [*np.linspace(2, 1, 15), *np.linspace(1, 2, 15)],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults of torch": {"factor": 0.1, "patience": 10},
    "impatient": {"factor": 0.5, "patience": 0},
    "patient": {"factor": 0.7, "patience": 3},
    "cooldown": {"factor": 0.5, "patience": 1, "cooldown": 2},
    "impatient with cooldown": {"factor": 0.5, "patience": 0, "cooldown": 1},
    "relative": {"factor": 0.5, "patience": 1, "threshold": 0.1},
    "absolute": {"factor": 0.5, "patience": 1, "threshold": 0.05, "threshold_mode": "abs"},
    "no threshold": {"factor": 0.5, "patience": 1, "threshold": 0.0},
    "max": {"factor": 0.5, "patience": 1, "mode": "max"},
    "max absolute": {"factor": 0.5, "patience": 1, "mode": "max", "threshold": 0.05, "threshold_mode": "abs"},
    "least": {"factor": 0.5, "patience": 0, "min_lr": 300.0},
    "eps": {"factor": 0.5, "patience": 0, "eps": 40.0},
    "eps at the least": {"factor": 0.5, "patience": 0, "eps": 40.0, "min_lr": 230.0},
}


def test_plateau_is_that_of_torch() -> None:
    for (shape, metrics), (kind, options) in product(SEQUENCES.items(), OPTIONS.items()):
        base = 1000.0
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        oracle = ReduceLROnPlateau(optimizer, **{"eps": 0, **options})  # by default it leaves out what is below 1e-8
        ours = {key: value for key, value in options.items() if key not in ("eps", "min_lr")}
        rule = plateau(**ours, eps=options.get("eps", 0.0) / base, min_scale=options.get("min_lr", 0.0) / base)
        state = Observed()
        for metric in metrics:
            oracle.step(metric)
            state = rule(state, metric)
            assert base * state.scale == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12), (shape, kind)


def reductions(rule: Feedback, metrics: list[float]) -> list[int]:
    """The validations, counted from 1, after which the scale is lower."""
    scales = [state.scale for state in accumulate(metrics, rule, initial=Observed())]
    return [n for n in range(1, len(scales)) if scales[n] < scales[n - 1]]


half = partial(plateau, factor=0.5, threshold=0.0)

TABLE: dict[str, tuple[Feedback, list[float], list[int]]] = {
    "the first validation is never bad": (half(patience=0), [9.0], []),
    "patience 0 reduces at every bad one": (half(patience=0), [1, 1, 1, 0.5, 0.5], [2, 3, 5]),
    "patience 2 forgives two": (half(patience=2), [1, 2, 2, 2, 2, 2, 2], [4, 7]),
    "an improvement starts the count again": (half(patience=2), [1, 2, 2, 0.5, 2, 2, 2], [7]),
    "a tie is no improvement": (half(patience=1), [1, 1, 1], [3]),
    "better than the last is not better than the best": (half(patience=1), [1, 3, 2], [3]),
    "bad ones in cooldown are not counted": (half(patience=0, cooldown=2), [1, 1, 1, 1, 1, 1, 1, 1], [2, 5, 8]),
    "best moves in cooldown": (half(patience=0, cooldown=2), [1, 1, 0.5, 0.7, 0.7], [2, 5]),
    "relative threshold": (plateau(factor=0.5, patience=0, threshold=0.1), [1.0, 0.91, 0.89, 0.81], [2, 4]),
    "absolute threshold": (
        plateau(factor=0.5, patience=0, threshold=0.1, threshold_mode="abs"),
        [1.0, 0.91, 0.89, 0.81],
        [2, 4],
    ),
    "relative threshold below zero": (plateau(factor=0.5, patience=0, threshold=0.1), [-1.0, -1.05, -1.2], [2]),
    "max": (half(patience=0, mode="max"), [0.5, 0.6, 0.55, 0.7], [3]),
    "NaN is bad": (half(patience=1), [1, NAN, NAN, 0.5], [3]),
    "NaN at first": (half(patience=1), [NAN, 1.0, 0.5, 0.4], []),
    "NaN from the start": (half(patience=1), [NAN, NAN, NAN, NAN], [2, 4]),
    "minus infinity is no improvement": (half(patience=0), [1, -INF, 0.5], [2]),
    "smoothing sees the trend": (half(patience=0, smooth=0.5), [1.0, 0.0, 0.6, 0.5], [3, 4]),
    "without smoothing": (half(patience=0), [1.0, 0.0, 0.6, 0.5], [3, 4]),
    "smoothing forgives a spike": (half(patience=0, smooth=0.5), [4.0, 0.0, 1.5, 1.0], []),
    "smoothing forgets a NaN": (half(patience=0, smooth=0.5), [4.0, NAN, 0.0, 1.5], [2]),
    "means of two are one": (half(patience=0, mean_of=2), [1, 3, 0, 5, 0, 2, 0.9, 0.9, 9], [4]),
    "a NaN makes its mean bad": (half(patience=0, mean_of=2), [1, 1, NAN, 0, 0.5, 0.5], [4]),
    "never below the least": (half(patience=0, min_scale=0.2), [1, 1, 1, 1, 1], [2, 3, 4]),
    "drop: the first sets the mark": (validation_drop(factor=0.5), [1.0], []),
    "drop: at every new best": (validation_drop(factor=0.5), [1.0, 0.9, 0.95, 0.9, 0.8, 0.7], [2, 5, 6]),
    "drop: max": (validation_drop(factor=0.5, mode="max"), [0.5, 0.6, 0.4, 0.6, 0.7], [2, 5]),
    "drop: NaN": (validation_drop(factor=0.5), [NAN, 1.0, NAN, 0.9], [4]),
    "drop: never below the least": (validation_drop(factor=0.5, min_scale=0.3), [5, 4, 3, 2, 1], [2, 3]),
}


def test_documented_table() -> None:
    for what, (rule, metrics, expected) in TABLE.items():
        assert reductions(rule, metrics) == expected, what


doubling = partial(greedy, factor=0.5, threshold=0.0)

GREEDY: dict[str, tuple[Feedback, list[float], list[float]]] = {
    "good ones raise, bad ones reduce": (doubling(patience=1), [9, 8, 7, 6, 6, 6, 6, 6], [1, 2, 2, 4, 4, 2, 2, 1]),
    "each ends a row of the others": (doubling(patience=1), [9, 9, 8, 9, 7], [1] * 5),
    "never above the most": (doubling(patience=1, max_scale=3), [9, 8, 7, 6], [1, 2, 2, 3]),
    "never below the least": (doubling(patience=0, min_scale=0.4), [5, 6, 7, 8], [2, 1, 0.5, 0.4]),
    "a cool-down counts nothing and sets no best": (doubling(patience=1, cooldown=1), [9, 8, 5, 7, 6], [1, 2, 2, 2, 4]),
    "relative threshold": (greedy(factor=0.5, patience=0, threshold=0.1), [10, 9.5, 8.9], [2, 1, 2]),
    "absolute threshold": (
        greedy(factor=0.5, patience=0, threshold=0.5, threshold_mode="abs"),
        [10, 9.6, 9.4],
        [2, 1, 2],
    ),
    "max": (doubling(patience=0, mode="max"), [0.5, 0.6, 0.4], [2, 4, 2]),
    "NaN is bad": (doubling(patience=0), [1, NAN, 0.5], [2, 1, 2]),
    "smoothing sees the trend": (doubling(patience=0, smooth=0.5), [4, 0, 1], [2, 4, 8]),
}


def test_greedy_raises_and_reduces() -> None:
    for what, (rule, metrics, expected) in GREEDY.items():
        assert [state.scale for state in accumulate(metrics, rule, initial=Observed())][1:] == expected, what


def test_size_of_the_reductions() -> None:
    *_, state = accumulate([1.0, 1.0, 1.0, 1.0], plateau(factor=0.3, patience=0), initial=Observed())
    assert state.scale == pytest.approx(0.3**3, rel=1e-15)
    *_, state = accumulate([4.0, 3.0, 3.5, 2.0], validation_drop(factor=0.9), initial=Observed())
    assert state.scale == pytest.approx(0.9**2, rel=1e-15)


def test_rule_is_pure() -> None:
    rule, state = plateau(factor=0.5, patience=0), Observed(best=1.0)
    assert rule(state, 2.0) == rule(state, 2.0)
    assert state == Observed(best=1.0)


def decisions(run: Run) -> dict[str, Any]:
    """The feedback's state in the last checkpoint."""
    state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["lr_schedulers"][0]["feedback"]
    assert isinstance(state, dict)
    return state


BAD = ("scheduler=plateau", "factor=0.5", "patience=0", "threshold=10", "lr=0.1")
"""No loss is below its best by ten times the best: every validation but the first is bad."""


@pytest.mark.parametrize(
    ("validation", "epochs", "at"),
    [
        ("trainer.check_val_every_n_epoch=1", 4, [3, 7, 11, 15]),
        ("trainer.check_val_every_n_epoch=2", 6, [7, 15, 23]),
        ("trainer.val_check_interval=0.5", 2, [1, 3, 5, 7]),
    ],
    ids=["each epoch", "every other epoch", "twice an epoch"],
)
def test_one_decision_a_validation(validation: str, epochs: int, at: list[int], train: Train) -> None:
    run = train(*BAD, *SMALL, validation, f"epochs={epochs}")
    assert list(run.series("val_loss")) == at
    expected = [0.1 * 0.5 ** max(0, sum(t > v for v in at) - 1) for t in range(4 * epochs)]
    assert list(run.series("lr").values()) == expected
    told = [line for line in run.result.out.splitlines() if line.startswith("epoch ") and ": lr " in line]
    assert len(told) == len(at) - 2, "all but the first, which sets the mark, and the last, after which is no update"


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_checkpoint_holds_the_decision_of_its_validation(epochs: int, train: Train) -> None:
    run = train(*BAD, *SMALL, f"epochs={epochs}")
    assert decisions(run)["scale"] == 0.5 ** (epochs - 1)
    assert decisions(run)["best"] == run.series("val_loss")[3]


def test_accuracy_is_better_when_it_is_larger(train: Train) -> None:
    run = train("scheduler=validation_drop", "factor=0.5", "monitor=val_acc", *SMALL, "epochs=5", "lr=0.1")
    accuracies = list(run.series("val_acc").values())
    records = [n for n in range(1, 5) if accuracies[n] > max(accuracies[:n])]
    assert records, "the accuracy of this run rises"
    assert decisions(run)["scale"] == 0.5 ** len(records)
    assert run.summary["best"]["val_acc"] == max(accuracies)
