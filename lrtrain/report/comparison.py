"""A comparison of strategies as a table: in the terminal, as CSV, as Markdown, as JSON."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lrtrain import notebook
from lrtrain.evidence.ranks import Rank
from lrtrain.evidence.selection import written
from lrtrain.evidence.speed import SHARES
from lrtrain.evidence.verdict import Comparison, Standing
from lrtrain.evidence.words import amount, between, describe
from lrtrain.records.comparisons import Compared
from lrtrain.records.record import Record
from lrtrain.report.table import print_rows
from lrtrain.run_folder.files import Table, write_json, write_text

if TYPE_CHECKING:
    from lrtrain.report.curves import Picture

FORMAT = 1
COLUMNS = (
    *("strategy", "settings", "tried", "runs", "failed", "n", "mean", "sd", "difference", "low", "high", "p"),
    *("verdict", "provisional", "good_rates", *(f"at_{share:.0%}" for share in SHARES)),
    *("epochs_to_target", "reached", "seconds", "updates"),
)


class Comparisons(NamedTuple):
    """The comparisons of a set of runs, which a notebook shows by itself.

    Attributes:
        records: All runs, also those that are in no comparison.
        compared: A comparison for each model and dataset, with the runs that it stands on.
    """

    records: Sequence[Record]
    compared: Sequence[Compared]

    @property
    def found(self) -> list[Comparison]:
        """What each says: ``found[0].strategies[0].verdict``."""
        return [each.found for each in self.compared]

    @property
    def picture(self) -> Picture:
        """The rates above the metric, and the differences with their intervals."""
        from lrtrain.report.comparison_picture import draw_comparisons  # matplotlib takes a second

        return draw_comparisons(self.compared)

    def __repr__(self) -> str:
        return "\n".join(map(describe, self.found))

    def _repr_html_(self) -> str:
        from lrtrain.report.curves import png

        return "".join(map(_html, self.found)) + notebook.picture(png(self.picture))


def print_comparisons(all_found: Sequence[Comparison], ranks: Sequence[Rank], *, tables: bool = True) -> None:
    """Print each comparison, with its table where that is wanted, and of several the strategies by their mean rank."""
    for found in all_found:
        print(_filled(describe(replace(found, more=None))))
        if found.more:
            print(f"Run: {found.more}")  # in one line, to be copied
        if tables:
            _print_tables(found)
        for warning in found.warnings:
            print(f"warning: {warning}")
    if len(all_found) > 1:
        print(f"mean rank over {len(all_found)} comparisons:")
        rows = [[f"{rank.mean:.3g}", str(rank.tables), str(rank.worse), rank.name] for rank in ranks]
        print_rows(["rank", "in", "worse in", "strategy"], rows)


def _print_tables(found: Comparison) -> None:
    """Print how each strategy stands, what it took, and how it does at the rates of others."""
    columns, rows = verdict_table(found)
    print_rows([*columns[:2], *columns[3:]], [[*row[:2], *row[3:]] for row in rows])
    if tells_cost(found):
        print(_filled(cost_caption(found)))
        columns, rows = cost_table(found)
        print_rows([*columns[:-2], columns[-1]], [[*row[:-2], row[-1]] for row in rows])  # the words tell what failed
    if varies_rate(found):
        print(_filled(rate_caption(found)))
        print_rows(*rate_table(found))


def _filled(text: str) -> str:
    """As wide as the terminal."""
    return textwrap.fill(text, shutil.get_terminal_size((160, 24)).columns, break_on_hyphens=False)


def write_comparisons(all_found: Sequence[Comparison], ranks: Sequence[Rank], folder: Path) -> None:
    """Write `comparison.json`, `.csv` and `.md` into a folder; of several, the JSON lists them as `tables`."""
    tables = [{**asdict(found), "words": describe(found)} for found in all_found]
    whole = tables[0] if len(tables) == 1 else {"tables": tables, "ranks": [rank._asdict() for rank in ranks]}
    write_json(folder / "comparison.json", {"format": FORMAT, **whole})
    keys = list(all_found[0].of)
    table = Table(folder / "comparison.csv", (*keys, *COLUMNS))
    for found in all_found:
        for each in found.strategies:
            row: dict[str, Any] = asdict(each)
            row |= {f"at_{share}": value for share, value in row.pop("during").items()}
            row |= {"strategy": row.pop("name"), "settings": _settings(each), "good_rates": _rates(each)}
            table.add({**found.of, **row})
    table.close()
    write_text(folder / "comparison.md", "\n".join(map(_markdown, all_found)))


def verdict_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: how each strategy stands, the best first."""
    columns = ["verdict", found.metric, "sd", "behind", "95 % interval", "seeds", "strategy"]
    rows = [
        [
            (each.verdict or "-") + (" (provisional)" if each.provisional and each.verdict == "worse" else ""),
            f"{each.mean:.4g}",
            _number(each.sd, 2),
            "" if index == 0 else amount(found, each.difference),
            "" if each.low is None or each.high is None else between(found, each.low, each.high),
            str(each.n),
            each.label,
        ]
        for index, each in enumerate(found.strategies)
    ]
    return columns, rows


def tells_cost(found: Comparison) -> bool:
    """Whether the runs say how they came to their values, or at what cost."""
    return any(each.updates or each.seconds or each.failed for each in found.strategies)


def cost_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: how fast each strategy came to its values, what it took, and which rates are good for it."""
    columns = [*found.strategies[0].during, f"to {found.target:.3g}", "updates", "seconds", "failed"]
    rows = [
        [
            *(_number(value, 3) for value in each.during.values()),
            _number(each.epochs_to_target, 3) + (f" ({each.reached}/{each.n})" if 0 < each.reached < each.n else ""),
            f"{each.updates:,}" if each.updates else "",
            f"{each.seconds:.0f}" if each.seconds else "",
            f"{each.failed}/{each.runs}" if each.failed else "",
            each.name,
        ]
        for each in found.strategies
    ]
    return [*columns, "strategy"], rows


def cost_caption(found: Comparison) -> str:
    """What the columns of `cost_table` are."""
    shares, chooser = ", ".join(found.strategies[0].during), found.chooser
    return (
        f"{chooser} after {shares} of the epochs, and the epochs to {chooser} {found.target:.3g}, at the best setting; "
        "and what all runs took:"
    )


def varies_rate(found: Comparison) -> bool:
    """Whether some strategy was tried at several rates."""
    return len(found.same_rate) > 1 or _tells_good_rates(found)


def rate_table(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the mean of each strategy at the rates that several share, and which rates are good for it."""
    rates, told = found.same_rate.values(), _tells_good_rates(found)
    rows = [
        [*(_number(row.get(each.name)) for row in rates), *([_rates(each)] if told else []), each.name]
        for each in found.strategies
    ]
    return [*(f"lr={rate}" for rate in found.same_rate), *(["good"] if told else []), "strategy"], rows


def rate_caption(found: Comparison) -> str:
    """What the columns of `rate_table` are."""
    margin = amount(found, found.margin)
    good = f", and the rates within {margin} of a strategy's best" if _tells_good_rates(found) else ""
    return f"mean {found.metric} at the same rate{good}:"


def _tells_good_rates(found: Comparison) -> bool:
    return any(each.good_rates for each in found.strategies)


def scale(found: Comparison) -> str:
    """What differences are of."""
    return "the logarithm, in per cent" if found.scale == "log" else "the plain values"


def _settings(each: Standing) -> str:
    return " ".join(f"{key}={written(value)}" for key, value in each.settings.items())


def _rates(each: Standing) -> str:
    return "" if each.good_rates is None else "..".join(f"{rate:g}" for rate in dict.fromkeys(each.good_rates))


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _html(found: Comparison) -> str:
    warnings = (f"warning: {warning}" for warning in found.warnings)
    return notebook.text(describe(found)) + notebook.table(*verdict_table(found)) + notebook.text(*warnings)


def _markdown(found: Comparison) -> str:
    parts = [describe(found), _markdown_table(*verdict_table(found))]
    if tells_cost(found):
        parts += [cost_caption(found), _markdown_table(*cost_table(found))]
    if varies_rate(found):
        parts += [rate_caption(found), _markdown_table(*rate_table(found))]
    parts += ["\n".join(f"- {warning}" for warning in found.warnings)] if found.warnings else []
    return "\n\n".join([*parts, f"Method: {found.method}. Differences are of {scale(found)}.\n"])


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose last column, the strategy, comes first."""
    lines = [[columns[-1], *columns[:-1]], ["---"] * len(columns), *([f"`{row[-1]}`", *row[:-1]] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
