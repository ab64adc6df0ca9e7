"""task=evaluate: measure the weights of a checkpoint, in a folder of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from lrtrain import build, planning
from lrtrain.errors import RequestError, first_line
from lrtrain.report.confusion import confusion_picture, confusions, shortened
from lrtrain.report.table import print_classes
from lrtrain.resume import find_checkpoint
from lrtrain.runs import RunFolder, Table, write_bytes
from lrtrain.tasks.train import quiet
from lrtrain.training.checkpoints import load_weights
from lrtrain.training.data import Data
from lrtrain.training.evaluation import BY_CLASS, Evaluation

Config = Mapping[str, Any]

PREFIX = {"test": "test", "validation": "val", "train": "train"}
"""What the metrics of a split are called, as in training."""
MOST_ROWS = 30
MOST_CONFUSIONS = 5
MOST_CHARACTERS = 40
"""Of a class's name in what is printed."""


def run(config: Config, folder: RunFolder) -> float:
    """Measure a checkpoint on a split of the data, print a table by class, and write tables and a picture.

    Returns:
        The accuracy.

    Raises:
        RequestError: The checkpoint is not there, is damaged, or does not fit the model or the data.
    """
    began = time.perf_counter()
    trained = load(config, folder)
    evaluation = Evaluation(trained.network, trained.data.splits.classes)
    trained.trainer.test(evaluation, trained.data, verbose=False)
    measured = {name: value.double().cpu().numpy() for name, value in evaluation.measured.items()}
    accuracy = float(measured["acc"])
    if not trained.trainer.is_global_zero:
        return accuracy
    counts = measured.pop("confusion").astype(np.int64)
    by_class = {name: measured.pop(f"{name}_by_class") for name in BY_CLASS}
    final = {f"{PREFIX[config['split']]}_{name}": float(value) for name, value in measured.items()}
    labels = trained.data.splits.names or [str(index) for index in range(len(counts))]
    _write(folder, counts, by_class, labels, f"{trained.what}, accuracy {accuracy:.2%}")
    folder.write_summary({**summary(config, trained, began), "count": int(counts.sum()), "final": final})

    print(f"{trained.what}\nweights of {trained.checkpoint}, update {trained.step:,}")
    _print_table(counts, by_class, labels, [final[f"{PREFIX[config['split']]}_{name}"] for name in BY_CLASS])
    unit = "tokens" if evaluation.tokens else "samples"
    print(f"loss {float(measured['loss']):.4f}, accuracy {accuracy:.4f} of {counts.sum():,} {unit}")
    if wrong := confusions(counts, MOST_CONFUSIONS):
        short = [shortened(label, MOST_CHARACTERS) for label in labels]
        print("taken for another: " + ", ".join(f"{short[t]} for {short[p]} ({n:,})" for t, p, n in wrong))
    print(f"{folder.path}\n{folder.confusion_picture}")
    return accuracy


class Trained(NamedTuple):
    """A model with the weights of a checkpoint, and the data that it is asked about.

    Attributes:
        data: Its test split is the one that was asked for.
        step: The updates that the weights have had.
        what: Model, dataset and split in words.
    """

    network: nn.Module
    data: Data
    trainer: pl.Trainer
    checkpoint: Path
    step: int
    what: str


def load(config: Config, folder: RunFolder) -> Trained:
    """Build everything before anything is written.

    Raises:
        RequestError: Something cannot be built or is a module of the user's, or the checkpoint does not fit it.
    """
    quiet()
    checkpoint = find_checkpoint(config["checkpoint"], Path("outputs"))
    model, dataset = config["model"]["name"], config["dataset"]["name"]
    bar = config["trainer"]["enable_progress_bar"] and sys.stdout.isatty()
    settings = {**config["trainer"], "enable_progress_bar": bar}
    try:
        data = build.data(config)
        if model == "lightning" or not isinstance(data, Data):
            own = "a LightningModule" if model == "lightning" else "a LightningDataModule"
            raise ValueError(f"task={config['task']} does not know what {own} of yours measures; call its own test")
        network = build.network(config, data.splits.inputs, data.splits.classes)
        step = load_weights(checkpoint, network, f"model={model}")
        trainer = build.trainer({**config, "trainer": settings, "logger": {"name": "none"}}, folder, [])
        _asked_about(data, config)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, MisconfigurationException) as error:
        raise RequestError(first_line(error)) from error
    return Trained(network, data, trainer, checkpoint, step, f"{model} on {dataset}, {config['split']} split")


def _asked_about(data: Data, config: Config) -> None:
    """Make the split that is asked about the test split, whose loop takes its samples in order, in large batches."""
    split, limit = config["split"], config["trainer"]["limit_test_batches"]
    data.splits = data.splits._replace(test=getattr(data.splits, split))
    if not (batches := len(data.test_dataloader())):
        raise ValueError(f"dataset={config['dataset']['name']} has no sample in its {split} split; give another split=")
    planning.limited(batches, limit, f"trainer.limit_test_batches={limit} of {{}} {split} batches")


def summary(config: Config, trained: Trained, began: float) -> dict[str, Any]:
    """What the summaries of all tasks that load a checkpoint say."""
    return {
        "status": "finished",
        "task": config["task"],
        "checkpoint": str(trained.checkpoint),
        "step": trained.step,
        "split": config["split"],
        "wall_s": round(time.perf_counter() - began, 3),
        "versions": {name: version(name) for name in ("lrtrain", "torch", "lightning", "hydra-core")},
        "config": config,
    }


def _write(
    folder: RunFolder, counts: np.ndarray, by_class: Mapping[str, np.ndarray], labels: Sequence[str], title: str
) -> None:
    table = Table(folder.per_class, ["class", "support", *by_class])
    table.extend(zip(labels, counts.sum(axis=1).tolist(), *(v.tolist() for v in by_class.values()), strict=True))
    table.close()
    table = Table(folder.confusion_table, ["true", *labels])
    table.extend([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))
    table.close()
    write_bytes(folder.confusion_picture, confusion_picture(counts, labels, title))


def _print_table(
    counts: np.ndarray, by_class: Mapping[str, np.ndarray], labels: Sequence[str], means: Sequence[float]
) -> None:
    """Print every class, or of many those with the lowest F1."""
    shown = range(len(counts))
    if len(counts) > MOST_ROWS:
        shown = np.argsort(by_class["f1"], kind="stable")[:MOST_ROWS].tolist()
        print(f"the {MOST_ROWS} classes of {len(counts):,} with the lowest F1:")
    rows = [
        [
            shortened(labels[index], MOST_CHARACTERS),
            f"{counts[index].sum():,}",
            *(f"{values[index]:.4f}" for values in by_class.values()),
        ]
        for index in shown
    ]
    mean = ["mean", f"{counts.sum():,}", *(f"{value:.4f}" for value in means)]
    print_classes(["class", "support", "precision", "recall", "F1"], rows, mean)
