"""Workers beyond this machine, on a disk that all share: tasks of SLURM, through submitit, or of a Ray cluster."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from lrtrain.errors import FaultError, RequestError, first_line
from lrtrain.process import parent

OF_SUBMITIT = ("name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "nodes", "tasks_per_node")
"""The parameters that submitit takes for any kind of cluster; others are of SLURM alone, such as partition."""
MINUTES = 60
"""That a SLURM job asks for where nothing is said; it is put back into the queue as often as it takes."""
AGAIN = 10_000
EVERY = 0.2
"""Seconds between two looks at the process of a worker."""


class Process(Protocol):
    """A worker, wherever it runs."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs or waits for its turn."""

    def send_signal(self, number: int, /) -> object:
        """Have it save what it does, and end."""

    def wait(self) -> object:
        """Wait for its end."""


class Task:
    """A worker as a process of its own, inside the task of a cluster: where that is to end, it saves what it does.

    Args:
        command: Of the worker.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Work until nothing is left; returns the exit code."""
        alone = dict.fromkeys((name for name in os.environ if name.startswith("SLURM_")), None)
        self._child = parent.start(self.command, alone)  # a run in it is none of SLURM's several processes
        try:
            while (code := self._child.poll()) is None:
                time.sleep(EVERY)
            return code
        finally:
            self._end()

    def checkpoint(self) -> object:
        """End the worker; what submitit puts back into the queue, as SLURM announces that the time is up."""
        self._end()
        return _load("submitit", "slurm").helpers.DelayedSubmission(self)

    def _end(self) -> None:
        """Wait for the child without `Popen.wait`, whose lock the code that a signal has interrupted may hold."""
        with suppress(ProcessLookupError, ChildProcessError):
            if self._child:
                os.kill(self._child.pid, signal.SIGTERM)
                os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)

    def __getstate__(self) -> dict[str, Any]:
        return {"command": self.command, "_child": None}


def check_workers(workers: str, parameters: Mapping[str, Any]) -> None:
    """Refuse workers that cannot be started.

    Args:
        workers: ``local``, ``slurm`` or ``ray``.
        parameters: Of a SLURM job, by submitit's names.

    Raises:
        RequestError: What they need is not installed, or a parameter is wrong.
    """
    if workers == "ray" and importlib.util.find_spec("ray") is None:
        _load("ray", "ray")
    if workers == "slurm":
        with tempfile.TemporaryDirectory() as logs:
            _executor(Path(logs), parameters)


def submit(command: Sequence[str], count: int, logs: Path, parameters: Mapping[str, Any]) -> list[Any]:
    """Submit so many workers to SLURM, as one job array; where there is no SLURM, submitit starts local processes.

    Args:
        command: Of a worker.
        count: How many.
        logs: The folder of what they print.
        parameters: Of each job, by submitit's names.

    Returns:
        The jobs, as submitit has them.

    Raises:
        FaultError: SLURM does not take the jobs.
    """
    executor = _executor(logs, parameters)
    try:
        with executor.batch():
            return [executor.submit(Task(command)) for _ in range(count)]
    except _load("submitit", "slurm").core.utils.FailedJobError as error:
        raise FaultError(f"SLURM does not take the jobs: {first_line(error)}") from error


def _executor(logs: Path, parameters: Mapping[str, Any]) -> Any:
    submitit = _load("submitit", "slurm")
    told = {"name": "lrtrain", "timeout_min": MINUTES} | {
        key if key in OF_SUBMITIT else f"slurm_{key}": value for key, value in parameters.items()
    }
    try:
        executor = submitit.AutoExecutor(logs, slurm_max_num_timeout=AGAIN, local_max_num_timeout=AGAIN)
        executor.update_parameters(**told)
        return executor
    except (NameError, AssertionError, TypeError, ValueError) as error:  # what submitit says of them
        raise RequestError(f"slurm= is not as submitit takes it: {first_line(error)}") from error


def place_of_tasks() -> str:
    """Where submitted workers run, in words."""
    has_slurm = _load("submitit", "slurm").AutoExecutor.which() == "slurm"
    return "tasks of SLURM" if has_slurm else "processes of this machine, which has no SLURM"


class Submitted:
    """A worker that SLURM runs.

    Args:
        job: As submitit has it.
    """

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        """Its exit code, or None while it runs or waits for its turn."""
        if not self._job.done():
            return None
        return 1 if self._job.exception() else int(self._job.result())

    def send_signal(self, number: int, /) -> None:
        """Cancel it, upon which SLURM has it save what it does."""
        self._job.cancel(check=False)

    def wait(self) -> None:
        """Wait for nothing: it saves what it does wherever it is."""


def connect_to_ray(command: Sequence[str]) -> Callable[[int], Process]:
    """Connect to the Ray cluster that is there, or begin one on this machine; gives what starts a worker in it."""
    ray = _load("ray", "ray")
    before = signal.getsignal(signal.SIGTERM)
    quietly = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="auto", **quietly)
    except ConnectionError:  # there is none
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", include_dashboard=False, **quietly)
    signal.signal(signal.SIGTERM, before)
    has_devices = ray.cluster_resources().get("GPU", 0) > 0
    task = ray.remote(num_cpus=1, num_gpus=int(has_devices), max_retries=0)(_work)
    return lambda _: OfRay(ray, task.remote(tuple(command)))


def _work(command: Sequence[str]) -> int:
    return Task(command)()


class OfRay:
    """A worker that a Ray cluster runs.

    Args:
        ray: The module.
        result: What it will return.
    """

    def __init__(self, ray: ModuleType, result: Any) -> None:
        self._ray, self._result = ray, result

    def poll(self) -> int | None:
        """Its exit code, or None while it runs or waits for its turn."""
        if not self._ray.wait([self._result], timeout=0)[0]:
            return None
        try:
            return int(self._ray.get(self._result))
        except self._ray.exceptions.RayError:  # it was killed
            return -signal.SIGKILL

    def send_signal(self, number: int, /) -> None:
        """Cancel it, upon which it saves what it does."""
        self._ray.cancel(self._result)

    def wait(self) -> None:
        """Wait for its end."""
        self._ray.wait([self._result])


def _load(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise RequestError(f'workers={extra} needs {module}: pip install "lrtrain[{extra}]"') from None
