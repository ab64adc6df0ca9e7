"""The command line's words in Python: train, load, list, compare runs and so on, without its signals and exit codes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lrtrain.cli.compose import Composer
from lrtrain.cli.request import Request, read_request
from lrtrain.cli.words import as_word, prepare
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import flat
from lrtrain.parameters.signatures import defaults
from lrtrain.run_folder.find import find_checkpoint, find_runs, state_of
from lrtrain.run_folder.folder import OUTPUTS, RunFolder
from lrtrain.run_folder.summary import Summary, read_summary
from lrtrain.settings import KINDS, TrainerSettings

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
    from torch import nn

    from lrtrain.report.comparison import Comparisons
    from lrtrain.report.curves import Picture
    from lrtrain.report.rate import RateShown
    from lrtrain.training.loaded import Loaded


def train(
    words: Sequence[str] = (), /, *, folder: str | Path | None = None, quiet: bool = False, **settings: Any
) -> Summary:
    """Train as ``python -m lrtrain`` does, with the same defaults.

    Example:
        >>> train(["scheduler=cosine", "lr=0.1"])
        >>> train(scheduler="cosine", lr=0.1, model={"hidden": [64]})

    Args:
        words: As on the command line.
        folder: Of the run; None takes a new one under ``outputs``.
        quiet: Print nothing.
        settings: The same by name; a mapping names what is under a key, and ``name`` in it is the choice.

    Returns:
        What came of it, however it ended; a run that diverged has ``status="diverged"``.

    Raises:
        RequestError: The request is wrong; nothing was written.
        KeyboardInterrupt: The run was interrupted; it is saved and can be resumed.
    """
    from lrtrain.training.run import run_in

    request = _read(_listed(words, settings), folder)
    if request.task.name != "train":
        raise RequestError(f"train() takes no task={request.task.name}")
    if request.nothing_left:
        return read_summary(RunFolder(request.job.folder).summary)
    job, say = request.job, (lambda _: None) if quiet else print
    for line in job.remarks:
        say(line)
    summary = run_in(
        job.settings,
        job.folder,
        start=job.start,
        asked=job.asked,
        locks=job.locks,
        finds_rate=job.finds_rate,
        say=say,
    )
    if summary.ended_by == "SIGINT":
        raise KeyboardInterrupt(summary.error)
    return summary


def preview(words: Sequence[str] = (), /, **settings: Any) -> Picture:
    """The learning rate of a run as a figure, which a notebook shows; trains and writes nothing.

    Args:
        words: As on the command line, of ``task=preview``.
        settings: The same by name.

    Raises:
        RequestError: The request is wrong.
    """
    from lrtrain.tasks.preview import preview as previewed

    request = _read([*_listed(words, settings), "task=preview"], None)
    return previewed(request.job.settings, request.job.start, **request.task.parameters).picture


def compare(words: Sequence[str] = (), /, **settings: Any) -> Comparisons:
    """Which strategy is best, of runs that were made; writes nothing, and a notebook shows it.

    Example:
        >>> compare(runs="outputs/mine", margin=0.02).found[0].strategies[0].verdict

    Args:
        words: As on the command line, of ``task=compare``.
        settings: The same by name.

    Raises:
        RequestError: There are no runs to compare, or they do not say what is asked of them.
    """
    from lrtrain.tasks.compare import compare as compared

    request = _read([*_listed(words, settings), "task=compare"], None)
    return compared(request.job.settings, **request.task.parameters)


@overload
def find_lr(words: Sequence[str] = (), /, **settings: Any) -> RateShown: ...


@overload
def find_lr(
    module: LightningModule, data: Any, /, *, updates: int = 300, trainer: Mapping[str, Any] | None = None
) -> RateShown: ...


def find_lr(of: Any = (), data: Any = None, /, **settings: Any) -> RateShown:
    """Find a base learning rate, for a run or for a LightningModule of your own; writes and changes nothing.

    Several short trainings, whose rate rises with each update, say at which rate the loss falls and where it diverges.
    They train copies of the module: it, its optimizer, the order of the data and all random numbers are afterwards what
    they were.

    Example:
        >>> found = find_lr(model="cnn", optimizer="adamw")
        >>> found.suggestion, found.low, found.high, found.error, found.reason
        >>> found = find_lr(module, train_loader, updates=300, trainer={"precision": "bf16-mixed"})

    Args:
        of: Words as on the command line, of ``task=find_lr``; or a module with one optimizer, whose groups keep the
            ratios of their rates, and whose own schedule is left out.
        data: For a module: a LightningDataModule, or a loader of the training.
        settings: The same as the words, by name; for a module: how many `updates` all of it may cost, and the arguments
            of Lightning's `trainer`.

    Returns:
        What was found; ``suggestion`` is None where nothing can be suggested, and ``reason`` says why.

    Raises:
        RequestError: The request is wrong; or the module has several optimizers, takes its steps itself, or cannot be
            copied.
    """
    if not isinstance(of, str | Sequence):
        from lrtrain.report.rate import RateShown
        from lrtrain.training.ramps import find_rate_of

        return RateShown.of(find_rate_of(of, data, **settings), type(of).__name__)
    from lrtrain.tasks.find_lr import find_rate

    return find_rate(_read([*_listed(of, settings), "task=find_lr"], None).job)


def load(run: str | Path, weights: str = "best", *, model: nn.Module | None = None) -> Loaded:
    """The model of a run with its weights, in eval mode, with what it is given and what it tells.

    Args:
        run: Its folder, wherever that is now; that of a sweep, whose best job it is; a .ckpt file in a run's folder; or
            ``best`` or ``last`` of the newest run.
        weights: best or last, of a folder.
        model: Of your own code, to be given the weights; None builds the run's own, if it is a built-in one.

    Raises:
        RequestError: There is no such checkpoint, or its model is not a built-in one.
    """
    from lrtrain.training.loaded import load_run

    if weights not in ("best", "last"):
        raise RequestError(f"weights must be best or last, got {weights!r}")
    folder = RunFolder(run)
    wanted = folder.last_checkpoint if weights == "last" and folder.path.is_dir() else run
    return load_run(find_checkpoint(str(wanted)), model)


def runs(below: str | Path = OUTPUTS) -> list[dict[str, Any]]:
    """What is known of every run below a folder: rows for a table, such as ``pandas.DataFrame(runs())``.

    Each has the folder, how the run stands, its settings by their dotted keys, and its metrics as ``best_*`` and
    ``final_*``.
    """
    rows = []
    for folder in find_runs(Path(below)):
        row: dict[str, Any] = {"folder": str(folder.path), "status": state_of(folder)}
        try:
            summary = read_summary(folder.summary)
        except (FileNotFoundError, RequestError):
            rows.append(row)
            continue
        own = ("task", "ended_by", "strategy", "seed", "steps", "epochs", "wall_s", "started", "ended", "monitor")
        row |= {name: getattr(summary, name) for name in own}
        row |= {f"best_{name}": value for name, value in summary.best.items()}
        row |= {f"final_{name}": value for name, value in summary.final.items()}
        rows.append(row | {key: value for key, value in flat(summary.config).items() if key not in row})
    return rows


def _read(words: Sequence[str], folder: str | Path | None) -> Request:
    with Composer() as composer:
        return read_request(composer, prepare(words), Path(folder) if folder else None)


def _listed(words: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The words, which may be in one text as in a shell, and the settings as further words."""
    return [*(shlex.split(words) if isinstance(words, str) else words), *_as_words(settings)]


def _as_words(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings by name as the command line has them."""
    words = []
    for key, value in settings.items():
        if key == "logger" and isinstance(value, Mapping):
            words.append(f"logger={as_word(list(value))}")
            words += [f"{path}={as_word(item)}" for path, item in flat(value, "logger.").items()]
        elif isinstance(value, Mapping) and not prefix and key in (*KINDS, "trainer", "augment"):
            own = {str(name): item for name, item in value.items()}
            if name := own.pop("name", None):
                words.append(f"{key}={name}")
            words += _as_words(own, f"{key}.")
        else:
            new = "+" if prefix == "trainer." and key not in defaults(TrainerSettings) else ""
            words.append(f"{new}{prefix}{key}={as_word(value)}")
    return words
