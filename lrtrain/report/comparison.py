"""A comparison of strategies as a table: in the terminal, as CSV, as Markdown, as JSON."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lrtrain.evidence.verdict import Comparison, Rank, Standing
from lrtrain.evidence.words import amount, between, describe
from lrtrain.report.table import print_rows
from lrtrain.run_folder.files import Table, write_json, write_text

FORMAT = 1
COLUMNS = (
    *("strategy", "settings", "tried", "failed", "n", "mean", "sd", "difference", "low", "high", "p", "verdict"),
    *("provisional", "good_rates", "seconds"),
)


def print_comparisons(all_found: Sequence[Comparison], ranks: Sequence[Rank], *, tables: bool = True) -> None:
    """Print each comparison, with its table where that is wanted, and of several the strategies by their mean rank."""
    for found in all_found:
        text = describe(replace(found, more=None))
        print(textwrap.fill(text, shutil.get_terminal_size((160, 24)).columns, break_on_hyphens=False))
        if found.more:
            print(f"Run: {found.more}")  # in one line, to be copied
        if tables:
            _print_table(found)
        for warning in found.warnings:
            print(f"warning: {warning}")
    if len(all_found) > 1:
        print(f"mean rank over {len(all_found)} comparisons:")
        rows = [[f"{rank.mean:.3g}", str(rank.tables), str(rank.worse), rank.name] for rank in ranks]
        print_rows(["rank", "in", "worse in", "strategy"], rows)


def _print_table(found: Comparison) -> None:
    """Print a row for each strategy, and the table at the same rates."""
    columns = ["verdict", found.metric, "behind", "95 % interval", "seeds", "strategy"]
    print_rows(columns, [[row[0], row[1], *row[3:]] for row in _rows(found)])
    if len(found.same_rate) > 1:
        print(f"mean {found.metric} at the same rate, whatever suits each best:")
        rows = [
            [*(_number(row.get(each.name)) for row in found.same_rate.values()), each.name] for each in found.strategies
        ]
        print_rows([*(f"lr={rate}" for rate in found.same_rate), "strategy"], rows)


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
            rates = row.pop("good_rates")
            del row["settings"]
            own = {"strategy": row.pop("name"), "settings": _settings(each)}
            own["good_rates"] = f"{rates[0]:g}..{rates[1]:g}" if rates else ""
            table.add({**found.of, **own, **row})
    table.close()
    write_text(folder / "comparison.md", "\n".join(map(_markdown, all_found)))


def _rows(found: Comparison) -> list[list[str]]:
    return [
        [
            (each.verdict or "-") + (" (provisional)" if each.provisional and each.verdict == "worse" else ""),
            f"{each.mean:.4g}",
            _number(each.sd, 2),
            "" if index == 0 else amount(found, each.difference),
            "" if each.low is None or each.high is None else between(found, each.low, each.high),
            str(each.n),
            f"{each.name} {_settings(each)}".rstrip(),
        ]
        for index, each in enumerate(found.strategies)
    ]


def _settings(each: Standing) -> str:
    return " ".join(f"{key}={value}" for key, value in each.settings.items())


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _markdown(found: Comparison) -> str:
    columns = ["strategy", found.metric, "sd", "difference", "95 % interval", "seeds", "verdict"]
    lines = [describe(found), "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for verdict, mean, sd, difference, interval, seeds, name in _rows(found):
        lines.append(f"| {' | '.join([f'`{name}`', mean, sd, difference, interval, seeds, verdict])} |")
    lines += ["", *(f"- {warning}" for warning in found.warnings)]
    return "\n".join([*lines, "", f"Method: {found.method}. Differences are of {_scale(found)}.", ""])


def _scale(found: Comparison) -> str:
    return "the logarithm, in per cent" if found.scale == "log" else "the plain values"
