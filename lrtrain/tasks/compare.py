"""task=compare: which strategy is best, of runs that were made; imports no torch."""

from __future__ import annotations

import shlex
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from lrtrain import __version__
from lrtrain.errors import RequestError
from lrtrain.evidence.verdict import Comparison, Trial, compare, rank
from lrtrain.evidence.words import describe, wanted_seeds
from lrtrain.parameters.bound import flat
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.rules import Either, ListOf, Number, OptionalText, OrNull, Text
from lrtrain.parameters.signatures import Affects
from lrtrain.report.comparison import print_comparisons, write_comparisons
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import read_table
from lrtrain.run_folder.find import find_runs
from lrtrain.run_folder.folder import SWEEP
from lrtrain.run_folder.summary import Summary, read_summary
from lrtrain.run_folder.sweep_folder import SweepFolder
from lrtrain.settings import Metric, Settings
from lrtrain.tasks import Job

JUDGES = {"val_loss": "test_loss", "val_acc": "test_acc"}
"""What judges a strategy whose setting was chosen by the metric before it."""

KINDS = ("model.name", "dataset.name")
"""Whose values are compared apart."""


def run(
    job: Job,
    /,
    *,
    runs: Annotated[str | Sequence[str], Either((ListOf(Text(), least=1), Text()))] = "outputs",
    by: Annotated[str | Sequence[str], Either((ListOf(Text(), least=1), Text()))] = ("scheduler",),
    metric: OptionalText = None,
    margin: Annotated[float | None, OrNull(Number(low=0))] = None,
    pair_by: Annotated[str, Text()] = "seed",
) -> Summary:
    """Compare strategies, each at its best setting, paired by seed; print a paragraph and a table, and write them.

    Args:
        runs: a folder of runs, such as that of a sweep, or a CSV file with a row for each run; or several
        by: the keys, or columns, that make a strategy, such as [scheduler,optimizer.name]
        metric: what they are judged by; null takes test_loss where val_loss was monitored, and so on
        margin: within which two are tied: a share of a loss, or in the metric's unit; null takes a seed's own sd
        pair_by: the key, or column, that says which runs of two strategies belong together

    Raises:
        RequestError: There are no runs to compare, or they do not say what is asked of them.
    """
    began, places = time.perf_counter(), [Path(each) for each in _several(runs)]
    mode = job.settings.monitor_mode
    found = compare_runs(places, _several(by), metric=metric, mode=mode, margin=margin, pair_by=pair_by)
    ranks = rank(found)
    with ClaimedFolder(job.folder, locks=job.locks) as folder:
        folder.check_unused()
        folder.write_request(job.asked)
        write_comparisons(found, ranks, folder.path)
        summary = Summary(
            status="finished",
            ended_by="end",
            task="compare",
            wall_s=round(time.perf_counter() - began, 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={"lrtrain": __version__},
            folder=folder.path,
            extra={"runs": [str(place.absolute()) for place in places], "words": [describe(each) for each in found]},
        )
        summary.write(folder.summary)
        folder.begun = True
    print_comparisons(found, ranks)
    print(folder.path)
    return summary


def compare_runs(
    places: Sequence[Path],
    by: Sequence[str] = ("scheduler",),
    *,
    metric: str | None = None,
    mode: str = "auto",
    margin: float | None = None,
    pair_by: str = "seed",
) -> list[Comparison]:
    """The comparisons of all trainings below some folders or in files, one for each model and dataset; see `run`."""
    records = [record for place in places for record in _records(place)]
    if not records:
        raise RequestError(f"there is no training below {', '.join(map(str, places))} that has ended")
    monitor = _monitored(records, metric, mode)
    judge = _judge(metric, mode, monitor)
    _check_keys(records, (*by, pair_by), judge.name)
    several = [kind for kind in KINDS if kind not in by and len({record.config.get(kind) for record in records}) > 1]
    tables: dict[tuple[str, ...], list[_Record]] = {}
    for record in records:
        tables.setdefault(tuple(str(record.config.get(kind)) for kind in several), []).append(record)
    all_found = []
    for names, own in sorted(tables.items()):
        found = compare(
            _trials(own, by, pair_by, monitor.name, judge.name),
            metric=judge.name,
            mode=judge.mode,
            chooser=monitor.name,
            chooser_mode=monitor.mode,
            by=by,
            margin=margin,
        )
        found = replace(found, of=dict(zip(several, names, strict=True)))
        all_found.append(replace(found, more=_command(places, found)))
    return all_found


class _Record(NamedTuple):
    """One run, wherever it was found.

    Attributes:
        config: What it was, by whole keys.
        metrics: Of its best weights, by name; nothing where it failed.
        monitor: What chose these weights; None where that is not known.
        seconds: It took.
        ended: When, as text that sorts.
    """

    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    monitor: str | None
    seconds: float
    ended: str


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _records(place: Path) -> Iterator[_Record]:
    """All trainings that have ended."""
    if place.is_file():
        yield from _rows(place)
        return
    if not place.is_dir():
        raise RequestError(f"runs={place}: there is no such folder or file")
    for folder in find_runs(place):
        try:
            summary = read_summary(folder.summary)
        except (FileNotFoundError, RequestError):  # it has not come to that, or is damaged
            continue
        if summary.task == "train" and summary.monitor:
            config = {**flat(summary.config), "scheduler": summary.strategy}
            metrics = summary.best if summary.is_good else {}
            yield _Record(config, metrics, summary.monitor, summary.wall_s, str(summary.ended))


def _rows(file: Path) -> Iterator[_Record]:
    """The runs of a table, each column a key and, where it holds a number, a metric."""
    for row in read_table(file):
        values: dict[str, Any] = dict(row)
        numbers = {}
        for key, text in row.items():
            with suppress(ValueError, TypeError):
                values[key] = numbers[key] = int(text) if text.isdecimal() else float(text)
        yield _Record(values, numbers, None, 0.0, "")


def _monitored(records: Sequence[_Record], metric: str | None, mode: str) -> Metric:
    """The metric that all have monitored; of a table, that which judges."""
    names = {record.monitor for record in records}
    if len(names) > 1:
        raise RequestError(f"the runs have monitored {', '.join(sorted(map(str, names)))}: compare those of one metric")
    name = names.pop() or metric
    if name is None:
        raise RequestError("say by metric=COLUMN what the runs of a table are judged by")
    if name == metric:
        return _judge(metric, mode, Metric(name, ""))
    return Metric.of(name, str(records[0].config.get("monitor_mode", "auto")))


def _judge(metric: str | None, mode: str, monitor: Metric) -> Metric:
    """The metric that judges."""
    if metric is None:
        return monitor._replace(name=JUDGES.get(monitor.name, monitor.name))
    if (found := Metric.of(metric, mode)).mode:
        return found
    raise RequestError(f"metric={metric}: set monitor_mode=min or max: is less or more of it better?")


def _check_keys(records: Sequence[_Record], keys: Sequence[str], judge: str) -> None:
    known = dict.fromkeys(key for record in records for key in record.config)
    if unknown := [key for key in keys if key not in known]:
        raise RequestError(f"no run has a key {unknown[0]}; {nearest(unknown[0], list(known))}")
    measured = dict.fromkeys(key for record in records for key in record.metrics if key not in ("epoch", "step"))
    if measured and judge not in measured:
        raise RequestError(f"no run has measured {judge}: write metric=NAME; there are {', '.join(measured)}")


def _trials(records: Sequence[_Record], by: Sequence[str], pair_by: str, chooser: str, judge: str) -> list[Trial]:
    """The runs as they count; of two with the same settings, the one that ended last."""
    own: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        own.setdefault(_name(record, by), []).append(record.config)
    changes_nothing = {key for key, affects in Settings().effects().items() if affects is Affects.NOTHING}
    others = changes_nothing.union(by, (pair_by, chooser, judge))
    varied = {name: _varied(configs, others) for name, configs in own.items()}
    trials = {}
    for record in sorted(records, key=lambda record: record.ended):
        name, seed = _name(record, by), record.config.get(pair_by)
        setting = tuple((key, record.config.get(key)) for key in varied[name])
        values = record.metrics.get(chooser), record.metrics.get(judge)
        trials[name, str(setting), str(seed)] = Trial(name, setting, seed, *values, record.seconds)
    return list(trials.values())


def _name(record: _Record, by: Sequence[str]) -> str:
    values, alone = {key: record.config.get(key) for key in by}, len(by) == 1
    return " ".join(f"{value}" if alone or key == "scheduler" else f"{key}={value}" for key, value in values.items())


def _varied(configs: Sequence[Mapping[str, Any]], others: Container[str]) -> list[str]:
    """What tells runs of one strategy from each other, but for some keys."""
    keys = dict.fromkeys(key for config in configs for key in config if key not in others)
    return [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]


def _command(places: Sequence[Path], found: Comparison) -> str | None:
    """The command that gives a sweep the seeds that would settle what is open."""
    count = wanted_seeds(found)
    if count is None or len(places) > 1 or not (places[0] / SWEEP).exists():
        return None
    new = [*found.seeds, *(seed for seed in range(count + len(found.seeds)) if seed not in found.seeds)][:count]
    try:
        words = SweepFolder(places[0]).read().command
    except RequestError:
        return None
    if any(word.startswith("seed=") for word in words):
        asked = [f"resume={places[0]}"]
    else:  # a sweep without seeds cannot be given some
        asked = [word for word in words if not word.startswith("hydra.sweep.dir=")]
    return f"python -m lrtrain -m {shlex.join(asked)} seed={','.join(map(str, new))}"
