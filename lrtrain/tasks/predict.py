"""task=predict: write what the weights of a checkpoint say of each sample."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import OptionalCount, Text
from lrtrain.process.imports import import_large
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import Table
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job

if TYPE_CHECKING:
    from torch import Tensor


def run(
    job: Job,
    /,
    *,
    checkpoint: Annotated[str, Text()] = "best",
    split: Literal["test", "validation", "train"] = "test",
    top: OptionalCount = None,
) -> Summary:
    """Write a row for each sample of a split, in its order; of a sequence, for each token.

    Args:
        checkpoint: a run's folder (its best weights), a .ckpt file, or best or last of the newest run
        split: of the data
        top: write the probabilities of so many likeliest classes; null writes those of all

    Raises:
        RequestError: The checkpoint is not there, is damaged, or does not fit the model or the data; or several
            processes are asked for.
    """
    began, loading = time.perf_counter(), import_large("lrtrain.training.trained")
    from lrtrain.training.evaluation import Prediction

    with loading.measuring(job.settings, job.folder, checkpoint, split, job.names_data) as trained:
        if trained.trainer.world_size > 1:
            raise RequestError("task=predict writes in the order of the data, on one device: trainer.devices=1")
        with ClaimedFolder(job.folder, locks=job.locks) as folder:
            folder.check_unused()
            rows = _Rows(folder, trained.data.splits.classes, top)
            trained.trainer.test(Prediction(trained.network, rows.add), trained.data, verbose=False)
            rows.close()
            folder.write_request(job.asked)
            summary: Summary = trained.summarise(began, rows.written, {}, "predict")
            summary.write(folder.summary)
            folder.begun = True
    trained.introduce()
    print(f"{rows.written:,} rows: {folder.predictions}")
    return summary


class _Rows:
    """The table of predictions, written batch by batch.

    Args:
        folder: Where it belongs.
        classes: Number of classes.
        top: Probabilities in a row, those of the likeliest classes; None writes those of all.
    """

    def __init__(self, folder: RunFolder, classes: int, top: int | None) -> None:
        self.folder = folder
        self.classes = classes
        self.top = top and min(top, classes)
        self.written = self._samples = 0
        self._table: Table | None = None

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Append the rows of a batch; the shapes are (n, classes) and (n,), or (n, length, classes) and (n, length)."""
        self._table = self._table or self._open(labels.ndim > 1)
        flat = probabilities.flatten(0, -2)
        best, predicted = flat.max(dim=-1)
        columns = [labels.flatten().tolist(), predicted.tolist(), _shortest(best)]
        rows = zip(self._places(labels), *columns, self._values(flat), strict=True)
        self._table.extend([*place, label, likeliest, p, *values] for place, label, likeliest, p, values in rows)
        self.written += labels.numel()
        self._samples += len(labels)

    def close(self) -> None:
        """Release the file."""
        if self._table:
            self._table.close()

    def _open(self, sequences: bool) -> Table:
        if self.top:
            values = [name for k in range(1, self.top + 1) for name in (f"class_{k}", f"probability_{k}")]
        else:
            values = [f"p{index}" for index in range(self.classes)]
        place = ["index", "position"] if sequences else ["index"]
        return Table(self.folder.predictions, [*place, "label", "predicted", "probability", *values])

    def _values(self, probabilities: Tensor) -> Iterable[Iterable[Any]]:
        """What a row ends with: the probabilities of all classes, or the likeliest ones, each with its own."""
        if not self.top:
            return _shortest(probabilities)
        best, classes = probabilities.topk(self.top)
        pairs = zip(classes.tolist(), _shortest(best), strict=True)
        return (chain.from_iterable(zip(*pair, strict=True)) for pair in pairs)

    def _places(self, labels: Tensor) -> Iterator[tuple[int, ...]]:
        import numpy as np

        for place in np.ndindex(*labels.shape):
            yield place[0] + self._samples, *place[1:]


def _shortest(values: Tensor) -> list[Any]:
    """Numbers of single precision, in the fewest digits that tell them apart."""
    return values.numpy().astype(str).tolist()  # type: ignore[no-any-return]
