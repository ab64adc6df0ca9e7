"""task=predict: write what the weights of a checkpoint say of each sample."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import OptionalCount, OrNull, Text
from lrtrain.parameters.rules import Table as Rules
from lrtrain.process.imports import import_large
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import Table
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job

if TYPE_CHECKING:
    from torch import Tensor

    from lrtrain.objectives import Objective
    from lrtrain.objectives.reports import Layout


def run(
    job: Job,
    /,
    *,
    checkpoint: Annotated[str, Text()] = "best",
    split: Literal["test", "validation", "train"] = "test",
    top: OptionalCount = None,
    predict: Annotated[Mapping[str, str | None], Rules(OrNull(Text()))] = MappingProxyType({"file": None}),
) -> Summary:
    """Write a row for each sample of a split, in its order; of a sequence, for each token.

    Args:
        checkpoint: a run's folder (its best weights), a .ckpt file, or best or last of the newest run
        split: of the data
        top: write the probabilities of so many likeliest classes; null writes those of all
        predict: predict.file is a file without targets, of the kind of the run's dataset; null takes the split

    Raises:
        RequestError: The checkpoint is not there, is damaged, or does not fit the model or the data; or several
            processes are asked for.
    """
    began, loading = time.perf_counter(), import_large("lrtrain.training.trained")
    from lrtrain.training.evaluation import Prediction

    with loading.measuring(job.settings, job.folder, checkpoint, split, job.names_data, predict["file"]) as trained:
        if trained.trainer.world_size > 1:
            raise RequestError("task=predict writes in the order of the data, on one device: trainer.devices=1")
        with ClaimedFolder(job.folder, locks=job.locks) as folder:
            folder.check_unused()
            rows = _Rows(folder, trained.objective, top)
            trained.trainer.test(Prediction(trained.network, trained.objective, rows.add), trained.data, verbose=False)
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
        objective: What is predicted.
        top: Of how many of the likeliest classes; None is of all.
    """

    def __init__(self, folder: RunFolder, objective: Objective, top: int | None) -> None:
        self.folder = folder
        self.objective = objective
        self.top = top
        self.written = self._samples = 0
        self._table: Table | None = None
        self._layout: Layout | None = None

    def add(self, predictions: Tensor, truths: Tensor) -> None:
        """Append the rows of a batch, whose first dimension is that of the samples."""
        shape = predictions.shape[:-1]
        if self._layout is None or self._table is None:
            self._layout = self.objective.layout(truths.numel() > 0, self.top)
            place = ["index", "position"][: len(shape)]
            self._table = Table(self.folder.predictions, [*place, *self._layout.columns])
        predictions, truths = predictions.flatten(0, -2), truths.flatten(0, len(shape) - 1)
        rows = zip(self._places(shape), self._layout.rows(predictions, truths), strict=True)
        self._table.extend([*place, *values] for place, values in rows)
        self.written += len(predictions)
        self._samples += shape[0]

    def close(self) -> None:
        """Release the file."""
        if self._table:
            self._table.close()

    def _places(self, shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
        import numpy as np

        for place in np.ndindex(*shape):
            yield place[0] + self._samples, *place[1:]
