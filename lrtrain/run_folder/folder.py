"""The names of all that a run keeps in its folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lrtrain.errors import RequestError
from lrtrain.run_folder.files import read_words, write_bytes, write_text

OUTPUTS = Path("outputs")
"""Where runs go."""
SWEEP = "sweep.json"
"""What a sweep keeps in its folder, whose jobs are below it."""
SWEEP_TABLE = "summary.csv"
"""A row for each of its jobs, the best first."""


class RunFolder:
    """Where a run keeps what it leaves behind.

    Args:
        path: The folder; made when the first file is written.

    Attributes:
        begun: This process has begun to train: what is in the folder is kept.
        summary: What was asked for and what came of it.
        metrics: The log points, one per row.
        history: The plans that the run has followed, the first first.
        log: Traces of what failed.
        last_checkpoint: The newest weights and everything needed to go on from them.
        previous_checkpoint: The one before the newest, for when that is damaged.
        best_checkpoint: The weights with the best monitored metric.
        best_as_of_last_checkpoint: The best weights as of the newest checkpoint, where there are better ones by now.
        schedule_table: The previewed rate of every update.
        schedule_picture: The previewed curve.
        predictions: What a model says of each sample.
        rate_found: The base rate that was found, with its bracket and its reason.
        rate_picture: The loss over the rate, drawn.
        ids: Of the run in the places where it is logged, by their names.
        csv: What Lightning's CSVLogger writes.
        wandb: What Weights & Biases writes.
        mlflow: MLflow's database.
        artifacts: What MLflow keeps beside it.
    """

    PROFILE = "profile"
    """What Lightning puts between the stage and the ending in the names of the profiles: fit-profile.txt."""

    EVENTS = "events.out.tfevents"
    """What the names of TensorBoard's files begin with."""

    def __init__(self, path: str | Path) -> None:
        self.begun = False
        self._former_history: bytes | None = None
        self._former_logs: set[Path] = set()
        self._request: Path | None = None
        self.move_to(path)

    def move_to(self, path: str | Path) -> None:
        """Let the names be those of another folder."""
        self.path = path = Path(path)
        self.summary = path / "summary.json"
        self.metrics = path / "metrics.csv"
        self.history = path / "plan.json"
        self.log = path / "lrtrain.log"
        self.checkpoints = path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.ckpt"
        self.previous_checkpoint = self.checkpoints / "previous.ckpt"
        self.best_checkpoint = self.checkpoints / "best.ckpt"
        self.best_as_of_last_checkpoint = self.checkpoints / "best_of_last.ckpt"
        self.schedule_table = path / "schedule.csv"
        self.schedule_picture = path / "schedule.png"
        self.predictions = path / "predictions.csv"
        self.rate_found = path / "lr_find.json"
        self.rate_picture = path / "lr_find.png"
        self.ids = path / "loggers.json"
        self.csv = path / "csv_log"
        self.wandb = path / "wandb"
        self.mlflow = path / "mlflow.db"
        self.artifacts = path / "mlartifacts"

    def table(self, name: str) -> Path:
        """A table of an evaluation, such as ``per_class``."""
        return self.path / f"{name}.csv"

    def picture(self, name: str) -> Path:
        """A picture of an evaluation, such as ``confusion``."""
        return self.path / f"{name}.png"

    def exported(self, ending: str) -> Path:
        """A file of an export, by the ending of its name."""
        return self.path / f"model.{ending}"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a run to go on with."""
        return self.last_checkpoint.is_file() or self.previous_checkpoint.is_file()

    @property
    def words(self) -> list[str]:
        """The words that the run was asked for by, and then those by which it was gone on with; of a key, the last."""
        place = self.path / ".hydra"
        resumed = sorted(place.glob("resumed_*"), key=lambda path: (len(path.name), path.name))
        asked = [word for folder in (place, *resumed) for word in read_words(folder / "overrides.yaml")]
        return list({word.partition("=")[0]: word for word in asked}.values())

    @property
    def has_words(self) -> bool:
        """Whether it was asked for by words, not by settings made in Python."""
        return (self.path / ".hydra" / "overrides.yaml").is_file()

    @property
    def what_then(self) -> str:
        """What to do about the run once that is mended which has ended it."""
        if self.has_checkpoint:
            return f"then continue with resume={self.path}"
        return "then start over, as there is no checkpoint yet"

    @property
    def events(self) -> list[Path]:
        """TensorBoard's files."""
        return sorted(self.path.glob(f"{self.EVENTS}.*"))

    @property
    def unsynced(self) -> list[Path]:
        """The parts of the run that Weights & Biases keeps offline."""
        return sorted(self.wandb.glob("offline-run-*"))

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that the run is a job of; None where it is none."""
        return self.path.absolute().parent if (self.path.parent / SWEEP).is_file() else None

    def check_unused(self) -> None:
        """Refuse to begin a run where there is one to go on with; raises RequestError."""
        if (self.path / SWEEP).exists():
            raise RequestError(f"{self.path} already contains a sweep: give another hydra.run.dir")
        if self.has_checkpoint:
            raise RequestError(
                f"{self.path} already contains a run: go on with it by resume=FOLDER, or give another hydra.run.dir"
            )

    def check_files(self) -> None:
        """Refuse to write where our names are those of pipes or folders; raises RequestError."""
        for path in (self.summary, self.metrics, self.history, self.last_checkpoint, self.best_checkpoint):
            if path.exists() and not path.is_file():
                raise RequestError(f"{path} is not a file: remove it")

    def drop_last_checkpoint(self) -> None:
        """Let the checkpoint before the last be the last one, or the best where there is none."""
        if not self.previous_checkpoint.is_file():
            shutil.copyfile(self.best_checkpoint, self.previous_checkpoint)
        self.previous_checkpoint.replace(self.last_checkpoint)

    def clear(self) -> None:
        """Remove what a run has left that came to no checkpoint, before another begins here."""
        for path in (self.metrics, self.summary, self.best_checkpoint, self.ids, *self.events):
            if path.exists() and not path.is_dir():
                path.unlink()

    def write_request(self, files: Mapping[str, str], *, anew: bool = False) -> None:
        """Keep what was asked for, by name of file: in `.hydra`, or of a run that goes on in a folder below it.

        Args:
            files: By name.
            anew: A run begins, in the place of one that came to no checkpoint if there is any.
        """
        place = self.path / ".hydra"
        if place.is_symlink():
            raise RequestError(f"{place} is a link, which nothing is written through: remove it")
        if anew:
            for former in place.glob("resumed_*"):
                shutil.rmtree(former)
        elif self.history.exists():
            self._former_history = self.history.read_bytes()
            numbers = [path.name.removeprefix("resumed_") for path in place.glob("resumed_*")]
            place /= f"resumed_{max((int(number) for number in numbers if number.isdecimal()), default=0) + 1}"
        self._request, self._former_logs = place, self._logs
        for name, text in files.items():
            write_text(place / name, text)

    def withdraw(self) -> None:
        """Undo what was written of a run that did not begin to train; what others put there stays."""
        if self.begun or self._request is None:
            return
        shutil.rmtree(self._request, ignore_errors=True)
        self._request = None
        with suppress(OSError):
            for path in self._logs - self._former_logs:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if self._former_history is not None:
                write_bytes(self.history, self._former_history)
                return
            for path in (self.history, self.ids, *self.events):
                path.unlink(missing_ok=True)

    @property
    def _logs(self) -> set[Path]:
        """What the loggers have written, apart from TensorBoard's files, and what was said meanwhile."""
        return {path for path in (self.csv, self.wandb, self.mlflow, self.artifacts, self.log) if path.exists()}
