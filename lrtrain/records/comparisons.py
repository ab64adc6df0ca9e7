"""The comparison of a set of runs, or several where they had different models or data."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lrtrain.errors import RequestError
from lrtrain.evidence.selection import Trial
from lrtrain.evidence.speed import Curve
from lrtrain.evidence.verdict import Comparison, Measure, compare
from lrtrain.parameters.nearest import nearest
from lrtrain.parameters.signatures import Affects
from lrtrain.records.record import RUN, UNREAD, Record
from lrtrain.run_folder.summary import BAD
from lrtrain.settings import Metric, Settings

KINDS = ("model.name", "dataset.name")
"""Whose values are compared apart."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of runs.

    Attributes:
        by: The keys that make a strategy.
        metric: That judges; None takes the test's counterpart of what was monitored.
        mode: Whether less or more of the metric is better; auto knows losses, errors and accuracies.
        margin: Within which two are tied; None takes a seed's own sd.
        target: That epochs are counted to; None takes what the strategy in the middle comes to.
        pair_by: The key that says which runs of two strategies belong together.
    """

    by: Sequence[str] = ("scheduler",)
    metric: str | None = None
    mode: str = "auto"
    margin: float | None = None
    target: float | None = None
    pair_by: str = "seed"


class Compared(NamedTuple):
    """A comparison with what it stands on.

    Attributes:
        found: What the runs say.
        runs: Each of them, as it is kept and as it counts.
    """

    found: Comparison
    runs: Sequence[tuple[Record, Trial]]

    @property
    def best_runs(self) -> list[list[Record]]:
        """Those that each strategy is judged by, in the order of the strategies."""
        own: dict[str, list[Record]] = {each.name: [] for each in self.found.strategies}
        settings = {each.name: each.settings for each in self.found.strategies}
        for record, trial in self.runs:
            name, seeds = trial.strategy, self.found.seeds
            if name in own and dict(trial.setting) == settings[name] and trial.seed in seeds:
                own[name].append(record)
        return list(own.values())


def compare_records(records: Sequence[Record], asked: Question) -> list[Compared]:
    """The comparisons, one for each model and dataset.

    Runs that have not ended, or were pruned, do not count; those that failed do.

    Raises:
        RequestError: There is nothing to compare, or the runs do not know what is asked of them.
    """
    known = [record for record in records if record.config and (record.metrics or record.status in BAD)]
    if not known:
        raise RequestError("there is no training that has ended")
    monitor = _monitored(known, asked)
    judge = _judge(known, asked, monitor)
    _check_keys(known, (*asked.by, asked.pair_by), judge.name)
    unread = [record for record in records if record.status == UNREAD]
    lost = sum(not record.config for record in records) - len(unread)
    said = [f"{lost} of {len(records)} runs failed before they had begun, and are in no table"] if lost else []
    if unread:
        first = f"{unread[0].name}: {unread[0].error}"
        said.append(f"{len(unread)} of {len(records)} runs do not say how they ended, and are in no table ({first})")
    several, tables = _apart(known, asked.by)
    all_compared = []
    for names, own in tables.items():
        runs = _as_trials(own, asked, monitor.name, judge.name)
        found = compare(
            [trial for _, trial in runs],
            judge=Measure(*judge),
            chooser=Measure(*monitor),
            by=asked.by,
            margin=asked.margin,
            target=asked.target,
        )
        of = dict(zip(several, names, strict=True))
        all_compared.append(Compared(replace(found, of=of, warnings=(*found.warnings, *said)), runs))
    return all_compared


def _apart(records: Sequence[Record], by: Sequence[str]) -> tuple[list[str], dict[tuple[str, ...], list[Record]]]:
    """The keys whose values are compared apart, and the runs by these values."""
    keys = [kind for kind in KINDS if kind not in by and len({record.config.get(kind) for record in records}) > 1]
    tables: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        tables.setdefault(tuple(str(record.config.get(key)) for key in keys), []).append(record)
    return keys, dict(sorted(tables.items()))


def _as_trials(records: Sequence[Record], asked: Question, chooser: str, judge: str) -> list[tuple[Record, Trial]]:
    """The runs as they count; of two with the same settings, the one that ended last."""
    own: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        own.setdefault(_name(record, asked.by), []).append(record.config)
    inert = {key for key, affects in Settings().effects().items() if affects is Affects.NOTHING}
    keys = dict.fromkeys(key for record in records for key in record.config)
    within = {key for key in keys if key.partition(".")[0] in inert}
    others = {*inert, *within, *asked.by, asked.pair_by, chooser, judge, RUN}
    varied = {name: _varied(configs, others) for name, configs in own.items()}
    trials = {}
    for record in sorted(records, key=lambda record: record.ended):
        name = _name(record, asked.by)
        setting = tuple((key, _as_key(record.config.get(key))) for key in varied[name])
        trial = Trial(
            strategy=name,
            setting=setting,
            seed=_as_key(record.config.get(asked.pair_by)),
            chosen_by=record.metrics.get(chooser),
            judged_by=record.metrics.get(judge),
            seconds=record.seconds,
            updates=record.steps,
            curve=_curve(record, chooser),
        )
        trials[name, str(setting), str(trial.seed)] = record, trial
    return list(trials.values())


def _curve(record: Record, metric: str) -> Curve | None:
    found = record.series.get(metric)
    if found is None:
        return None
    return Curve(found.steps.astype(np.float64) * record.epochs_per_step, found.values.astype(np.float64))


def _monitored(records: Sequence[Record], asked: Question) -> Metric:
    """The metric that all have monitored; of a table, that which judges."""
    names = {record.monitor for record in records}
    if len(names) > 1:
        raise RequestError(
            f"the runs have monitored {', '.join(sorted(map(str, names)))}: compare those of one metric, by "
            "runs=[FOLDER,FOLDER]"
        )
    name = names.pop() or asked.metric
    if name is None:
        raise RequestError("say by metric=NAME what the runs are judged by")
    if name == asked.metric:
        return _measured(name, asked.mode)
    return Metric.of(name, str(records[0].config.get("monitor_mode", "auto")))


def _judge(records: Sequence[Record], asked: Question, monitor: Metric) -> Metric:
    """The metric that judges; the monitored one where nothing was tested."""
    if asked.metric is not None:
        return _measured(asked.metric, asked.mode)
    tested = monitor.name.replace("val_", "test_", 1)
    return monitor._replace(name=tested) if any(tested in record.metrics for record in records) else monitor


def _measured(metric: str, mode: str) -> Metric:
    if (found := Metric.of(metric, mode)).mode:
        return found
    raise RequestError(f"metric={metric}: set monitor_mode=min or max: is less or more of it better?")


def _check_keys(records: Sequence[Record], keys: Sequence[str], judge: str) -> None:
    known = dict.fromkeys(key for record in records for key in record.config)
    if unknown := [key for key in keys if key not in known]:
        way = f"; pattern= finds it in the paths of the runs, such as {records[0].name}" if RUN in known else ""
        raise RequestError(f"no run has a key {unknown[0]}; {nearest(unknown[0], list(known))}{way}")
    measured = dict.fromkeys(key for record in records for key in record.metrics if key not in ("epoch", "step"))
    if measured and judge not in measured:
        raise RequestError(f"no run has measured {judge}: write metric=NAME; there are {', '.join(measured)}")


def _name(record: Record, by: Sequence[str]) -> str:
    values, alone = {key: record.config.get(key) for key in by}, len(by) == 1
    return " ".join(f"{value}" if alone or key == "scheduler" else f"{key}={value}" for key, value in values.items())


def _varied(configs: Sequence[Mapping[str, Any]], others: Container[str]) -> list[str]:
    """What tells runs of one strategy from each other, but for some keys, and for those that follow from a choice."""
    keys = dict.fromkeys(key for config in configs for key in config if key not in others)
    varied = [key for key in keys if _values(configs, key) > 1]
    return [key for key in varied if not _follows(configs, key, f"{key.partition('.')[0]}.name")]


def _follows(configs: Sequence[Mapping[str, Any]], key: str, choice: str) -> bool:
    """Whether a key's value is told by the choice that has it, such as `optimizer.betas` by `optimizer.name`."""
    chosen = {str(config.get(choice)) for config in configs}
    each = ([config for config in configs if str(config.get(choice)) == name] for name in chosen)
    return key != choice and len(chosen) > 1 and all(_values(own, key) == 1 for own in each)


def _values(configs: Sequence[Mapping[str, Any]], key: str) -> int:
    """How many values a key has."""
    return len({str(config.get(key)) for config in configs})


class _List(tuple[Any, ...]):
    """A list that tells settings apart, and is written as on the command line."""

    def __str__(self) -> str:
        return f"[{','.join(map(str, self))}]"


def _as_key(value: Any) -> Any:
    """A value of a setting as something that can be a key."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_as_key(own)}' for key, own in value.items())}}}"
    return _List(map(_as_key, value)) if isinstance(value, list | tuple) else value
