"""`logger=wandb`: a run in Weights & Biases."""

from __future__ import annotations

import os

import wandb
from lightning.pytorch.loggers import WandbLogger

from lrtrain.loggers import Subject
from lrtrain.loggers.run_logger import RunLogger, keep_id, known_id, refused_as
from lrtrain.run_folder.summary import GOOD

QUIET = (*GOOD, "paused", "pruned")
"""How a run ends that has not failed."""


class WandbRun(RunLogger, WandbLogger):
    """Lightning's WandbLogger, offline in the run's folder unless WANDB_MODE says otherwise.

    A run that goes on has the same id, so that `wandb sync` puts its parts together. What was logged after the
    checkpoint that it goes on from cannot be taken back there, and stands twice.

    Args:
        subject: What is logged.
        project: Of the run.
        entity: Whose.
    """

    def __init__(self, subject: Subject, project: str, entity: str | None) -> None:
        folder, sweep = subject.folder, subject.folder.sweep
        mode = os.environ.get("WANDB_MODE", "offline")
        folder.path.mkdir(parents=True, exist_ok=True)
        with refused_as("wandb"):
            self._run = wandb.init(
                project=project,
                entity=entity,
                id=known_id(folder, "wandb"),
                resume="allow",
                name=subject.name,
                group=os.environ.get("WANDB_RUN_GROUP") or (sweep.name if sweep else None),
                tags=list(subject.tags),
                notes=subject.description,
                config=dict(subject.config),
                dir=folder.path,
                mode=mode,
                reinit="create_new",  # not the run of the program around this one, if there is any
                # A remote's address may have a token in it; the commit is in the summary.
                settings=wandb.Settings(console="off", disable_git=True, quiet=True, silent=mode == "offline"),
            )
        self._run.define_metric("trainer/global_step")
        self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        super().__init__(experiment=self._run, project=project, save_dir=folder.path, id=self._run.id)
        keep_id(folder, "wandb", self._run.id)

    def end(self, status: str) -> None:
        """Finish the run there, as one that has failed or not."""
        self._run.finish(exit_code=0 if status in QUIET else 1)
