"""The command line: `python -m lrtrain scheduler=inverse_time decay=0.01`."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import tempfile
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lrtrain import processes, signals, tasks
from lrtrain.configs import config_dir
from lrtrain.errors import (
    DivergedError,
    FaultError,
    InterruptedRunError,
    LostProcessError,
    RequestError,
    first_line,
)
from lrtrain.help import help_text
from lrtrain.logs import close_logs
from lrtrain.request import Request, check_config, check_request, plain_config
from lrtrain.resume import (
    begins,
    check_policy,
    check_resume,
    find_checkpoint,
    find_run,
    key_of,
    merged_overrides,
    overrides_of,
)
from lrtrain.runs import RunFolder
from lrtrain.sweeps.summary import SweepFolder, summarise

FAILED, REFUSED = 1, 2
NOTHING_CHOSEN = ("feedback=null", "experiment=null")
"""What our configuration says where nothing is chosen; Hydra takes no null from the command line."""

log = logging.getLogger("lrtrain")


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: 0 good, 1 the run failed, 2 the request was wrong, 128 + n after signal n.
    """
    try:
        with signals.taken_over():
            return _main()
    except InterruptedRunError as error:  # it came while another error was told of
        return _say(error, _code(error), with_trace=False)


def _main() -> int:
    args = get_args_parser().parse_args()
    processes.introduce()
    if args.help:
        print(help_text())
        return 0
    # Hydra turns every error into a printed trace and exit code 1; with this it raises them instead.
    asked = os.environ.get("HYDRA_FULL_ERROR", "")
    wants_trace = asked not in ("0", "") and os.environ.get("LOCAL_RANK", "0") == "0"  # others inherit our setting
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a trace
    SweepFolder.path = SweepFolder.run = None
    task, first = "", True
    try:
        _check_flags(args)
        if not (args.hydra_help or args.info or args.shell_completion):
            asked_now = [_left_out(word) for word in args.overrides]
            overrides = _with_those_of_the_run(asked_now, args.multirun)
            said = asked_now if overrides != asked_now else None
            request = Request(overrides, args.multirun, args.config_name or "config", args.config_dir, said)
            config = check_request(request)
            task, first = config["task"], processes.is_first(config["trainer"])
            check_policy(config)
            if config["resume"] and not check_resume(config):
                return 0
            if task == "train" and begins(config) and first and (place := _value("hydra.run.dir", overrides)):
                RunFolder(place).check_unused()  # before Hydra replaces what that run was asked for
            if overrides != args.overrides:
                sys.argv[1:] = [*(word for word in sys.argv[1:] if word not in args.overrides), *overrides]
        with nullcontext() if first else _folder_of_its_own():
            _hand_to_hydra(job if args.multirun else None)
    except (RequestError, InterruptedRunError, DivergedError, LostProcessError) as error:
        code = _code(error)
        if not first:
            return _leave_to_first(error, code)
        return _say(error, FAILED if SweepFolder.path and code == REFUSED else code, wants_trace)
    except FaultError as error:
        return _say(error, FAILED, wants_trace)
    except BrokenPipeError:  # whoever read our output, such as `head`, has had enough; nor can Python flush to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _say(error, FAILED, with_trace=True)
    finally:
        signals.defer()  # only the summary of a sweep is left
        os.environ["HYDRA_FULL_ERROR"] = asked or "0"
        if SweepFolder.path:
            _summarise(SweepFolder.path, task)
    return 0


def _check_flags(args: Namespace) -> None:
    """Refuse what Hydra could be told besides overrides and would fail on, or trust too much."""
    if args.experimental_rerun:
        raise RequestError("--experimental-rerun unpickles a file, which may run anything: give the overrides again")
    if args.config_path:
        raise RequestError("--config-path would leave out our configuration: give --config-dir=FOLDER, beside it")
    if (args.resolve or args.package) and not (args.cfg or args.info):
        raise RequestError("--resolve and --package say how the configuration is shown: add --cfg job")
    if args.config_dir and not Path(args.config_dir).is_dir():
        raise RequestError(f"--config-dir={args.config_dir}: there is no such folder")


def _leave_to_first(error: BaseException, code: int) -> int:
    """Let the first process of a run say what happened, and end first."""
    if processes.is_child():
        if isinstance(error, InterruptedRunError):
            processes.pass_on(error.signum)
        processes.outlive_first()
    return code


def _code(error: BaseException) -> int:
    if isinstance(error, InterruptedRunError):
        return 128 + error.signum
    return REFUSED if isinstance(error, RequestError) else FAILED


@contextmanager
def _folder_of_its_own() -> Iterator[None]:
    """Let Hydra make folders where they are in nobody's way: the first process of a run makes those that are kept."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="lrtrain-") as folder:
        own = [] if processes.is_child() else [f"hydra.run.dir={folder}"]  # Lightning tells its children the folder
        sys.argv[1:] = [*arguments, *own, "hydra.output_subdir=null"]
        try:
            yield
        finally:
            sys.argv[1:] = arguments


def _summarise(sweep: Path, task: str) -> None:
    """Show what came of all jobs of a sweep."""
    if task == "preview":
        from lrtrain.tasks.preview import overlay_jobs  # imports what only a preview needs

        overlay_jobs(sweep)
    else:
        summarise(sweep)


def _left_out(word: str) -> str:
    """An override that chooses nothing, as Hydra takes it."""
    return f"~{word.removesuffix('=null')}" if word in NOTHING_CHOSEN else word


def _with_those_of_the_run(overrides: list[str], multirun: bool) -> list[str]:
    """The overrides of this command, over those of the run that it comes back to, if it does."""
    if _value("task", overrides) in ("evaluate", "predict"):
        return _evaluating(overrides, multirun)
    return _resuming(overrides, multirun)


def _resuming(overrides: list[str], multirun: bool) -> list[str]:
    """The overrides of a run that is resumed: what it began with, what is asked for now, and its own folder."""
    wanted = _value("resume", overrides) or "null"
    if wanted == "null":
        return overrides
    if multirun:
        raise RequestError("resume goes on with one run; leave out -m")
    folder = find_run(wanted, Path("outputs"))
    merged = [word for word in merged_overrides(folder, overrides) if key_of(word) != "resume"]
    merged.append(f"resume={_quoted(folder.path)}")
    if _value("resume_plan", overrides) != "weights_only" and _value("task", overrides) != "preview":
        merged += [f"hydra.run.dir={_quoted(folder.path)}", f"hydra.output_subdir={folder.next_output_subdir}"]
    return merged


def _evaluating(overrides: list[str], multirun: bool) -> list[str]:
    """The overrides of a task that loads a checkpoint: what its run was asked for, what is asked for now, its file."""
    if multirun:
        raise RequestError(f"task={_value('task', overrides)} takes one checkpoint; leave out -m")
    checkpoint = find_checkpoint(_value("checkpoint", overrides) or "best", Path("outputs"))
    merged = [word for word in overrides_of(checkpoint, overrides) if key_of(word) != "checkpoint"]
    if not {"trainer.limit_test_batches", "experiment"} & set(map(key_of, overrides)):
        merged.append("trainer.limit_test_batches=1.0")  # what shortened a run says nothing of what it is asked now
    return [*merged, f"checkpoint={_quoted(checkpoint)}"]


def _value(key: str, overrides: list[str]) -> str | None:
    """What a key is set to last, without its quotes."""
    value = next((word.partition("=")[2].strip() for word in reversed(overrides) if key_of(word) == key), None)
    quoted = re.fullmatch("(['\"])(.*)\\1", value or "")
    return quoted[2].replace(f"\\{quoted[1]}", quoted[1]) if quoted else value


def _quoted(path: Path) -> str:
    """A path as Hydra reads it back: in quotes, where a backslash counts only before one."""
    if "${" in str(path):
        raise RequestError(f"{path} has ${{ in it, which Hydra would put something else for: rename that folder")
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", str(path)).replace("'", "\\'") + "'"


def _hand_to_hydra(task: Callable[[DictConfig], Any] | None) -> None:
    """Let Hydra make the folders and call the job; a single run's error is raised here, without Hydra's comment."""
    errors: list[Exception] = []

    @functools.wraps(job)
    def single(config: DictConfig) -> float | None:
        try:
            return job(config)
        except Exception as error:
            errors.append(error)
            return None

    try:
        hydra.main(config_path=str(config_dir()), config_name="config", version_base="1.3")(task or single)()
    except BrokenPipeError:
        raise
    except Exception as error:
        known = isinstance(error, OSError | HydraException | OmegaConfBaseException)
        if task and not known:  # a job of a sweep
            raise
        if SweepFolder.run and SweepFolder.run.exists():
            RunFolder(SweepFolder.run).discard()
        if not isinstance(error, OSError):
            said = first_line(error) if known else f"{type(error).__name__}: {first_line(error)}"
            raise RequestError(said if known else f"Hydra cannot take its own settings so ({said})") from error
        where = error.filename or SweepFolder.run or SweepFolder.path
        raise RequestError(f"cannot write to {where} ({error.strerror}); say where by hydra.run.dir=FOLDER") from error
    if errors:
        raise errors[0]


def job(config: DictConfig) -> float | None:
    """One run: what Hydra calls once, or once for each job of a sweep."""
    settings = HydraConfig.get()
    folder, first = RunFolder(settings.runtime.output_dir), processes.is_first(config.trainer)
    try:
        signals.act()  # one may have come when the job before was all but done
        check_config(config)
        if config.resume_plan == "weights_only" and folder.path == Path(config.resume):
            raise RequestError("resume_plan=weights_only begins a new run: give it another hydra.run.dir")
        alone = processes.is_alone(config.trainer)
        waits = nullcontext() if alone else signals.answered_by(functools.partial(_answer, folder, first))
        with waits, signals.undisguised():
            return tasks.run(plain_config(config), folder)
    except InterruptedRunError:
        if first:
            _discard(folder)
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise FaultError(f"cannot write or read {error.filename or folder.path} ({error.strerror})") from error
    except Exception as error:
        if settings.mode == RunMode.MULTIRUN:
            print(f"job {settings.job.num} failed: {error}", file=sys.stderr)
        elif isinstance(error, RequestError):
            if first:
                _discard(folder)
            raise
        log.exception("%s", error)
        raise


def _discard(folder: RunFolder) -> None:
    """Remove what a run leaves that came to nothing, unless it is a job of a sweep."""
    settings = HydraConfig.get()
    if settings.mode != RunMode.MULTIRUN and not folder.begun:
        close_logs(folder.path)
        folder.discard(settings.output_subdir)


def _answer(folder: RunFolder, first: bool, number: int) -> NoReturn:
    """End this process on a signal while the others of its run are waited for."""
    error = InterruptedRunError(number, str(folder.path) if folder.last_checkpoint.exists() else None)
    try:
        if first:
            _discard(folder)
            _say(error, _code(error), with_trace=False)
        else:
            _leave_to_first(error, _code(error))
    finally:
        os._exit(_code(error))


def _say(error: BaseException, code: int, with_trace: bool) -> int:
    if with_trace:
        traceback.print_exception(error)
    print(f"lrtrain: {error}", file=sys.stderr)
    return code
