"""What came of a run: one type, one reader, one writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from lrtrain import notebook
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Checked
from lrtrain.parameters.rules import Count, ListOf, Number, OrNull, Table, Text
from lrtrain.parameters.signatures import defaults
from lrtrain.run_folder.files import read_text, write_json

FORMAT = 3
GOOD = ("finished", "stopped")
"""The statuses of a run that came to an end that is one."""
BAD = ("failed", "diverged")
"""Those of one that failed."""
_UNWRITTEN = {"extra", "folder", "exception"}

Texts = Annotated[str | None, OrNull(Text())]
Values = Annotated[Mapping[str, Any], Table()]


@dataclass(frozen=True, kw_only=True, repr=False)
class Summary(Checked):
    """What was asked for and what came of it.

    Args:
        status: finished, stopped, pruned, failed, diverged or interrupted
        ended_by: end, early_stop, max_time, or a signal such as SIGTERM
        error: one line on what went wrong
        task: that wrote this
        strategy: its name
        schedule: what the rate did, in one line
        seed: of the weights and the data order
        steps: optimizer updates done
        epochs: completed
        wall_s: seconds that the last part took, from start to end; of runs that trained as one, each its share
        started: when that was, UTC
        ended: likewise
        host: the machine's name
        commit: of the repository that the command was given in, with -dirty where files differ from it
        command: that the run was asked for by, with what it was told when it was gone on with
        parameters: of the model, how many
        lr: the first and the last rate
        monitor: the metric that decides which weights are best
        best: metrics of the best weights, by name
        final: metrics of the final weights
        checkpoints: the files by name, relative to the folder
        versions: of the packages
        data: what the data was
        findings: what is odd about the run, the most urgent first, each with its name, evidence and command
        config: the settings, as plain values
        extra: what tasks other than train add, and keys that this version does not know
        folder: where it is
        exception: what ended the run, in the process where it did
    """

    PATH: ClassVar[str] = "summary.json: "

    status: Annotated[str, Text()]
    ended_by: Texts = None
    error: Texts = None
    task: Annotated[str, Text()] = "train"
    strategy: Texts = None
    schedule: Texts = None
    seed: Annotated[int | None, OrNull(Number(integer=True))] = None
    steps: Count = 0
    epochs: Annotated[float, Number(low=0)] = 0
    wall_s: Annotated[float, Number(low=0)] = 0.0
    started: Texts = None
    ended: Texts = None
    host: Texts = None
    commit: Texts = None
    command: Texts = None
    parameters: Annotated[int | None, OrNull(Number(low=0, integer=True))] = None
    lr: Values = field(default_factory=dict)
    monitor: Texts = None
    best: Values = field(default_factory=dict)
    final: Values = field(default_factory=dict)
    checkpoints: Values = field(default_factory=dict)
    versions: Values = field(default_factory=dict)
    data: Values = field(default_factory=dict)
    findings: Annotated[tuple[Mapping[str, str], ...], ListOf(Table())] = ()
    config: Values = field(default_factory=dict)
    extra: Values = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)
    exception: BaseException | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        best = "".join(f", best {name} {value:.4g}" for name, value in self.best.items() if name == self.monitor)
        return f"<{self.folder}: {self.status}{best}; {self.error or self.schedule or self.task}>"

    def _repr_html_(self) -> str:
        weights = {which: values for which, values in (("best", self.best), ("final", self.final)) if values}
        names = dict.fromkeys(
            name for values in weights.values() for name in values if name.startswith(("val_", "test_"))
        )
        rows = [[*(_shown(values.get(name)) for name in names), which] for which, values in weights.items()]
        ended = ", ".join(filter(None, (self.status, self.error or self.schedule or self.task)))
        tells = (" ".join(filter(None, (each["evidence"], each["command"]))) for each in self.findings)
        shown = notebook.table([*names, "weights"], rows) if rows else ""
        return notebook.text(ended) + shown + notebook.text(*tells, str(self.folder or ""))

    @property
    def is_good(self) -> bool:
        """Whether the run came to an end that is one."""
        return self.status in GOOD

    def plain(self) -> dict[str, Any]:
        """As it is written, the format first."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _UNWRITTEN}
        own["epochs"] = int(self.epochs) if self.epochs == int(self.epochs) else self.epochs
        return {"format": FORMAT, **own, **{name: value for name, value in self.extra.items() if name not in own}}

    def write(self, path: Path) -> None:
        """Replace the file; a crash leaves the old version or the new one."""
        write_json(path, self.plain())


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def read_summary(path: Path) -> Summary:
    """The summary in a file, of this format or an older one.

    Raises:
        FileNotFoundError: There is none.
        RequestError: It is damaged, or of a newer format.
    """
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} cannot be read: {error}") from None
    written = values.pop("format", 1) if isinstance(values, dict) else None
    if type(written) is not int or written < 1 or "status" not in values:
        raise RequestError(f"{path} is not a summary")
    if written > FORMAT:
        raise RequestError(f"{path} was written by a newer lrtrain (format {written}): update this one")
    for number in range(written, FORMAT):
        values = UPGRADES[number](values)
    names = defaults(Summary).keys() - _UNWRITTEN
    known = {name: value for name, value in values.items() if name in names}
    return Summary(
        **known, folder=path.parent, extra={name: value for name, value in values.items() if name not in names}
    )


def _from_1(values: dict[str, Any]) -> dict[str, Any]:
    """Before there was a format, and `ended_by`."""
    return {"ended_by": "end" if values.get("status") == "finished" else None, **values}


def _from_2(values: dict[str, Any]) -> dict[str, Any]:
    """When a finding was a line."""
    lines = values.get("findings", ())
    return {**values, "findings": [{"name": "note", "evidence": line, "command": ""} for line in lines]}


UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
"""What makes a summary of each format one of the next."""
