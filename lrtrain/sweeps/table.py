"""What came of a sweep, as tables: a row for each job, and one for each strategy with its best setting."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lrtrain.report.table import measured, print_rows
from lrtrain.run_folder.files import Table
from lrtrain.run_folder.summary import BAD, Summary
from lrtrain.run_folder.sweep_folder import DONE, PlannedJob, Standing, SweepFolder, SweepPlan
from lrtrain.settings import Metric
from lrtrain.sweeps.grid import by_key, varied

CHOOSES = ("scheduler", "feedback")
MOST_ROWS = 40


class Setting(NamedTuple):
    """What came of a strategy's jobs that differ in the seed only.

    Attributes:
        strategy: Its name.
        values: What is swept, but for strategy and seed, as words.
        measured: The monitored metric of each job's best weights, of those that came to a good end.
        tested: The test accuracy of the same weights, or what else was tested.
        failed: Jobs that failed or diverged.
        seconds: That all its jobs took.
    """

    strategy: str
    values: str
    measured: list[float]
    tested: list[float]
    failed: int
    seconds: float

    def rank(self, sign: float) -> tuple[bool, float]:
        """The best first; one that has failed with some seed after all that have not."""
        return bool(self.failed) or not self.measured, sign * statistics.fmean(self.measured or [math.inf])


def value_of(standing: Standing) -> tuple[str, float | None]:
    """The monitored metric of a job, and its value of the best weights, where the job came to a good end."""
    summary = standing.summary
    if summary is None or standing.state not in DONE or not summary.is_good:
        return "", None
    return str(summary.monitor), summary.best.get(str(summary.monitor))


def sign_of(summary: Summary) -> float:
    """What turns the monitored metric of a run into one of which less is better."""
    known = Metric.of(str(summary.monitor), str(summary.config.get("monitor_mode", "auto")))
    return -1.0 if known.mode == "max" else 1.0


def write_table(folder: SweepFolder, plan: SweepPlan, standings: Sequence[Standing]) -> None:
    """Write `summary.csv`: a row for each job, the best first, those without a good end last."""
    keys = varied([job.words for job in plan.jobs])
    metrics = measured(standing.summary for standing in standings if standing.summary)
    values = [f"{which}_{metric}" for which in ("best", "final") for metric in metrics]
    columns = dict.fromkeys(["job", "name", "status", "strategy", *keys, "seed", "steps", "wall_s", "monitor", *values])
    table = Table(folder.table, columns)
    for job, standing in sorted(zip(plan.jobs, standings, strict=True), key=_rank):
        table.add(_row(job, standing, keys, values))
    table.close()


def _rank(pair: tuple[PlannedJob, Standing]) -> tuple[bool, float]:
    _, value = value_of(pair[1])
    return value is None, 0.0 if value is None or not pair[1].summary else sign_of(pair[1].summary) * value


def best_job(plan: SweepPlan, standings: Sequence[Standing]) -> PlannedJob | None:
    """The job with the best value; None where none came to a good end."""
    job, standing = min(zip(plan.jobs, standings, strict=True), key=_rank)
    return job if value_of(standing)[1] is not None else None


def _row(job: PlannedJob, standing: Standing, keys: Sequence[str], measured: Sequence[str]) -> dict[str, Any]:
    said, summary = by_key(job.words), standing.summary or Summary(status="waiting")
    values: Mapping[str, Any] = {"best": summary.best, "final": summary.final}
    row = {"job": job.number, "name": job.name, "status": standing.state, "strategy": _strategy(job, standing)}
    row |= {"seed": summary.seed, "steps": summary.steps, "wall_s": summary.wall_s, "monitor": summary.monitor}
    row |= {key: said[key] for key in keys if key in said}
    return row | {name: values[name.partition("_")[0]].get(name.partition("_")[2]) for name in measured}


def _strategy(job: PlannedJob, standing: Standing) -> str:
    """The strategy of a job, also of one that never came to have a plan."""
    if standing.summary and standing.summary.strategy:
        return standing.summary.strategy
    return " x ".join(by_key(job.words)[key] for key in CHOOSES if key in by_key(job.words))


def group_settings(plan: SweepPlan, standings: Sequence[Standing]) -> list[list[Setting]]:
    """The settings of each strategy, the best first; the strategy with the best setting first."""
    keys = [key for key in varied([job.words for job in plan.jobs]) if key not in (*CHOOSES, "seed")]
    found: dict[str, dict[str, Setting]] = {}
    usual = next((name for pair in zip(plan.jobs, standings, strict=True) if (name := _strategy(*pair))), "")
    sign = next((sign_of(standing.summary) for standing in standings if value_of(standing)[1] is not None), 1.0)  # type: ignore[arg-type]
    for job, standing in zip(plan.jobs, standings, strict=True):
        own, name = by_key(job.words), _strategy(job, standing) or usual
        values = " ".join(f"{key}={own[key]}" for key in keys if key in own)
        setting = found.setdefault(name, {}).setdefault(values, Setting(name, values, [], [], 0, 0.0))
        found[name][values] = _with(setting, standing)
    groups = [sorted(own.values(), key=lambda setting: setting.rank(sign)) for own in found.values()]
    return sorted(groups, key=lambda own: own[0].rank(sign))


def _with(setting: Setting, standing: Standing) -> Setting:
    """A setting with what came of one more of its jobs."""
    _, value = value_of(standing)
    best = standing.summary.best if standing.summary and value is not None else {}
    tested = [best[name] for name in [_tested(best)] if name in best]
    return setting._replace(
        measured=[*setting.measured, *([] if value is None else [value])],
        tested=[*setting.tested, *tested[:1]],
        failed=setting.failed + (standing.state in BAD),
        seconds=setting.seconds + standing.seconds,
    )


def _tested(best: Mapping[str, Any]) -> str:
    """The test metric that people look at: the first that is not the loss."""
    found = [name for name in best if name.startswith("test_")]
    return next((name for name in found if name != "test_loss"), found[0] if found else "test")


def print_table(folder: SweepFolder, plan: SweepPlan, standings: Sequence[Standing]) -> None:
    """Print a row for each strategy, with its best setting; where there is but one, a row for each setting."""
    groups = group_settings(plan, standings)
    several = len(groups) > 1
    shown = [(own[0], own) for own in groups] if several else [(setting, [setting]) for setting in groups[0]]
    shown = [(best, own) for best, own in shown if best.measured or best.failed]
    if not shown:
        print("no job has come to its end")
        return
    good = [standing.summary for standing in standings if value_of(standing)[1] is not None and standing.summary]
    monitor = good[0].monitor if good else None
    tested = _tested(good[0].best) if good else "test"
    columns = [str(monitor or "monitor"), "sd", tested.replace("_", " "), "seeds", "failed", "seconds"]
    rows = []
    for best, own in shown[:MOST_ROWS]:
        spread = statistics.stdev(best.measured) if len(best.measured) > 1 else None
        numbers = [_mean(best.measured), _text(spread), _mean(best.tested), str(len(best.measured))]
        failed, seconds = sum(setting.failed for setting in own), sum(setting.seconds for setting in own)
        rows.append([*numbers, str(failed), f"{seconds:.1f}", f"{best.strategy} {best.values}".strip()])
    print_rows([*columns, "strategy, its best setting" if several else "setting"], rows)
    if len(shown) > MOST_ROWS:
        print(f"and {len(shown) - MOST_ROWS} more: {folder.table}")
    print("means over seeds, all of the best weights of each job")


def _mean(values: Sequence[float]) -> str:
    return _text(statistics.fmean(values) if values else None)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
