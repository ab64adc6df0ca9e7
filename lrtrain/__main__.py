"""The command line: `python -m lrtrain scheduler=inverse_time decay=0.01`."""

from __future__ import annotations

import functools
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lrtrain import tasks
from lrtrain.configs import config_dir
from lrtrain.errors import DivergedError, InterruptedRunError, RequestError
from lrtrain.help import help_text
from lrtrain.request import Request, check_config, check_request, plain_config
from lrtrain.resume import check_policy, check_resume, find_checkpoint, find_run, merged_overrides, overrides_of
from lrtrain.runs import RunFolder
from lrtrain.sweeps.summary import SweepFolder, summarise

FAILED, REFUSED = 1, 2
log = logging.getLogger("lrtrain")


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: 0 good, 1 the run failed, 2 the request was wrong.
    """
    args = get_args_parser().parse_args()
    if args.help:
        print(help_text())
        return 0
    # Hydra turns every error into a printed trace and exit code 1; with this it raises them instead.
    asked = os.environ.get("HYDRA_FULL_ERROR", "")
    wants_trace = asked not in ("0", "") and os.environ.get("LOCAL_RANK", "0") == "0"  # others inherit our setting
    os.environ["HYDRA_FULL_ERROR"] = "1"
    SweepFolder.path, task = None, ""
    try:
        if not (args.hydra_help or args.info or args.shell_completion or args.experimental_rerun):
            overrides = _with_those_of_the_run(args.overrides, args.multirun)
            request = Request(overrides, args.multirun, args.config_name or "config", args.config_dir)
            config = check_request(request)
            task = config["task"]
            check_policy(config)
            if config["resume"] and not check_resume(config):
                return 0
            if overrides != args.overrides:
                sys.argv[1:] = [*(word for word in sys.argv[1:] if word not in args.overrides), *overrides]
        _hand_to_hydra(job if args.multirun else None)
    except RequestError as error:
        return _say(error, FAILED if SweepFolder.path else REFUSED, wants_trace)
    except InterruptedRunError as error:
        return _say(error, 128 + error.signum, wants_trace)
    except DivergedError as error:
        return _say(error, FAILED, wants_trace)
    except KeyboardInterrupt:
        return _say(RuntimeError("interrupted before there was anything to save"), 128 + signal.SIGINT, wants_trace)
    except BrokenPipeError:  # whoever read our output, such as `head`, has had enough; nor can Python flush to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _say(error, FAILED, with_trace=True)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = asked or "0"
        if SweepFolder.path:
            _summarise(SweepFolder.path, task)
    return 0


def _summarise(sweep: Path, task: str) -> None:
    """Show what came of all jobs of a sweep."""
    if task == "preview":
        from lrtrain.tasks.preview import overlay_jobs  # imports what only a preview needs

        overlay_jobs(sweep)
    else:
        summarise(sweep)


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
    merged = [word for word in merged_overrides(folder, overrides) if not word.startswith("resume=")]
    merged.append(f"resume={_quoted(folder.path)}")
    if "resume_plan=weights_only" not in overrides and _value("task", overrides) != "preview":
        earlier = len(list((folder.path / ".hydra").glob("resumed_*")))
        merged += [f"hydra.run.dir={_quoted(folder.path)}", f"hydra.output_subdir=.hydra/resumed_{earlier + 1}"]
    return merged


def _evaluating(overrides: list[str], multirun: bool) -> list[str]:
    """The overrides of a task that loads a checkpoint: what its run was asked for, what is asked for now, its file."""
    if multirun:
        raise RequestError(f"task={_value('task', overrides)} takes one checkpoint; leave out -m")
    checkpoint = find_checkpoint(_value("checkpoint", overrides) or "best", Path("outputs"))
    merged = [word for word in overrides_of(checkpoint, overrides) if not word.startswith("checkpoint=")]
    return [*merged, f"checkpoint={_quoted(checkpoint)}"]


def _value(key: str, overrides: list[str]) -> str | None:
    """What a key is set to last, without its quotes."""
    value = next((word.partition("=")[2] for word in reversed(overrides) if word.startswith(f"{key}=")), None)
    quoted = re.fullmatch("(['\"])(.*)\\1", value or "")
    return quoted[2].replace(f"\\{quoted[1]}", quoted[1]) if quoted else value


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


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

    hydra.main(config_path=str(config_dir()), config_name="config", version_base="1.3")(task or single)()
    if errors:
        raise errors[0]


def job(config: DictConfig) -> float | None:
    """One run: what Hydra calls once, or once for each job of a sweep."""
    settings = HydraConfig.get()
    folder = RunFolder(settings.runtime.output_dir)
    try:
        check_config(config)
        return tasks.run(plain_config(config), folder)
    except Exception as error:
        if settings.mode == RunMode.MULTIRUN:
            print(f"job {settings.job.num} failed: {error}", file=sys.stderr)
        elif isinstance(error, RequestError):
            _discard(folder.path)
            raise
        log.exception("%s", error)
        raise


def _discard(folder: Path) -> None:
    """Remove the folder of a request that was refused after Hydra had made it."""
    if not any((folder / name).exists() for name in ("metrics.csv", "summary.json", "checkpoints")):
        shutil.rmtree(folder)
        for parent in list(folder.parents)[:2]:  # the day and outputs, where this was the first run in them
            if "outputs" in (parent.name, parent.parent.name) and not any(parent.iterdir()):
                parent.rmdir()


def _say(error: Exception, code: int, with_trace: bool) -> int:
    if with_trace:
        traceback.print_exception(error)
    print(f"lrtrain: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
