"""task=evaluate: measure the weights of a checkpoint, in a folder of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from lrtrain.parameters.rules import Text
from lrtrain.process.imports import import_large
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import Table, write_bytes
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job

if TYPE_CHECKING:
    import numpy as np

PREFIX = {"test": "test", "validation": "val", "train": "train"}
"""What the metrics of a split are called, as in training."""
MOST_ROWS = 30
MOST_CONFUSIONS = 5
MOST_CHARACTERS = 40
"""Of a class's name in what is printed."""


def run(
    job: Job, /, *, checkpoint: Annotated[str, Text()] = "best", split: Literal["test", "validation", "train"] = "test"
) -> Summary:
    """Measure a checkpoint on a split of the data, print a table by class, and write tables and a picture.

    Args:
        checkpoint: a run's folder (its best weights), a .ckpt file, or best or last of the newest run
        split: of the data

    Raises:
        RequestError: The checkpoint is not there, is damaged, or does not fit the model or the data.
    """
    began, loading = time.perf_counter(), import_large("lrtrain.training.trained")
    from lrtrain.report.confusion import confusions, shortened
    from lrtrain.report.table import print_classes
    from lrtrain.training.evaluation import BY_CLASS, measure

    with loading.measuring(job.settings, job.folder, checkpoint, split, job.names_data) as trained:
        measured, tokens = measure(trained.trainer, trained.network, trained.data)
        accuracy, loss = float(measured["acc"]), float(measured["loss"])
        counts = measured.pop("confusion").astype(int)
        majority = float(counts.sum(axis=1).max() / counts.sum())
        by_class = {name: measured.pop(f"{name}_by_class") for name in BY_CLASS}
        final = {f"{PREFIX[split]}_{name}": float(value) for name, value in measured.items()}
        summary: Summary = trained.summarise(began, int(counts.sum()), final, majority=majority)
        if not trained.trainer.is_global_zero:
            return summary
        labels = trained.data.splits.names or [str(index) for index in range(len(counts))]
        with ClaimedFolder(job.folder, locks=job.locks) as folder:
            folder.check_unused()
            folder.write_request(job.asked)
            _write(folder, counts, by_class, labels, f"{trained.what}, accuracy {accuracy:.2%}")
            summary.write(folder.summary)
            folder.begun = True

    trained.introduce()
    shown = _worst_classes(by_class["f1"], len(counts))
    if len(shown) < len(counts):
        print(f"the {MOST_ROWS} classes of {len(counts):,} with the lowest F1:")
    names = [shortened(label, MOST_CHARACTERS) for label in labels]
    rows = [
        [names[index], f"{counts[index].sum():,}", *(f"{values[index]:.4f}" for values in by_class.values())]
        for index in shown
    ]
    mean = ["mean", f"{counts.sum():,}", *(f"{final[f'{PREFIX[split]}_{name}']:.4f}" for name in BY_CLASS)]
    print_classes(["class", "support", "precision", "recall", "F1"], rows, mean)
    print(f"loss {loss:.4f}, accuracy {accuracy:.4f} of {counts.sum():,} {'tokens' if tokens else 'samples'}")
    print(f"always saying the most frequent class: accuracy {majority:.4f}")
    if wrong := confusions(counts, MOST_CONFUSIONS):
        print("taken for another: " + ", ".join(f"{names[t]} for {names[p]} ({n:,})" for t, p, n in wrong))
    print(f"{folder.path}\n{folder.confusion_picture}")
    return summary


def _worst_classes(f1: np.ndarray, classes: int) -> Sequence[int]:
    """All classes, or of many those with the lowest F1."""
    return f1.argsort(kind="stable")[:MOST_ROWS].tolist() if classes > MOST_ROWS else range(classes)


def _write(
    folder: RunFolder, counts: np.ndarray, by_class: Mapping[str, np.ndarray], labels: Sequence[str], title: str
) -> None:
    from lrtrain.report.confusion import confusion_picture

    table = Table(folder.per_class, ["class", "support", *by_class])
    table.extend(zip(labels, counts.sum(axis=1).tolist(), *(v.tolist() for v in by_class.values()), strict=True))
    table.close()
    table = Table(folder.confusion_table, ["true", *labels])
    table.extend([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))
    table.close()
    write_bytes(folder.confusion_picture, confusion_picture(counts, labels, title))
