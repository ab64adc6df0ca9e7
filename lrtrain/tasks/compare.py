"""task=compare: which strategy is best, of runs that were made; imports no torch."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import yaml

from lrtrain import __version__
from lrtrain.errors import RequestError
from lrtrain.evidence.ranks import rank
from lrtrain.evidence.verdict import Comparison
from lrtrain.evidence.words import describe, wanted_seeds
from lrtrain.parameters.rules import Either, ListOf, Number, OptionalText, OrNull, Table, Text
from lrtrain.records.comparisons import Question, compare_records
from lrtrain.records.elsewhere import Conventions
from lrtrain.records.find import find_records
from lrtrain.report.comparison import Comparisons, print_comparisons, write_comparisons
from lrtrain.report.page import REPORT, write_page
from lrtrain.run_folder.claimed import ClaimedFolder
from lrtrain.run_folder.files import write_bytes
from lrtrain.run_folder.summary import Summary
from lrtrain.run_folder.sweep_folder import SweepFolder
from lrtrain.settings import Metric, Settings
from lrtrain.tasks import Job


def run(
    job: Job,
    /,
    *,
    runs: Annotated[str | Sequence[str], Either((ListOf(Text("a path"), least=1), Text("a path")))] = "outputs",
    by: Annotated[str | Sequence[str], Either((ListOf(Text("a key"), least=1), Text("a key")))] = ("scheduler",),
    metric: OptionalText = None,
    margin: Annotated[float | None, OrNull(Number(low=0))] = None,
    target: Annotated[float | None, OrNull(Number())] = None,
    pair_by: Annotated[str, Text("a key")] = "seed",
    tags: Annotated[Mapping[str, str] | None, OrNull(Table(Text()))] = None,
    pattern: OptionalText = None,
) -> Summary:
    """Compare strategies, each at its best setting, paired by seed; print a paragraph and a table, and write them.

    Args:
        runs: a folder of runs, of a sweep or logged by another program; a CSV file with a row for each run; or several
        by: the keys, or columns, that make a strategy, such as [scheduler,optimizer.name]
        metric: what they are judged by; null takes test_loss where val_loss was monitored, and so on
        margin: within which two are tied: a share of a loss, or in the metric's unit; null takes a seed's own sd
        target: of the validation, that epochs are counted to; null takes what the strategy in the middle comes to
        pair_by: the key, or column, that says which runs of two strategies belong together
        tags: what logs of other programs call our metrics: {val_loss:eval/loss,lr:lr-SGD}
        pattern: finds keys in the paths of their runs: "(?P<scheduler>[a-z]+)_seed(?P<seed>[0-9]+)"; null: key=value

    Raises:
        RequestError: There are no runs to compare, or they do not say what is asked of them.
    """
    from lrtrain.report.comparison_picture import PICTURE  # matplotlib takes a second
    from lrtrain.report.curves import png

    began, places = time.perf_counter(), [Path(each) for each in _several(runs)]
    compared = compare(
        job.settings,
        runs=runs,
        by=by,
        metric=metric,
        margin=margin,
        target=target,
        pair_by=pair_by,
        tags=tags,
        pattern=pattern,
    )
    found, ranks = compared.found, rank(compared.found)
    with ClaimedFolder(job.folder, locks=job.locks) as folder:
        folder.check_unused()
        folder.write_request(job.asked)
        write_comparisons(found, ranks, folder.path)
        write_page(compared.compared, ranks, compared.records, folder.path, _commands(job, places))
        write_bytes(folder.path / PICTURE, png(compared.picture))
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
    print(folder.path / REPORT)
    return summary


def compare(
    settings: Settings,
    *,
    runs: str | Sequence[str],
    by: str | Sequence[str],
    metric: str | None,
    margin: float | None,
    target: float | None,
    pair_by: str,
    tags: Mapping[str, str] | None,
    pattern: str | None,
) -> Comparisons:
    """Compare strategies as `run` does; writes nothing."""
    mode = settings.monitor_mode
    asked = Question(by=_several(by), metric=metric, mode=mode, margin=margin, target=target, pair_by=pair_by)
    return compare_runs([*map(Path, _several(runs))], asked, _conventions(metric, mode, tags or {}, pattern))


def compare_runs(places: Sequence[Path], asked: Question, how: Conventions | None = None) -> Comparisons:
    """All runs below some folders or in files, and their comparisons, with the command that would settle each."""
    records = [record for place in places for record in find_records(place, how or Conventions())]
    if not records:
        raise RequestError(f"there is no training below {', '.join(map(str, places))} that has ended")
    compared = compare_records(records, asked)
    more = [each._replace(found=replace(each.found, more=_more(places, each.found))) for each in compared]
    return Comparisons(records, more)


def _conventions(metric: str | None, mode: str, tags: Mapping[str, str], pattern: str | None) -> Conventions:
    """How logs of other programs are read: a run's best moment is that of the validation."""
    chooser = metric.replace("test_", "val_", 1) if metric else "val_loss"
    try:
        found = re.compile(pattern) if pattern is not None else None
    except re.error as error:
        raise RequestError(f"pattern={pattern}: not a regular expression: {error}") from None
    if found is not None and not found.groupindex:
        raise RequestError(f"pattern={pattern}: name what it finds, as in (?P<scheduler>[a-z]+)")
    return Conventions(tags=tags, pattern=found, metric=chooser, mode=Metric.of(chooser, mode).mode or "min")


def as_command(words: Sequence[str]) -> str:
    """The words of a command as a shell takes them; those that Hydra has in single quotes can do with these."""
    said = (word if re.fullmatch(r"[\w.]+='[^']*'", word) else shlex.quote(word) for word in words)
    return f"python -m lrtrain {' '.join(said)}"


def _several(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _commands(job: Job, places: Sequence[Path]) -> list[str]:
    """The commands of the sweeps that are compared, and that which compares them."""
    made = [["-m", *words] for place in places if (words := _words(place)) is not None]
    return [as_command(words) for words in (*made, yaml.safe_load(job.asked.get("overrides.yaml", "[]")))]


def _words(place: Path) -> Sequence[str] | None:
    """The words that a sweep was asked for; None of other folders, and where they cannot be read."""
    with suppress(RequestError):
        return SweepFolder(place).read().command
    return None


def _more(places: Sequence[Path], found: Comparison) -> str | None:
    """The command that gives a sweep the seeds that would settle what is open."""
    count = wanted_seeds(found)
    words = _words(places[0]) if count is not None and len(places) == 1 else None
    if count is None or words is None:
        return None
    new = [*found.seeds, *(seed for seed in range(count + len(found.seeds)) if seed not in found.seeds)][:count]
    if any(word.startswith("search=") for word in words):
        return None  # it has one seed
    if any(word.startswith("seed=") for word in words):
        asked = [f"resume={places[0]}"]
    else:  # a sweep without seeds cannot be given some
        asked = [word for word in words if not word.startswith("hydra.sweep.dir=")]
    in_order = new == list(range(len(new))) and len(new) > 5
    said = f"range({len(new)})" if in_order else ",".join(map(str, new))
    return as_command(["-m", *asked, f"seed={said}"])
