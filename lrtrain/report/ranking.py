"""Curves in the terminal, and which of them has the best convex bound."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from lrtrain.report.curves import Curve
from lrtrain.report.table import print_rows
from lrtrain.report.text_plot import text_plot, wants_log
from lrtrain.schedules.theory import WHERE_IT_FAILS, against_linear, last_iterate_bound

WIDEST = 110


def rank(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """What each curve is, and its convex bound over that of the best shape known; the smallest first."""
    rows = []
    for name, curve in curves.items():
        bound = last_iterate_bound(curve.used)
        rows.append(
            {
                "first": curve.used[0],
                "peak": max(curve.used),
                "last": curve.used[-1],
                "end": curve.rates[-1],
                "bound_vs_linear": against_linear(bound, len(curve.used)),
                "best_peak": bound.gamma * max(curve.used),
                "strategy": name,
            }
        )
    return sorted(rows, key=lambda row: row["bound_vs_linear"])


def print_plot(curves: Mapping[str, Curve], join: tuple[float, str] | None = None) -> None:
    """Print curves over the epochs of the longest, as wide as the terminal, with a mark at an epoch if there is one."""
    width = min(shutil.get_terminal_size().columns, WIDEST)
    log = wants_log([curve.sample for curve in curves.values()])
    epochs = max(curve.epochs for curve in curves.values())
    samples = {name: curve.sample_over(epochs) for name, curve in curves.items()}
    print("\n".join(text_plot(samples, epochs, width, log=log, join=join)))


def print_ranking(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what `rank` returns, and where it may be wrong."""
    shown = [[value if isinstance(value, str) else f"{value:.4g}" for value in row.values()] for row in rows]
    print_rows([name.replace("_", " ") for name in rows[0]], shown)
    print(WHERE_IT_FAILS)
