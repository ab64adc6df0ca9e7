"""How far a small network gets with each objective, beside scikit-learn's own baselines, on sets that come with it.

For each seed the rows are shuffled and written to a CSV file, which decides the split. lrtrain's MLP is trained on it
(Adam, cosine, the best weights by `val_loss`); on the same training rows, with inputs standardised alike, scikit-learn
fits what always says the most frequent class or the mean, a linear model, and a random forest, with its own defaults.
Printed is the test's accuracy, R2 or mean average precision: the mean over the seeds, and the standard deviation.

Run: python scripts/objective_baselines.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets as known
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, r2_score
from sklearn.multioutput import MultiOutputClassifier

import lrtrain
from lrtrain.datasets import Source, dataset, read

Array = NDArray[Any]
METRIC = {"classification": "acc", "regression": "r2", "multilabel": "map"}


class Set(NamedTuple):
    """Inputs (n, features), targets (n,) or (n, columns), and the objective that they should be taken for."""

    name: str
    inputs: Array
    targets: Array
    objective: str


def sets() -> list[Set]:
    """Those of scikit-learn, and one with several labels that it generates."""
    found = []
    for name in ("breast_cancer", "wine", "digits"):
        loaded = getattr(known, f"load_{name}")()
        found.append(Set(name, loaded.data, np.array([f"class {k}" for k in loaded.target]), "classification"))
    diabetes, linnerud = known.load_diabetes(scaled=False), known.load_linnerud()
    found += [Set("diabetes", diabetes.data, diabetes.target, "regression")]
    found += [Set("linnerud", linnerud.data, linnerud.target, "regression")]
    inputs, labels = known.make_multilabel_classification(1000, 20, n_classes=5, random_state=0)
    return [*found, Set("generated labels", inputs, labels, "multilabel")]


def write(each: Set, seed: int, file: Path) -> list[str]:
    """Write a set as a table, its rows in an order of their own; returns the columns that are told."""
    order = np.random.default_rng(seed).permutation(len(each.inputs))
    inputs, targets = each.inputs[order], each.targets[order].reshape(len(order), -1)
    columns = [f"target{place}" for place in range(targets.shape[1])]
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*(f"x{place}" for place in range(inputs.shape[1])), *columns])
        writer.writerows([*row, *told] for row, told in zip(inputs.tolist(), targets.tolist(), strict=True))
    return columns


def ours(each: Set, settings: dict[str, Any], seed: int, folder: Path) -> float:
    """The test metric of lrtrain's MLP."""
    own = {"hidden": [64], "dropout": 0.2}
    summary = lrtrain.train(
        ["optimizer=adam", "scheduler=cosine", "logger=none", "lr=0.003", "epochs=60"],
        folder=folder,
        quiet=True,
        seed=seed,
        dataset={"name": "csv", **settings},
        model={"name": "mlp", **own},
    )
    assert summary.data["objective"] == each.objective, summary.data
    return float(summary.best[f"test_{METRIC[each.objective]}"])


def theirs(objective: str, seed: int) -> dict[str, Any]:
    """Scikit-learn's baselines."""
    if objective == "regression":
        return {
            "mean": DummyRegressor(),
            "linear": LinearRegression(),
            "forest": RandomForestRegressor(random_state=seed),
        }
    models = {
        "mean": DummyClassifier(),
        "linear": LogisticRegression(max_iter=5000),
        "forest": RandomForestClassifier(random_state=seed),
    }
    if objective == "multilabel":
        return {name: MultiOutputClassifier(model) for name, model in models.items()}
    return models


def scores(objective: str, model: Any, inputs: Array, targets: Array) -> float:
    """The metric of a fitted baseline."""
    if objective == "classification":
        return float(accuracy_score(targets, model.predict(inputs)))
    if objective == "regression":
        return float(r2_score(targets, model.predict(inputs)))
    chances = np.stack([chance[:, -1] for chance in model.predict_proba(inputs)], axis=1)
    return float(average_precision_score(targets, chances, average="macro"))


def arrays(source: Source) -> tuple[Array, Array]:
    """Inputs and targets as lrtrain has read them."""
    import torch

    inputs, targets = source.gather(torch.arange(len(source)))
    return inputs.numpy(), targets.numpy().squeeze()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args(arguments).seeds)
    warnings.filterwarnings("ignore")
    print(
        "| set | metric | most frequent, or mean | linear | random forest | lrtrain's MLP |\n|---|---|---|---|---|---|"
    )
    for each in sets():
        found: dict[str, list[float]] = {name: [] for name in ("mean", "linear", "forest", "mlp")}
        with tempfile.TemporaryDirectory() as place:
            for seed in seeds:
                folder = Path(place)
                columns = write(each, seed, folder / f"{seed}.csv")
                target: Any = columns if len(columns) > 1 else columns[0]
                settings = {"file": str(folder / f"{seed}.csv"), "target": target}
                splits = read(dataset("csv", **settings))
                train, test = arrays(splits.train), arrays(splits.test)
                for name, model in theirs(each.objective, seed).items():
                    found[name].append(scores(each.objective, model.fit(*train), *test))
                found["mlp"].append(ours(each, settings, seed, folder / str(seed)))
        shown = (f"{statistics.fmean(own):.3f} ± {statistics.stdev(own):.3f}" for own in found.values())
        print(f"| {each.name} | {METRIC[each.objective]} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
