"""task=export: the weights of a checkpoint as a file that needs no lrtrain, and what goes in and comes out."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Literal

from lrtrain.errors import RequestError
from lrtrain.parameters.rules import Text
from lrtrain.process.imports import import_large
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import write_bytes, write_json
from lrtrain.run_folder.find import find_checkpoint
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job


def run(
    job: Job,
    /,
    *,
    checkpoint: Annotated[str, Text()] = "best",
    format: Literal["torch_export", "safetensors"] = "torch_export",  # noqa: A002 - a word of the command line
) -> Summary:
    """Write the weights and `model.json`, once what was read back has given the outputs of the checkpoint's model.

    Args:
        checkpoint: a run's folder (its best weights), a .ckpt file, or best or last of the newest run
        format: torch_export holds the network too, and takes batches of any size; safetensors holds the weights only

    Raises:
        RequestError: The checkpoint is not there or is damaged, or the model cannot be exported; nothing was written.
    """
    began, loading = time.perf_counter(), import_large("lrtrain.training.loaded")
    from lrtrain.training.export import EXPORTS, VERSIONS, meaning

    if not job.settings.is_built_in:
        raise RequestError(
            "built-in models and datasets only, not a LightningModule of yours: its checkpoint has them as state_dict"
        )
    path, export = find_checkpoint(checkpoint), EXPORTS[format]
    loaded = loading.load_as(job.settings, path)
    with ClaimedFolder(job.folder, locks=job.locks) as folder:
        folder.check_unused()
        file = folder.exported(export.ending)
        content = export.content(loaded.model, loaded.inputs)
        folder.write_request(job.asked)
        write_json(folder.exported("json"), {"file": file.name, "load": export.load, **meaning(loaded)})
        write_bytes(file, content)
        summary = Summary(
            status="finished",
            ended_by="end",
            task="export",
            steps=loaded.step,
            wall_s=round(time.perf_counter() - began, 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=VERSIONS,
            config=job.settings.plain(),
            extra={"checkpoint": str(path), "step": loaded.step, "exported": file.name},
            folder=folder.path,
        )
        summary.write(folder.summary)
        folder.begun = True
    print(f"{job.settings.model.name} on {job.settings.dataset.name}\nweights of {path}, update {loaded.step:,}")
    print("read back, it gives the same outputs", file, folder.exported("json"), sep="\n")
    return summary
