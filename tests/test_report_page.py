"""`report.html` and `comparison.png`: they stand alone, say what the runs say, and are the same when made twice."""

from __future__ import annotations

import base64
import gzip
import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.graph_objects import Figure

from lrtrain.evidence.ranks import rank
from lrtrain.records.comparisons import Compared, Question, compare_records
from lrtrain.records.record import Record, Series
from lrtrain.report import comparison_picture, page
from lrtrain.report.bands import band
from lrtrain.report.comparison_picture import draw_comparisons
from lrtrain.report.curves import png
from lrtrain.report.figures import Grid, draw_grid, grid_of
from lrtrain.report.page import write_page

HOSTILE = "</script><img src=x onerror=alert(1)>"
STRATEGIES = ("cosine", "step", HOSTILE)
RATES = (0.1, 0.2, 9.0)


def record(strategy: str, rate: float, seed: int) -> Record:
    """Of four epochs of ten updates; one that diverges under the largest rate."""
    last = 1 + STRATEGIES.index(strategy) / 10 + rate + (0.0, 0.01, 0.05)[seed]
    good = rate < 1
    steps = np.arange(10, 50, 10, dtype=np.float32)
    losses = np.array([last * 8, last * 4, last * 2, last], np.float32)
    return Record(
        name=f"{strategy}_{rate}_{seed}",
        place=Path("/nowhere") / f"{rate} {seed}",
        config={"scheduler": strategy, "lr": rate, "seed": seed},
        metrics={"val_loss": last, "test_loss": last * 1.1} if good else {},
        monitor="val_loss",
        status="finished" if good else "diverged",
        error=None if good else f"{HOSTILE} is not finite\nand more",
        seconds=2.0,
        steps=40,
        epochs=4,
        versions={"torch": "2.13"},
        series={"val_loss": Series(steps, losses), "lr": Series(steps, rate / steps)},
    )


RECORDS = [record(strategy, rate, seed) for strategy in STRATEGIES for rate in RATES for seed in range(3)]
COMPARED = compare_records(RECORDS, Question())


def written(folder: Path, compared: list[Compared] = COMPARED) -> str:
    folder.mkdir()
    write_page(compared, rank([each.found for each in compared]), RECORDS, folder, ["python -m lrtrain <all>"])
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("page") / "one")


class Elements(HTMLParser):
    """The elements of a page, each with its attributes and the text that is right below it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs), []))

    def handle_data(self, data: str) -> None:
        if self.all:
            self.all[-1][2].append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(texts).strip()) for name, attributes, texts in self.all if name == tag]


def unpacked(text: str, name: str) -> str:
    [packed] = [said for attributes, said in Elements(text).of("script") if attributes.get("id") == name]
    return gzip.decompress(base64.b64decode(packed)).decode()


def test_no_request_leaves_the_page(text: str) -> None:
    elements = Elements(text)
    policy = [each["content"] for each, _ in elements.of("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0] is not None
    allowed = dict(rule.strip().split(" ", 1) for rule in policy[0].split(";"))
    assert allowed.pop("default-src") == "'none'"
    assert {source for sources in allowed.values() for source in sources.split()} <= {
        "'unsafe-inline'",
        "data:",
        "blob:",
    }
    loading = {"src", "srcset", "action", "data", "poster", "background", "formaction", "ping"}
    assert [each for _, each, _ in elements.all if loading & each.keys()] == []
    assert {tag for tag, _, _ in elements.all} & {"link", "iframe", "img", "object", "embed", "base"} == set()
    links = [each["href"] for each, _ in elements.of("a")]
    assert links
    assert not [link for link in links if link is None or re.match(r"\w+:|//", link)]
    assert "url(" not in "".join(said for _, said in elements.of("style"))


def test_names_are_text(text: str) -> None:
    assert HOSTILE not in text
    rows = [said for _, said in Elements(text).of("th")]
    assert any(HOSTILE in said for said in rows)


@pytest.mark.usefixtures("rendered")
def test_same_runs_give_the_same_bytes(text: str, tmp_path: Path) -> None:
    assert written(tmp_path / "one") == text
    assert png(draw_comparisons(COMPARED)) == png(draw_comparisons(COMPARED))


def test_the_picture_names_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five comparisons four are drawn, with the best two of three strategies by their names."""
    monkeypatch.setattr(comparison_picture, "NAMED", 2)
    [found] = COMPARED
    drawn = draw_comparisons([found] * 5).subfigs
    assert len(drawn) == 4
    for part in drawn:
        [legend] = [each for axes in part.axes if (each := axes.get_legend())]
        names = [each.label for each in found.found.strategies]
        assert [text.get_text() for text in legend.get_texts()] == [*names[:2], f"{len(names) - 2} other"]


def test_figures_are_plotlys_and_have_tables(text: str) -> None:
    [drawn] = json.loads(unpacked(text, "drawn"))
    assert set(drawn["figures"]) == {"ranking", "rates", "grid"}
    for figure in drawn["figures"].values():
        Figure(figure)  # which refuses what plotly does not know
    drawn_in = [each["data-figure"] for each, _ in Elements(text).of("div") if "data-figure" in each]
    assert drawn_in == ["ranking", "curves", "rates", "grid"]
    for place in drawn_in:
        following = text.partition(f'data-figure="{place}"')[2]
        assert "<table>" in (text if place == "ranking" else following.partition("<h3>")[0])


def test_one_that_is_far_off_leaves_the_others_their_colours() -> None:
    means: list[list[float | None]] = [[0.1, 0.11, 0.12], [0.13, 0.11, 0.9]]
    [trace] = draw_grid(Grid(["step", "cosine"], "lr", ["1", "2", "3"], means, [[""] * 3] * 2), "val_loss")["data"]
    assert (trace["zmin"], trace["zmax"]) == (0.1, pytest.approx(0.1 + 3 * (0.12 - 0.1)))


def test_bands_and_single_runs(text: str) -> None:
    [drawn] = json.loads(unpacked(text, "drawn"))
    place = drawn["names"].index("cosine")
    own = [each for each in RECORDS if each.config["scheduler"] == "cosine" and each.config["lr"] == 0.1]
    at, median, low, high = drawn["bands"][place]["val_loss"]["epochs"]
    assert at == [1, 2, 3, 4]
    columns = list(zip(*(each.series["val_loss"].values.tolist() for each in own), strict=True))
    for found, expected in ((median, statistics.median), (low, min), (high, max)):
        assert found == pytest.approx([expected(column) for column in columns], rel=1e-3)
    assert drawn["bands"][place]["lr"]["seconds"][0] == pytest.approx([0.5, 1, 1.5, 2])
    assert len(drawn["runs"]) == len(RECORDS)
    run = next(each for each in drawn["runs"] if each["name"] == own[1].name)
    steps, losses = (drawn["lists"][number] for number in run["series"]["val_loss"])
    assert steps == [10, 20, 30, 40]
    assert losses == pytest.approx(own[1].series["val_loss"].values.tolist(), rel=1e-3)
    assert run["best"]
    assert sum(each["best"] for each in drawn["runs"]) == 9


def test_bands_of_runs_with_other_clocks() -> None:
    """A rate holds until its next value; other values lie on a line; each run counts where it has values."""

    def run(epochs: float, *steps: float) -> Record:
        own = Series(np.array(steps, np.float32), np.array(steps, np.float32))
        return Record(name="", steps=int(steps[-1]), epochs=epochs, series={"lr": own, "x": own})

    runs = [run(2, 0, 100, 200), run(1, 0, 50)]
    rates, values = band(runs, "lr", "updates"), band(runs, "x", "updates")
    assert rates is not None
    assert values is not None
    assert rates.at == pytest.approx(np.linspace(0, 200, 100))
    held = [{0: 0, 1: 0 if at > 50 else 50, 2: 100, 3: 100, 4: 200}[at // 50] for at in rates.at]
    assert rates.high.tolist() == held, "the second run ends after 50 updates"
    assert values.low == pytest.approx(values.at, abs=1e-4)
    assert band(runs, "unknown", "updates") is None


def test_jobs_failures_and_what_is_left_out(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elements = Elements(text)
    assert len([each for each, _ in elements.of("tr") if "data-status" in each]) == len(RECORDS)
    assert text.count("is not finite") == 9
    assert "and more" not in text
    assert "python -m lrtrain &lt;all&gt;" in text
    assert "torch 2.13 (27 runs)" in text
    monkeypatch.setattr(page, "MOST_RUNS", 10)
    monkeypatch.setattr(page, "MOST_JOBS", 5)
    less = written(tmp_path / "less")
    assert "Of 27 runs, 10 can be drawn one by one; the bands are of all." in less
    assert "The table has the best 5 of 27 runs." in less
    assert len([each for each, _ in Elements(less).of("tr") if "data-status" in each]) == 5
    [drawn] = json.loads(unpacked(less, "drawn"))
    assert len(drawn["runs"]) <= 10
    assert {each["strategy"] for each in drawn["runs"]} == {0, 1, 2}


@pytest.mark.usefixtures("rendered")
def test_settings_may_be_lists_and_nothing(tmp_path: Path) -> None:
    values: dict[str, tuple[Any, Any, str]] = {
        "milestones": ([1], ["50%"], "[1]"),
        "clip": (None, 1.0, "null"),
        "parts": ([{"scheduler": "cosine"}, 2], [], "[{scheduler:cosine},2]"),
    }
    for key, (best, other, shown) in values.items():
        rows = [
            Record(name=f"{name} {value}", config={"scheduler": name, "seed": 1, key: value}, metrics={"loss": loss})
            for name in "ab"
            for value, loss in ((best, 1.0), (other, 2.0))
        ]
        [compared] = compare_records(rows, Question(metric="loss"))
        assert [each.label for each in compared.found.strategies] == [f"{name} {key}={shown}" for name in "ab"]
        grid = grid_of(compared.found, [trial for _, trial in compared.runs])
        assert grid is not None
        assert shown in grid.columns
        written(tmp_path / key, [compared])


def test_what_follows_from_a_choice_is_no_setting_of_its_own() -> None:
    """The betas are Adam's, and vary within it only where they were swept."""
    kinds: list[dict[str, Any]] = [{"optimizer.name": "sgd"}]
    kinds += [{"optimizer.name": "adam", "optimizer.betas": betas} for betas in ([0.9, 0.999], [0.9, 0.99])]
    for count, keys in ((2, {"optimizer.name"}), (3, {"optimizer.name", "optimizer.betas"})):
        rows = [
            Record(name=f"{name} {kind}", config={"scheduler": name, "seed": 1, **kind}, metrics={"loss": 1.0})
            for name in "ab"
            for kind in kinds[:count]
        ]
        [compared] = compare_records(rows, Question(metric="loss"))
        assert {key for _, trial in compared.runs for key, _ in trial.setting} == keys


def test_a_monitored_metric_is_judged_by_its_test_and_drawn_before_others() -> None:
    series = Series(np.array([1, 2], np.float32), np.array([0.5, 0.6], np.float32))
    names = [*(f"grad_norm/{layer}" for layer in range(9)), "train_loss", "val_f1"]
    rows = [
        Record(
            name=name,
            config={"scheduler": name, "seed": 1, "monitor_mode": "max"},
            metrics={"val_f1": value, "test_f1": value / 2},
            monitor="val_f1",
            series=dict.fromkeys(names, series),
        )
        for name, value in (("a", 0.2), ("b", 0.4))
    ]
    [compared] = compare_records(rows, Question())
    assert (compared.found.chooser, compared.found.metric, compared.found.mode) == ("val_f1", "test_f1", "max")
    assert [each.name for each in compared.found.strategies] == ["b", "a"]
    assert page._metrics(compared)[:2] == ["val_f1", "train_loss"]


@pytest.mark.usefixtures("rendered")
def test_runs_that_say_little(tmp_path: Path) -> None:
    """Rows of a table: no curves, no rates, no folders, one seed."""
    configs = [{"scheduler": name, "seed": 1} for name in "ab"]
    rows = [Record(name=f"row {n}", config=config, metrics={"loss": n + 1.0}) for n, config in enumerate(configs)]
    compared = compare_records(rows, Question(metric="loss"))
    text = written(tmp_path / "rows", compared)
    drawn_in = [each["data-figure"] for each, _ in Elements(text).of("div") if "data-figure" in each]
    assert drawn_in == ["ranking"]
    assert png(draw_comparisons(compared)).startswith(b"\x89PNG")
