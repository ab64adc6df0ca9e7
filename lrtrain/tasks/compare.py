"""task=compare: which strategy is best, of runs that were made; imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from lrtrain import __version__
from lrtrain.errors import RequestError
from lrtrain.evidence.verdict import Comparison, Trial, compare
from lrtrain.evidence.words import describe
from lrtrain.parameters.bound import flat
from lrtrain.parameters.rules import Either, ListOf, Number, OptionalText, OrNull, Text
from lrtrain.parameters.signatures import Affects
from lrtrain.report.comparison import print_comparison, write_comparison
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.find import find_runs
from lrtrain.run_folder.folder import SWEEP
from lrtrain.run_folder.summary import Summary, read_summary
from lrtrain.settings import Metric, Settings
from lrtrain.tasks import Job

JUDGES = {"val_loss": "test_loss", "val_acc": "test_acc"}
"""What judges a strategy whose setting was chosen by the metric before it."""

KINDS = ("model.name", "dataset.name")
"""Whose values are not to be compared."""


def run(
    job: Job,
    /,
    *,
    runs: Annotated[str | Sequence[str], Either((ListOf(Text(), least=1), Text()))] = "outputs",
    by: Annotated[str | Sequence[str], Either((ListOf(Text(), least=1), Text()))] = ("scheduler",),
    metric: OptionalText = None,
    margin: Annotated[float | None, OrNull(Number(low=0))] = None,
) -> Summary:
    """Compare strategies, each at its best setting, paired by seed; print a paragraph and a table, and write them.

    Args:
        runs: a folder of runs, such as that of a sweep, or several
        by: the keys that make a strategy, such as [scheduler,optimizer.name]
        metric: what they are judged by; null takes test_loss where val_loss was monitored, and so on
        margin: within which two are tied: a share of a loss, or in the metric's unit; null takes a seed's own sd

    Raises:
        RequestError: There are no runs to compare, or they are of several models or datasets.
    """
    began, places = time.perf_counter(), [Path(each) for each in _several(runs)]
    found, words = compare_runs(places, _several(by), metric=metric, mode=job.settings.monitor_mode, margin=margin)
    with ClaimedFolder(job.folder, locks=job.locks) as folder:
        folder.check_unused()
        folder.write_request(job.asked)
        write_comparison(found, words, folder.path)
        summary = Summary(
            status="finished",
            ended_by="end",
            task="compare",
            wall_s=round(time.perf_counter() - began, 3),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={"lrtrain": __version__},
            folder=folder.path,
            extra={"runs": [str(place.absolute()) for place in places], "words": words},
        )
        summary.write(folder.summary)
        folder.begun = True
    print_comparison(found, words)
    print(folder.path)
    return summary


def compare_runs(
    places: Sequence[Path],
    by: Sequence[str] = ("scheduler",),
    *,
    metric: str | None = None,
    mode: str = "auto",
    margin: float | None = None,
) -> tuple[Comparison, str]:
    """The comparison of all trainings below some folders, and its paragraph; see `run`."""
    summaries = list(_read(places))
    if not summaries:
        raise RequestError(f"there is no training below {', '.join(map(str, places))} that has ended")
    monitor = _monitored(summaries)
    judge = _judge(metric, mode, monitor)
    found = compare(
        _trials(summaries, by, monitor.name, judge.name),
        metric=judge.name,
        mode=judge.mode,
        chooser=monitor.name,
        chooser_mode=monitor.mode,
        by=by,
        margin=margin,
    )
    return found, describe(found, _more(places, found.seeds))


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _read(places: Sequence[Path]) -> Iterator[Summary]:
    """The summaries of all trainings that have ended."""
    for place in places:
        if not place.is_dir():
            raise RequestError(f"runs={place}: there is no such folder")
        for folder in find_runs(place):
            try:
                summary = read_summary(folder.summary)
            except (FileNotFoundError, RequestError):  # it has not come to that, or is damaged
                continue
            if summary.task == "train" and summary.monitor:
                yield summary


def _monitored(summaries: Sequence[Summary]) -> Metric:
    """The metric that all have monitored."""
    names = {str(summary.monitor) for summary in summaries}
    if len(names) > 1:
        raise RequestError(f"the runs have monitored {', '.join(sorted(names))}: compare those of one metric")
    mode = str(summaries[0].config.get("monitor_mode", "auto"))
    return Metric.of(names.pop(), mode)


def _judge(metric: str | None, mode: str, monitor: Metric) -> Metric:
    """The metric that judges."""
    if metric is None:
        return monitor._replace(name=JUDGES.get(monitor.name, monitor.name))
    if (found := Metric.of(metric, mode)).mode:
        return found
    raise RequestError(f"metric={metric}: set monitor_mode=min or max: is less or more of it better?")


def _trials(summaries: Sequence[Summary], by: Sequence[str], chooser: str, judge: str) -> list[Trial]:
    """The runs as they count; of two with the same settings, the one that ended last."""
    configs = [{**flat(summary.config), "scheduler": summary.strategy} for summary in summaries]
    for kind in KINDS:
        if kind not in by and len(several := {str(config.get(kind)) for config in configs}) > 1:
            raise RequestError(
                f"the runs are of {', '.join(sorted(several))}: name the folder of one, or add {kind} to by"
            )
    if unknown := [key for key in by if not any(key in config for config in configs)]:
        raise RequestError(f"by={unknown[0]}: no run has such a key")
    names = [" ".join(str(config.get(key)) for key in by) for config in configs]
    varied = {
        name: _varied([config for other, config in zip(names, configs, strict=True) if other == name], by)
        for name in {*names}
    }
    trials = {}
    for summary, config, name in sorted(
        zip(summaries, configs, names, strict=True), key=lambda each: str(each[0].ended)
    ):
        setting = tuple((key, config.get(key)) for key in varied[name])
        value, judged = (summary.best.get(each) if summary.is_good else None for each in (chooser, judge))
        trials[name, str(setting), summary.seed] = Trial(
            name, setting, int(summary.seed or 0), value, judged, summary.wall_s
        )
    if all(trial.judged_by is None for trial in trials.values()) and any(summary.is_good for summary in summaries):
        known = dict.fromkeys(key for summary in summaries for key in summary.best if key not in ("epoch", "step"))
        raise RequestError(f"no run has measured {judge}: write metric=NAME; there are {', '.join(known)}")
    return list(trials.values())


def _varied(configs: Sequence[Mapping[str, Any]], by: Sequence[str]) -> list[str]:
    """What tells runs of one strategy from each other, beside the seed, and what changes nothing."""
    told = Settings().effects()
    keys = dict.fromkeys(key for config in configs for key in config if key not in (*by, "seed"))
    able = [key for key in keys if told.get(key) is not Affects.NOTHING]
    return [key for key in able if len({str(config.get(key)) for config in configs}) > 1]


def _more(places: Sequence[Path], seeds: Sequence[int]) -> Callable[[int], str] | None:
    """The command that gives a sweep more seeds."""
    if len(places) > 1 or not (places[0] / SWEEP).exists():
        return None

    def command(count: int) -> str:
        new = [*seeds, *(seed for seed in range(count + len(seeds)) if seed not in seeds)][:count]
        return f"python -m lrtrain -m resume={places[0]} seed={','.join(map(str, new))}"

    return command
