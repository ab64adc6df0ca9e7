"""What the tests share: the command line, in this process or in its own, and readers of what a run leaves behind."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: batches this small only lose by being shared out
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a process that has used a GPU cannot be forked

import contextlib
import copy
import csv
import functools
import gc
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
from hydra._internal.config_repository import ConfigRepository
from omegaconf import base

from lrtrain.cli.compose import Composed, Composer
from lrtrain.cli.request import Request, read_request
from lrtrain.cli.words import prepare
from lrtrain.configs import config_dir
from lrtrain.process.imports import import_large

if TYPE_CHECKING:
    from resuming import Stop

    from lrtrain.datasets import Source, Splits
    from lrtrain.settings import Settings


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Run(NamedTuple):
    """A finished command line and the folder it wrote."""

    result: Result
    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())  # type: ignore[no-any-return]

    @property
    def rows(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "metrics.csv")

    @property
    def rates(self) -> list[tuple[str, str, str]]:
        """The step, the epoch and the rate of each update, as a run or its preview has written them."""
        shown = self.folder / "schedule.csv"
        rows = read_csv(shown) if shown.exists() else self.rows
        return [(row["step"], row["epoch"], row["lr"]) for row in rows]

    def series(self, column: str) -> dict[int, float]:
        """A column of metrics.csv by step, where it has a value."""
        return {int(row["step"]): float(row[column]) for row in self.rows if row[column]}


def requested(*words: str) -> Request:
    """What a command asks for."""
    with Composer() as composer:
        return read_request(composer, prepare(words))


def settings_of(*words: str) -> Settings:
    """The settings that a command asks for."""
    return requested(*words).job.settings


CommandLine = Callable[..., Result]
Train = Callable[..., Run]

KEPT: dict[tuple[object, ...], Run] = {}
"""What was trained once for all tests of this process, by what was asked for."""

LONGEST = (
    *("resume", "sweeps", "distributed", "population", "evaluate", "command_line", "options", "preview", "private"),
    *("signals", "hostile", "training", "faults", "words", "models_custom", "preview_of_resume", "properties"),
    *("find_lr", "changed_plans", "search", "epoch_loop", "pages", "export", "refusals", "floors", "session"),
)
"""The files that take longest, to be begun first: each is run by one process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem.removeprefix("test_"), len(order)))


SMALL = ("model=linear", "trainer=cpu", "log_every=1", "trainer.limit_train_batches=4")
"""Four updates an epoch, all of them logged."""


def compose_once() -> None:
    """Let Hydra parse and compose the same words once for all that this process does, and read each of our files once.

    Else that is half the time of a small run.
    """
    ours, grammar = cast(Any, Composer), cast(Any, base)
    composed, begin, list_groups = ours._composed, ours.__init__, ours._groups.func
    kept: dict[tuple[str, ...], tuple[Composed, bool]] = {}
    parsed: dict[str, Any] = {}
    groups: list[str] = []
    place = re.compile(r"hydra\.(run|sweep)\.dir='?([\w./-]+)'?")

    def composed_once(composer: Composer, words: Sequence[str]) -> tuple[Composed, bool]:
        said = {word: place.fullmatch(word) for word in composer.with_search(words)}
        rest = tuple(word for word in said if not said[word])
        if any(word.startswith("hydra.") for word in rest):
            return composed(composer, words)  # type: ignore[no-any-return]
        if rest not in kept:
            kept[rest] = composed(composer, rest)
        (values, *usual), depends = kept[rest]
        now = datetime.now()  # the time of day is a part of the usual folder
        names = [f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S-%f}_{path.name.partition('_')[2]}" for path in usual]
        where = dict(zip(("run", "sweep"), names, strict=True))
        where |= {match[1]: match[2] for match in said.values() if match}
        run, sweep = (Path(where[kind]).absolute() for kind in ("run", "sweep"))
        return Composed(copy.deepcopy(values), run, sweep), depends

    def begin_parsed(composer: Composer, folder: str | None = None) -> None:
        begin(composer, folder)
        composer._parsed = parsed

    def list_groups_once(composer: Composer) -> list[str]:
        groups.extend([] if groups else list_groups(composer))
        return groups

    load = ConfigRepository.load_config
    read: dict[str, Any] = {}

    def load_once(repository: ConfigRepository, config_path: str) -> Any:
        if {source.path for source in repository.sources} != {"hydra.conf", str(config_dir()), ""}:
            return load(repository, config_path)  # somebody else's may change
        if config_path not in read:
            read[config_path] = load(repository, config_path)
        found = copy.copy(read[config_path])
        if found is not None:
            found.config = copy.deepcopy(found.config)  # what is merged with it changes it
        return found

    ours._composed, ConfigRepository.load_config = composed_once, load_once  # type: ignore[method-assign, assignment]
    ours.__init__, ours._groups = begin_parsed, property(list_groups_once)
    grammar.parse = functools.cache(grammar.parse)


compose_once()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background


def pytest_configure() -> None:
    """Leave out what takes time and changes no result."""
    import_large("lrtrain.training.run")
    os.fsync = lambda fd: None  # no test cuts the power
    gc.disable()  # until all is imported, which stays


def pytest_collection_finish() -> None:
    """Leave what is imported by now to itself, so that no garbage collection looks through it again."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def save_figure() -> Iterator[Callable[..., None]]:
    """Let matplotlib not render, which is most of the time of an evaluation or a preview."""
    from matplotlib.figure import Figure

    save = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write(b"not rendered"))
        yield save


@pytest.fixture
def rendered(save_figure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures be rendered, for a test that looks at them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save_figure)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def whole(source: Source) -> tuple[Any, Any]:
    """All inputs and labels of a dataset's part."""
    import torch

    inputs, labels = source.gather(torch.arange(len(source)))
    return inputs.numpy(), labels.numpy()


def parts(splits: Splits) -> list[tuple[Any, Any]]:
    """The inputs and labels to train on, to validate, to test."""
    return [whole(source) for source in splits[:3]]


def said_of(act: Callable[[], object]) -> str:
    """What a refusal says; nothing where nothing is refused."""
    try:
        act()
    except ValueError as error:
        return str(error)
    return ""


def run_line(folder: Path, *arguments: str, trace: str = "0") -> Result:
    """Run `python -m lrtrain ...` in this process, in a folder; with a trace of errors where HYDRA_FULL_ERROR is 1."""
    from lrtrain.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", trace)
        patch.setattr(sys, "argv", ["lrtrain", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main()
    return Result(code, out.getvalue(), err.getvalue())


def fork(
    act: Callable[[], int],
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    **others: Any,
) -> subprocess.Popen[str]:
    """Do something in a process of its own, in a group of its own, that has imported all that this one has.

    Args:
        act: What it does; its exit code is what this returns.
        folder: Where it is.
        arguments: What it finds in `sys.argv`.
        environment: Its variables; those of this process where not given.
        others: What `subprocess.Popen` is told otherwise.
    """

    def run() -> None:
        os.closerange(3, 4096)  # with them the pipe by which Popen waits for a program to be executed
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode, 1, closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv[:] = arguments
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        code: Any = 1
        try:
            code = act()
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    options: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    options |= {"cwd": folder, "text": True, "start_new_session": True, **others}
    return subprocess.Popen([sys.executable], preexec_fn=run, restore_signals=False, **options)  # as Python has them


def python(*arguments: str, cwd: Path, interpreter: str = sys.executable, said: str | None = None) -> Result:
    """Run Python in its own process; the interpreter's path is searched as that of `python -m` in `cwd`."""
    environment = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "PYTHONPATH")}
    done = subprocess.run(
        [interpreter, *arguments], cwd=cwd, env=environment, input=said, capture_output=True, text=True, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Run `python -m lrtrain ...` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(run_line, tmp_path)


@pytest.fixture
def train(command_line: CommandLine, tmp_path: Path) -> Train:
    """Run a training that must succeed, in a folder of its own."""

    def run(*arguments: str, code: int = 0) -> Run:
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        result = command_line(*arguments, f"hydra.run.dir={folder}")
        assert result.code == code, result.err
        return Run(result, folder)

    return run


def copied(run: Run, place: Path) -> Run:
    """The run with a copy of its folder, which may be changed."""
    folder = place / f"run{len(list(place.glob('run*')))}"
    return Run(run.result, Path(shutil.copytree(run.folder, folder)))


@pytest.fixture
def trained(command_line: CommandLine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """A copy of what a training leaves that is done once for all tests, in a folder of the test's own."""

    def run(*arguments: str) -> Run:
        if arguments not in KEPT:
            folder = tmp_path_factory.mktemp("kept") / "run"
            result = command_line(*arguments, f"hydra.run.dir={folder}")
            assert result.code == 0, result.err
            KEPT[arguments] = Run(result, folder)
        return copied(KEPT[arguments], tmp_path)

    return run


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Acts in the training step of a batch, as by stopping the run."""
    from resuming import Stop

    return Stop(monkeypatch)


@pytest.fixture
def stopped(train: Train, stop: Stop, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the folder of a run that ended in the step of a batch; each such run is stopped once for all tests."""
    from resuming import INTERRUPTED, terminate

    def run(*arguments: str, batch: int, act: Callable[[Any], None] = terminate) -> Path:
        asked = (*arguments, batch, act)
        if asked in KEPT:
            return copied(KEPT[asked], tmp_path).folder
        stop(batch, act)
        ended = train(*arguments, code=INTERRUPTED if act is terminate else 1)
        stop.over()
        KEPT[asked] = copied(ended, tmp_path.with_name(f"{tmp_path.name}_kept"))
        return ended.folder

    return run
