"""Finds runs and their checkpoints, and says how they stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from lrtrain.errors import RequestError
from lrtrain.run_folder.claim import LOCK, began_without_end, is_live
from lrtrain.run_folder.files import read_table
from lrtrain.run_folder.folder import OUTPUTS, SWEEP, SWEEP_TABLE, RunFolder
from lrtrain.run_folder.summary import GOOD, Summary, read_summary


def find_run(wanted: str, below: Path = OUTPUTS) -> RunFolder:
    """The folder that `resume=` names: a path, or ``last`` for the newest run with a checkpoint.

    That passes over runs that are live, and over jobs of sweeps.

    Raises:
        RequestError: There is none, or it has no checkpoint.
    """
    if wanted == "last":
        return _newest(below, "resume=last", "resume=FOLDER", ended=True)
    try:
        folder = RunFolder(Path(wanted).resolve())
        found = folder.has_checkpoint
    except (OSError, ValueError):
        raise RequestError("resume= is not the path of a folder") from None
    if folder.path.is_file():
        raise RequestError(
            f"resume={wanted} is a file: give the folder of the run, such as {folder.path.parent.parent}"
        )
    if not folder.path.is_dir():
        raise RequestError(f"resume={wanted}: there is no such folder{_elsewhere(wanted, below)}")
    if not found:
        raise RequestError(f"resume={wanted}: there is no {folder.last_checkpoint.name} in it; give a run's folder")
    return folder


def _elsewhere(wanted: str, below: Path) -> str:
    """Where a person may have meant a folder to be, that is not there."""
    found = [str(below / wanted)] if (below / wanted).is_dir() else get_close_matches(wanted, ["last"])
    return f"; did you mean {found[0]}?" if found else "; give the path of a run's folder, or last"


def find_checkpoint(wanted: str, below: Path = OUTPUTS) -> Path:
    """The file that `checkpoint=` names: itself, the best of a run's folder, or ``best`` or ``last`` of the newest run.

    Of a sweep's folder, and where the newest run is a job of one, the best is that of its best job.

    Raises:
        RequestError: There is no such file.
    """
    newest = wanted in ("best", "last")
    folder = _newest(below, f"checkpoint={wanted}", "checkpoint=FOLDER or checkpoint=FILE.ckpt") if newest else None
    try:
        path = folder.path if folder else Path(wanted).resolve()
        if wanted != "last":
            path = _best_job(path.parent if folder else path) or path
        if path.is_dir():
            path = RunFolder(path).last_checkpoint if wanted == "last" else RunFolder(path).best_checkpoint
        found = path.is_file()
    except (OSError, ValueError):
        raise RequestError("checkpoint= is not the path of a run's folder or of a .ckpt file") from None
    if not found:
        raise RequestError(f"checkpoint={wanted}: there is no file {path}; give a run's folder or a .ckpt file")
    return path


def _best_job(sweep: Path) -> Path | None:
    """The folder of a sweep's best job, by its table; None of other folders, and where no job came to a good end."""
    table = sweep / SWEEP_TABLE
    if not (sweep / SWEEP).exists() or not table.exists():
        return None
    return next((sweep / row["name"] for row in read_table(table) if row.get("status") in GOOD), None)


def find_runs(below: Path = OUTPUTS) -> Iterator[RunFolder]:
    """Every folder of a run or another task, the jobs of sweeps included."""
    names = (RunFolder("").summary.name, LOCK)
    found = {path.parent for name in names for path in below.glob(f"**/{name}")}
    return (RunFolder(path) for path in sorted(found) if not (path / SWEEP).exists())


def state_of(folder: RunFolder) -> str:
    """How a run stands: ``running``, ``waiting`` for its first update, or the status that it ended with."""
    return look(folder)[0]


def look(folder: RunFolder) -> tuple[str, Summary | None]:
    """How a run stands, and its newest summary, where there is one."""
    summary = None
    with suppress(FileNotFoundError, RequestError):  # killed before there was one, or damaged
        summary = read_summary(folder.summary)
    if is_live(folder.path):
        return "running", summary
    begun = folder.has_checkpoint or folder.metrics.exists()
    status = summary.status if summary else "interrupted" if begun else "waiting"
    killed = began_without_end(folder.path) and status != "waiting"
    return "interrupted" if killed else status, summary


def _newest(below: Path, asked: str, instead: str, ended: bool = False) -> RunFolder:
    found = [path for name in ("last", "previous") for path in below.glob(f"**/checkpoints/{name}.ckpt")]
    newest = dict.fromkeys(path.parent.parent for path in sorted(found, key=lambda path: -path.stat().st_mtime))
    live = []
    for path in newest:
        if ended and (path.parent / SWEEP).exists():
            continue
        if ended and is_live(path):
            live.append(str(path))
            continue
        if live:
            print(f"passing over {', '.join(live)}: still running")
        return RunFolder(path.resolve())
    still = f" ({', '.join(live)}: still running)" if live else ""
    raise RequestError(f"{asked}: no run below {below} has a checkpoint{still}; give {instead}")
