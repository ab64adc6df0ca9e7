"""The command line: `python -m lrtrain scheduler=inverse_time decay=0.01`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from lrtrain import __version__
from lrtrain.cli.exit import FAILED, GOOD, answer, answer_loss, code_of, leave_to_first, say
from lrtrain.cli.help import help_text
from lrtrain.cli.words import is_of_sweep, prepare
from lrtrain.errors import FaultError, InterruptedRunError, RequestError
from lrtrain.parameters.bound import Bound
from lrtrain.plan.history import read_history
from lrtrain.plan.start import Start
from lrtrain.process import ranks, signals
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import Summary
from lrtrain.tasks import Job, task


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words; None takes those of this process.

    Returns:
        The exit code: 0 good, 1 the run failed, 2 the request was wrong, 128 + n after signal n.
    """
    try:
        with signals.taken_over():
            return _answered(sys.argv[1:] if arguments is None else list(arguments))
    except InterruptedRunError as error:  # it came while another error was told of
        return say(error)


def _answered(arguments: list[str]) -> int:
    try:
        code = _run(arguments)
        if lost := _lost_output():
            raise FaultError(lost)
        return code
    except BrokenPipeError:  # whoever read our output, such as `head`, has had enough; nor can Python flush to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, InterruptedRunError) as error:
        if ranks.is_child():
            return leave_to_first(error)
        if isinstance(error, OSError) and error.filename is None and (lost := _lost_output("\n")):
            error = FaultError(lost)
        return say(error, with_trace=_wants_trace())


def _lost_output(probe: str = "") -> str | None:
    """Why what was printed cannot be written, such as to a full disk; it is not tried again when the process ends."""
    try:
        if sys.stdout:
            sys.stdout.write(probe)
            sys.stdout.flush()
        return None
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"cannot write what is to be printed ({error.strerror})"


def _run(arguments: list[str]) -> int:
    if "--version" in arguments:
        print(f"lrtrain {__version__}")
        return GOOD
    if {"--help", "-h"} & set(arguments):
        print(help_text([word for word in arguments if not word.startswith("-")]))
        return GOOD
    ranks.introduce()
    if order := ranks.read_order():
        return _do(task("train"), _ordered(order))
    from lrtrain.cli.compose import Composer, parse_arguments, show_hydra  # what --help does without

    dry = "--dry-run" in arguments
    flags = parse_arguments([argument for argument in arguments if argument != "--dry-run"])
    if dry and not flags.multirun:
        raise RequestError("--dry-run lists the jobs of a sweep: add -m")
    _check_flags(flags)
    if flags.hydra_help or flags.info or flags.shell_completion:
        show_hydra(arguments)
        return GOOD
    words = prepare(flags.overrides, multirun=flags.multirun)
    if not flags.multirun and (of_sweep := [word for word in words if is_of_sweep(word)]):
        raise RequestError(f"{of_sweep[0]} is a word of a sweep: add -m")
    with Composer(flags.config_dir) as composer:
        if flags.multirun:
            from lrtrain.cli.sweep import sweep

            return sweep(composer, flags, words, dry=dry)
        from lrtrain.cli.request import read_request

        request = read_request(composer, words)
    if flags.cfg:
        show_hydra([word for word in arguments if word not in flags.overrides] + words)
        return GOOD
    if request.nothing_left:
        print(request.nothing_left)
        return GOOD
    return _do(request.task, request.job)


def _do(task: Bound, job: Job) -> int:
    """Do a job; returns the exit code."""
    alone = job.settings.trainer.is_alone
    try:
        with (
            nullcontext() if alone else signals.answered_by(answer),
            ranks.loss_answered_by(answer_loss),
            signals.undisguised(),
        ):
            summary: Summary = task.make(job)
    except (Exception, InterruptedRunError) as error:
        if ranks.is_first(alone):  # of independent jobs under srun, each speaks for itself
            raise
        return leave_to_first(error)
    if summary.exception is None:
        return code_of(summary)
    if not ranks.is_first(alone):
        return leave_to_first(summary.exception)
    return say(summary.exception, with_trace=_wants_trace())


def _ordered(order: ranks.Order) -> Job:
    """What this process is to take part in; its settings are those that the first one has written down."""
    settings = read_history(RunFolder(order.folder).history)[-1].settings
    start = Start(RunFolder(order.source) if order.source else None, None, order.resumes)
    return Job(settings, Path(order.folder), start)


def _check_flags(flags: Namespace) -> None:
    """Refuse what Hydra could be told besides overrides and would fail on, or trust too much."""
    if flags.experimental_rerun:
        raise RequestError("--experimental-rerun unpickles a file, which may run anything: give the overrides again")
    if flags.config_name:
        raise RequestError(f"--config-name={flags.config_name}: write experiment={flags.config_name} and --config-dir")
    if flags.config_path:
        raise RequestError("--config-path would leave out our configuration: give --config-dir=FOLDER, beside it")
    if flags.cfg and flags.multirun:
        raise RequestError("--cfg shows the configuration of one job; leave out -m")
    asked = [f"{act}={shell}" for act in ("install", "query", "uninstall") for shell in ("bash", "fish", "zsh")]
    if flags.shell_completion and not (len(flags.overrides) == 1 and flags.overrides[0] in asked):
        raise RequestError("--shell-completion needs install=bash, install=fish or install=zsh")
    if (flags.resolve or flags.package) and not (flags.cfg or flags.info):
        raise RequestError("--resolve and --package say how the configuration is shown: add --cfg job")
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise RequestError(f"--config-dir={flags.config_dir}: there is no such folder")


def _wants_trace() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "") not in ("", "0")
