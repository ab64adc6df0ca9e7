"""Results of many short trainings, made by several processes, each kept as soon as it is there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

Key = tuple[Any, ...]
"""What a result is the result of, such as a task, an optimizer and a seed; of plain values."""


class Kept:
    """Results by key, in a file with a JSON line for each.

    Args:
        file: What it holds is not made again; a last line that was cut off counts for nothing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):
            file.write_text("".join(whole))
        self.found: dict[Key, Any] = {tuple(row["key"]): row["value"] for row in map(json.loads, whole)}

    def make(self, make: Callable[[Key], Any], keys: Iterable[Key], workers: int, minutes: float | None) -> None:
        """Make what is missing, in the order of the keys; what fails is told, and tried again by the next call.

        Args:
            make: A function of a module, called in processes that are started anew.
            keys: Of all results.
            workers: How many processes.
            minutes: After which no other result is begun.
        """
        missing = [key for key in keys if key not in self.found]
        waiting, begun, count = iter(missing), time.monotonic(), 0
        running: dict[Future[Any], Key] = {}
        with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
            while True:
                late = minutes is not None and time.monotonic() - begun > 60 * minutes
                for key in islice(waiting, 0 if late else workers - len(running)):
                    running[pool.submit(make, key)] = key
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._keep(running.pop(future), future)
                    count += 1
                    if count % 50 == 0:
                        print(f"{count} of {len(missing)} in {time.monotonic() - begun:.0f} s", flush=True)

    def _keep(self, key: Key, future: Future[Any]) -> None:
        try:
            line = json.dumps({"key": key, "value": future.result()})
        except BrokenProcessPool:
            raise
        except Exception as error:  # whatever a training can raise: the others go on
            print(f"failed: {key}: {error!r}", flush=True)
            return
        with self._file.open("a") as file:
            file.write(line + "\n")
        self.found[key] = json.loads(line)["value"]


def _end_with_parent() -> None:
    """End this process when the one that started it does, even if that is killed."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
