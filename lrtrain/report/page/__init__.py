"""`report.html`: one file that shows a comparison, and needs no other."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from lrtrain.evidence.ranks import Rank
from lrtrain.evidence.words import describe
from lrtrain.records.comparisons import Compared
from lrtrain.records.record import Record
from lrtrain.report.bands import CLOCKS, RATE, Band, band
from lrtrain.report.comparison import (
    cost_caption,
    cost_table,
    rate_caption,
    rate_table,
    scale,
    tells_cost,
    varies_rate,
    verdict_table,
)
from lrtrain.report.figures import Figure, Grid, draw_grid, draw_ranking, draw_rates, grid_of, style
from lrtrain.run_folder.files import write_text
from lrtrain.run_folder.folder import RunFolder
from lrtrain.run_folder.summary import BAD

__all__ = ["REPORT", "write_page"]

REPORT = "report.html"
MOST_RUNS = 1000
"""Single runs that are drawn; of more, some at equal distances."""
MOST_POINTS = 100
"""Of each of them."""
MOST_METRICS = 8
MOST_JOBS = 2000
"""Rows of the table of jobs; the best."""
ROWS = 11
"""Of the table behind the curves."""


def write_page(
    compared: Sequence[Compared],
    ranks: Sequence[Rank],
    records: Sequence[Record],
    folder: Path,
    commands: Sequence[str],
) -> None:
    """Write the page into a folder; the same runs give the same bytes.

    Args:
        compared: What there is to show, each in a section of its own.
        ranks: Of the strategies over several.
        records: All runs, also those that are in no comparison.
        folder: Where the page goes; runs are linked from there.
        commands: That made the runs, and that asked for this.
    """
    import jinja2  # which, like plotly, only a page needs

    place = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(place), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    sections = [_section(number, each, folder) for number, each in enumerate(compared)]
    shown = [section.drawn for section in sections]
    text = environment.get_template("page.html").render(
        sections=sections,
        ranks=ranks if len(compared) > 1 else [],
        failures=[_failure(record, folder) for record in records if record.status in BAD],
        statuses=sorted({record.status for record in records}),
        tally=Counter(record.status for record in records),
        count=len(records),
        commands=commands,
        versions=_versions(records),
        style=(place / "page.css").read_text(),
        script=(place / "page.js").read_text(),
        plotly=_plotly(),
        drawn=_packed(json.dumps(shown, separators=(",", ":"), allow_nan=False)),
    )
    write_text(folder / REPORT, text)


class Table(NamedTuple):
    """A table behind a figure: what it is, its columns and rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Job(NamedTuple):
    """A row of the table of jobs: its cells, and the folder that its name links to."""

    cells: Sequence[str]
    status: str
    link: str | None


class Section(NamedTuple):
    """A comparison as the template shows it."""

    number: int
    title: str
    words: str
    more: str | None
    warnings: Sequence[str]
    method: str
    verdicts: Table
    cost: Table | None
    rates: Table | None
    grid: Table | None
    curves: Table | None
    strategies: Sequence[tuple[str, str, str]]
    """The label, colour and dash of each."""
    metrics: Sequence[str]
    clocks: Sequence[str]
    jobs: Table
    rows: Sequence[Job]
    notes: Sequence[str]
    """What was left out of the page."""
    drawn: Mapping[str, Any]
    """What the script draws."""


def _section(number: int, compared: Compared, folder: Path) -> Section:
    found, trials = compared.found, [trial for _, trial in compared.runs]
    grid, rates = grid_of(found, trials), draw_rates(found, trials)
    metrics = _metrics(compared)
    best = compared.best_runs
    bands = [
        {
            name: {clock: _plain(own) for clock in CLOCKS if (own := band(runs, name, clock))}
            for name in (RATE, *metrics)
        }
        for runs in best
    ]
    figures: dict[str, Figure | None] = {
        "ranking": draw_ranking(found),
        "rates": rates,
        "grid": draw_grid(grid, found.metric) if grid else None,
    }
    notes = []
    if len(compared.runs) > MOST_RUNS:
        notes.append(f"Of {len(compared.runs):,} runs, {MOST_RUNS:,} can be drawn one by one; the bands are of all.")
    if len(compared.runs) > MOST_JOBS:
        notes.append(f"The table has the best {MOST_JOBS:,} of {len(compared.runs):,} runs.")
    rows, columns = _jobs(compared, folder)
    return Section(
        number=number,
        title=", ".join(found.of.values()),
        words=describe(replace(found, of={}, more=None)),
        more=found.more,
        warnings=found.warnings,
        method=f"{found.method}. Differences are of {scale(found)}.",
        verdicts=Table("", *verdict_table(found)),
        cost=Table(cost_caption(found), *cost_table(found)) if tells_cost(found) else None,
        rates=Table(rate_caption(found), *rate_table(found)) if varies_rate(found) else None,
        grid=_grid_table(grid, found.metric) if grid else None,
        curves=_curve_table(compared, best, found.chooser) if metrics else None,
        strategies=[(each.label, *style(place)) for place, each in enumerate(found.strategies)],
        metrics=metrics,
        clocks=[clock for clock in CLOCKS if any(clock in own for row in bands for own in row.values())],
        jobs=Table("", columns, []),
        rows=rows,
        notes=notes,
        drawn={
            "figures": {name: figure for name, figure in figures.items() if figure},
            "styles": [style(place) for place in range(len(best))],
            "names": [each.name for each in found.strategies],
            "bands": bands,
            **_single_runs(compared, metrics),
        },
    )


def _metrics(compared: Compared) -> list[str]:
    """What can be drawn: first what chose the settings, then losses, what was validated, and all else."""
    known = dict.fromkeys(chain.from_iterable(record.series for record, _ in compared.runs))
    names = [name for name in known if name != RATE and not name.startswith(f"{RATE}/")]

    def late(name: str) -> tuple[bool, bool, bool, bool]:
        return name != compared.found.chooser, "loss" not in name, not name.startswith("val_"), "/" in name

    return sorted(names, key=late)[:MOST_METRICS]


def _single_runs(compared: Compared, metrics: Sequence[str]) -> dict[str, Any]:
    """The runs one by one; lists of numbers that several have are kept once."""
    places = {each.name: place for place, each in enumerate(compared.found.strategies)}
    best = {id(record) for own in compared.best_runs for record in own}
    kept = [(record, trial) for record, trial in compared.runs if trial.strategy in places and record.series]
    kept = kept[:: -(-len(kept) // MOST_RUNS)] if kept else []
    lists: dict[str, int] = {}

    def place_of(values: Any) -> int:
        return lists.setdefault(json.dumps(_rounded(values)), len(lists))

    runs = []
    for record, trial in kept:
        series = {}
        for name in (RATE, *metrics):
            if own := record.series.get(name):
                every = -(-len(own.steps) // MOST_POINTS)
                series[name] = [place_of(own.steps[::-1][::every][::-1]), place_of(own.values[::-1][::every][::-1])]
        runs.append(
            {
                "strategy": places[trial.strategy],
                "best": id(record) in best,
                "name": record.name,
                "clocks": {clock: float(f"{per(record):.6g}") for clock, per in CLOCKS.items()},
                "series": series,
            }
        )
    return {"runs": runs, "lists": [json.loads(text) for text in lists]}


def _jobs(compared: Compared, folder: Path) -> tuple[list[Job], list[str]]:
    """A row for each run, the best first, and what its columns are."""
    found = compared.found
    keys = list(dict.fromkeys(key for _, trial in compared.runs for key, _ in trial.setting))
    measured = list(dict.fromkeys((found.metric, found.chooser)))
    sign = 1 if found.mode == "min" else -1

    def rank(run: tuple[Record, Any]) -> tuple[bool, float, str]:
        value = run[1].judged_by
        failed = value is None or value != value
        return failed, 0.0 if failed else sign * value, run[0].name

    jobs = []
    for record, trial in sorted(compared.runs, key=rank)[:MOST_JOBS]:
        own = dict(trial.setting)
        values = [_number(record.metrics.get(name)) for name in measured]
        cells = [record.name, trial.strategy, *(f"{own.get(key, '')}" for key in keys), f"{trial.seed}"]
        numbers = [f"{record.steps}" if record.steps else "", f"{record.seconds:.1f}" if record.seconds else ""]
        jobs.append(Job([*cells, record.status, *values, *numbers], record.status, _link(record.place, folder)))
    return jobs, ["run", "strategy", *keys, "seed", "status", *measured, "updates", "seconds"]


def _curve_table(compared: Compared, best: Sequence[Sequence[Record]], metric: str) -> Table | None:
    """The median of each strategy at equal distances, in epochs."""
    bands = [band(runs, metric, "epochs") for runs in best]
    if not any(bands):
        return None
    ends = [own.at[-1] for own in bands if own]
    at = [max(ends) * place / (ROWS - 1) for place in range(1, ROWS)]
    columns = [f"{epoch:.3g}" for epoch in at]
    rows = [
        [*(_number(_at(own, epoch)) for epoch in at), each.name]
        for each, own in zip(compared.found.strategies, bands, strict=True)
    ]
    return Table(f"Median {metric} after so many epochs, at the best setting", [*columns, "strategy"], rows)


def _at(own: Band | None, epoch: float) -> float | None:
    """The newest median by then."""
    if own is None or own.at[0] > epoch * (1 + 1e-6):
        return None
    return float(own.median[(own.at <= epoch * (1 + 1e-6)).sum() - 1])


def _grid_table(grid: Grid, metric: str) -> Table:
    rows = []
    for name, means, notes in zip(grid.rows, grid.means, grid.notes, strict=True):
        cells = (f"{_number(mean)} ({note})" if note else "" for mean, note in zip(means, notes, strict=True))
        rows.append([*(cell.strip() for cell in cells), name])
    columns = [f"{grid.key}={each}" for each in grid.columns]
    return Table(f"Mean {metric} of every setting", [*columns, "strategy"], rows)


def _failure(record: Record, folder: Path) -> tuple[str, str, str, str | None]:
    """The name of a run that failed, how, why, and the file with the trace."""
    log = RunFolder(record.place).log if record.place else None
    link = _link(log if log and log.exists() else record.place, folder)
    return record.name, record.status, (record.error or "").partition("\n")[0], link


def _versions(records: Sequence[Record]) -> list[str]:
    """Of the packages, with how many runs each was used by."""
    found = Counter(f"{name} {version}" for record in records for name, version in record.versions.items())
    return [f"{name} ({count} runs)" for name, count in sorted(found.items())]


def _link(place: Path | None, folder: Path) -> str | None:
    return quote(os.path.relpath(place, folder).replace(os.sep, "/")) if place else None


def _plain(own: Band) -> list[list[float | None]]:
    return [_rounded(values) for values in own]


def _rounded(values: Any) -> list[float | None]:
    """Numbers as they can be seen; what is not finite is None."""
    return [float(f"{value:.4g}") if value - value == 0 else None for value in values.tolist()]


def _number(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.4g}"


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(text: str) -> str:
    """Compressed, as letters; the browser unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
