"""The folder of a run: its names, written so that a crash leaves the last complete version."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from lrtrain.errors import RequestError


class Segment(NamedTuple):
    """A stretch of a run under one plan.

    Attributes:
        config: The plan's configuration, as plain values.
        steps_per_epoch: Updates in an epoch.
        policy: How it follows the one before; None for the first.
        step: The update where it begins.
    """

    config: dict[str, Any]
    steps_per_epoch: int
    policy: str | None = None
    step: int = 0

    @property
    def total_steps(self) -> int:
        """Updates in the whole run, had the plan not been changed."""
        return self.steps_per_epoch * int(self.config["epochs"])


class RunFolder:
    """Where a run keeps what it leaves behind.

    Args:
        path: The folder; made when the first file is written.

    Attributes:
        begun: This process has begun to train: what is in the folder is not to be discarded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.begun = False
        self._former_plan: bytes | None = None

    @property
    def summary(self) -> Path:
        """What was asked for and what came of it."""
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        """The log points, one a row."""
        return self.path / "metrics.csv"

    @property
    def last_checkpoint(self) -> Path:
        """The newest weights and everything needed to go on from them."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The one before the newest, for when that is damaged."""
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def plan(self) -> Path:
        """The plans that the run has followed, the first first."""
        return self.path / "plan.json"

    @property
    def best_checkpoint(self) -> Path:
        """The weights with the best monitored metric."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def best_as_of_last_checkpoint(self) -> Path:
        """The best weights as of the newest checkpoint, where there are better ones by now."""
        return self.path / "checkpoints" / "best_of_last.ckpt"

    @property
    def profile(self) -> str:
        """What Lightning puts between the stage and the ending in the names of the profiles: fit-profile.txt."""
        return "profile"

    @property
    def schedule_table(self) -> Path:
        """The previewed rate of every update."""
        return self.path / "schedule.csv"

    @property
    def schedule_picture(self) -> Path:
        """The previewed curve."""
        return self.path / "schedule.png"

    def check_unused(self) -> None:
        """Refuse to begin a run where there is one to go on with; raises RequestError."""
        if self.last_checkpoint.exists() or self.previous_checkpoint.exists():
            raise RequestError(
                f"{self.path} holds a run already: go on with it by resume=FOLDER, or give another hydra.run.dir"
            )

    def clear(self) -> None:
        """Remove what a run has left that came to no checkpoint, before another begins here."""
        events = self.path.glob("events.out.tfevents.*")
        for path in (self.metrics, self.summary, self.best_checkpoint, *events):
            if path.is_file():
                path.unlink()

    def discard(self, output_subdir: str | None = None) -> None:
        """Remove what the beginning of a run leaves, where nothing has come of it; what others put there stays.

        Args:
            output_subdir: Where Hydra has put what was asked for, of a run that is resumed.
        """
        if self.begun:
            return
        if output_subdir and output_subdir != self.overrides.parent.name:
            shutil.rmtree(self.path / output_subdir, ignore_errors=True)
        if self._former_plan is not None:
            write_bytes(self.plan, self._former_plan)
        if any(path.exists() for path in (self.metrics, self.summary, self.last_checkpoint.parent)):
            return
        shutil.rmtree(self.path / ".hydra", ignore_errors=True)
        with suppress(OSError):  # something is not ours, and the folder not empty
            for path in (self.plan, *self.path.glob("events.out.tfevents.*"), *self.path.glob("lrtrain.log")):
                path.unlink(missing_ok=True)
            self.path.rmdir()
            for parent in list(self.path.parents)[:2]:  # the day and outputs, where this was the first run in them
                if "outputs" in (parent.name, parent.parent.name):
                    parent.rmdir()

    @property
    def per_class(self) -> Path:
        """What was measured for each class."""
        return self.path / "per_class.csv"

    @property
    def confusion_table(self) -> Path:
        """How often which class was taken for which."""
        return self.path / "confusion.csv"

    @property
    def confusion_picture(self) -> Path:
        """The same, drawn."""
        return self.path / "confusion.png"

    @property
    def predictions(self) -> Path:
        """What a model says of each sample."""
        return self.path / "predictions.csv"

    @property
    def overrides(self) -> Path:
        """What was asked for on the command line when the run began."""
        return self.path / ".hydra" / "overrides.yaml"

    @property
    def newest_overrides(self) -> Path:
        """What was asked for when the run was last resumed, or began; an empty file was never written to its end."""
        found = [path for number, path in sorted(self._resumed()) if (path / self.overrides.name).is_file()]
        written = [path / self.overrides.name for path in found if (path / self.overrides.name).stat().st_size]
        return written[-1] if written else self.overrides

    @property
    def next_output_subdir(self) -> str:
        """Where Hydra puts what is asked for when the run is resumed next, relative to the folder."""
        return f".hydra/resumed_{max((number for number, _ in self._resumed()), default=0) + 1}"

    def _resumed(self) -> Iterator[tuple[int, Path]]:
        for path in (self.path / ".hydra").glob("resumed_*"):
            number = path.name.removeprefix("resumed_")
            if number.isdecimal():
                yield int(number), path

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary; `summary` holds plain values, and a number that is not finite becomes null."""
        write_text(self.summary, json.dumps(_finite(summary), indent=2, allow_nan=False) + "\n")

    def write_plan(self, segments: Iterable[Segment]) -> None:
        """Replace the plans that the run has followed."""
        self._former_plan = self.plan.read_bytes() if self.plan.is_file() else None
        write_text(self.plan, json.dumps([segment._asdict() for segment in segments], indent=2) + "\n")

    def read_plan(self) -> list[Segment]:
        """The plans that the run has followed so far; raises RequestError where they cannot be read."""
        try:
            segments = [Segment(**segment) for segment in json.loads(self.plan.read_text())]
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RequestError(f"{self.plan} cannot be read: {error}; begin anew without resume") from None
        if not segments or not all(map(_is_sound, segments)) or any(a.step > b.step for a, b in pairwise(segments)):
            raise RequestError(f"{self.plan} holds no plan; begin anew without resume")
        return segments

    def has_finished(self) -> bool:
        """Whether the run came to its end; a summary that cannot be read says that it did not."""
        try:
            summary = json.loads(self.summary.read_text())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(summary, dict) and summary.get("status") == "finished"

    def read_summary(self) -> dict[str, Any]:
        """The summary as written; raises FileNotFoundError where there is none."""
        return json.loads(self.summary.read_text())  # type: ignore[no-any-return]


def _is_sound(segment: Segment) -> bool:
    """Whether the parts of what was read are of the kinds that were written."""
    counts = segment.steps_per_epoch, segment.config.get("epochs") if isinstance(segment.config, dict) else None
    return all(type(count) is int and 0 < count < 10**9 for count in counts) and type(segment.step) is int


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, or a crash, sees the old version or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            scratch.unlink()
        raise


def read_overrides(path: Path) -> list[str]:
    """What was asked for on a command line, as Hydra keeps it; what it interpolates is left as it was written.

    Raises:
        ValueError: The file holds something else.
    """
    stored = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if not isinstance(stored, list):
        raise ValueError("it is no list of overrides")
    return [str(item) for item in stored]


def job_folders(sweep: Path) -> list[RunFolder]:
    """The folders of a sweep's jobs, wherever `hydra.sweep.subdir` puts them; numbered ones in that order."""
    found = {path.parent for name in (".hydra", "summary.json") for path in sweep.glob(f"**/{name}")} - {sweep}
    numbered = sorted(found, key=lambda path: (int(path.name) if path.name.isdecimal() else -1, path))
    return [RunFolder(path) for path in numbered]


class Table:
    """A CSV file that grows by whole rows; numbers keep full precision, and what is missing stays empty.

    Args:
        path: Of the file.
        columns: Their names.
        keep: Which rows of a file that is there already stay; None begins anew.

    """

    def __init__(
        self, path: Path, columns: Iterable[str], keep: Callable[[dict[str, str]], bool] | None = None
    ) -> None:
        self.columns = list(columns)
        kept = [row for row in read_table(path) if keep(row)] if keep and path.exists() else []
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        write_text(path, text.getvalue())
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, self.columns, restval="")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; raises ValueError for a value whose column the table does not have."""
        self._writer.writerow(row)
        self._file.flush()

    def extend(self, rows: Iterable[Iterable[Any]]) -> None:
        """Append rows of values in the order of the columns."""
        self._writer.writer.writerows(rows)
        self._file.flush()

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text; a last row that was not written to its end is left out.

    What follows a row that cannot be read is left out too.
    """
    whole, _, _ = path.read_text(errors="replace").rpartition("\n")
    rows: list[dict[str, str]] = []
    with suppress(csv.Error):
        for row in csv.DictReader(io.StringIO(whole, newline="")):
            row.pop(None, None)  # more values than columns
            rows.append(row)
    return rows


def _finite(value: Any) -> Any:
    """Plain JSON: a float that is not finite is null, a path its text."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, str | int) else str(value)
