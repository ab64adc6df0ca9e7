"""The page for those who come from other libraries: each row's right side gives the numbers of its left."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

from lrtrain import schedules
from lrtrain.cli.hints import OTHER_STRATEGIES, explain_choice
from lrtrain.configs import choices, config_dir
from lrtrain.schedules import Observed, Progress

PAGE = (config_dir() / "scheduler" / "COMING_FROM.md").read_text()
RECORDED = json.loads((Path(__file__).parent / "their_rates.json").read_text())
"""Multipliers that the other libraries gave themselves, at some updates; torch is asked again."""
BASE, TOTAL = 0.1, 100


class Row(NamedTuple):
    """Theirs and ours as Python, what the command line has instead, and what is said of it."""

    library: str
    theirs: str
    ours: str
    command: str
    note: str

    @property
    def name(self) -> str:
        return self.theirs.partition("(")[0]


def rows() -> Iterator[Row]:
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        for row in re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.*?)\|$", section, re.MULTILINE):
            yield Row(section.split("\n", 1)[0], *row)


ROWS = list(rows())


def by_torch(code: str) -> dict[int, float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = eval(code, {**vars(lr_scheduler), "SWALR": swa_utils.SWALR, "o": optimizer})
        rates = {}
        for t in range(121):
            rates[t] = optimizer.param_groups[0]["lr"] / BASE
            optimizer.step()
            if t < 100 or "OneCycleLR" not in code:  # which cannot step past its end
                scheduler.step()
    return rates


def names() -> dict[str, Any]:
    """What the right sides are written in."""
    known: dict[str, Any] = dict(vars(schedules))
    [ramp] = re.findall(r"^ramp = .*$", PAGE, re.MULTILINE)
    exec(ramp, known)
    return known


CURVES = [row for row in ROWS if row.library != "Plateaus"]
PLATEAUS = [row for row in ROWS if row.library == "Plateaus"]


def test_ours_gives_their_numbers() -> None:
    for row in CURVES:
        if row.library == "torch":
            theirs = by_torch(row.theirs)
        else:
            theirs = dict(zip(RECORDED["updates"], RECORDED["rates"][row.theirs], strict=False))
        ours = eval(row.ours, names())
        last = TOTAL if "up to the end" in row.note else 120
        at = [t for t in theirs if t <= last]
        found = [ours(Progress(t, 1, TOTAL)) for t in at]
        small = 1e-7 if row.library == "Keras" else 1e-10  # whose pi is short
        assert found == pytest.approx([theirs[t] for t in at], rel=small * 10, abs=small), row.theirs


@pytest.mark.parametrize("row", PLATEAUS, ids=[row.theirs for row in PLATEAUS])
def test_ours_reduces_where_theirs_does(row: Row) -> None:
    metrics = RECORDED["metrics"]
    if row.theirs in RECORDED["scales"]:
        theirs = RECORDED["scales"][row.theirs]
    else:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
        oracle, theirs = eval(row.theirs, {**vars(lr_scheduler), "o": optimizer}), []
        for metric in metrics:
            oracle.step(metric)
            theirs.append(optimizer.param_groups[0]["lr"] / BASE)
    rule = eval(row.ours, names())
    states = list(accumulate(metrics, rule, initial=Observed()))[1:]
    assert [state.scale for state in states] == pytest.approx(theirs)


def test_their_names_on_the_command_line_are_those_of_the_page() -> None:
    parts = {"combined_cos", "combine_scheds", "SchedLin", "SchedExp"}  # of which fit_one_cycle and others are made
    for name in {row.name for row in ROWS} - parts:
        assert OTHER_STRATEGIES[name] in [row.command for row in ROWS if row.name == name]
    for name, words in OTHER_STRATEGIES.items():
        assert f"`{name}" in PAGE
        chosen = re.findall(r"scheduler=(\w+)", words)
        assert not chosen or chosen[0] in choices("scheduler")
        assert words in explain_choice("scheduler", name.lower(), choices("scheduler"))
