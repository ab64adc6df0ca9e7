"""Tables: features by hand, a stratified split, and whatever else a file holds is refused in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, CommandLine, Train, said_of, whole
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lrtrain.datasets import Splits, dataset, train_size
from lrtrain.errors import RequestError

DEFAULTS: dict[str, Any] = {"target": "kind", "drop": [], "validation": 0.1, "test": 0.2}


def load(file: Path, content: str | bytes | None = None, **parameters: Any) -> Splits:
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return dataset("csv", **DEFAULTS | {"file": str(file)} | parameters).make()  # type: ignore[no-any-return]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def table(rows: list[str], names: str = "size,colour,kind") -> str:
    return "\n".join([names, *rows]) + "\n"


COLOURS = ("red", "blue", "", "green")


def forty(separator: str = ",") -> str:
    """Forty rows: a number, a colour that is missing in every fourth, and a class that one in four has."""
    rows = [f"{row * 1.5},{COLOURS[row % 4]},{'rare' if row % 4 == 0 else 'common'}" for row in range(40)]
    return table(rows).replace(",", separator)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_features(separator: str, file: Path) -> None:
    """Numbers by the training split's mean and deviation, colours in alphabetical order, the missing one first."""
    splits = load(file, forty(separator))
    assert (splits.inputs.shape, splits.targets.outputs) == ((1 + 4,), 2)
    parts = [whole(source) for source in splits[:3]]
    assert [part[0].dtype for part in parts] == [np.float32] * 3
    train = parts[0][0][:, 0]
    assert train.mean() == pytest.approx(0, abs=1e-6)
    assert train.std() == pytest.approx(1, abs=1e-5)
    inputs, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(inputs[:, 0])
    assert np.diff(inputs[order, 0]) == pytest.approx(np.full(39, 1.5 * np.ptp(inputs[:, 0]) / 58.5), rel=1e-4)
    places = [sorted(COLOURS).index(COLOURS[row % 4]) for row in range(40)]
    assert inputs[order, 1:].tolist() == np.eye(4)[places].tolist()
    assert labels[order].tolist() == [int(row % 4 == 0) for row in range(40)], "common comes before rare"


def test_split_is_stratified_and_fixed(file: Path) -> None:
    splits, again = load(file, forty()), load(file)
    counts = [np.bincount(whole(source)[1]).tolist() for source in splits[:3]]
    assert counts == [[21, 7], [3, 1], [6, 2]], "7 / 1 / 2 of 10 and 21 / 3 / 6 of 30"
    assert train_size(dataset("csv", file=str(file), **DEFAULTS)) == 28
    for source, same in zip(splits[:3], again[:3], strict=True):
        assert np.array_equal(whole(source)[0], whole(same)[0])
    other = [np.bincount(whole(source)[1]).tolist() for source in load(file, validation=0.2, test=0.3)[:3]]
    assert other == [[15, 5], [6, 2], [9, 3]]


@pytest.mark.parametrize("missing", ["", "NA", "nan", "?", " null ", "N/A"])
def test_missing_number_is_the_mean(missing: str, file: Path) -> None:
    rows = [f"{missing if row % 3 == 0 else row},{row % 2}" for row in range(40)]
    inputs, _ = whole(load(file, table(rows, "size,kind")).train)
    known = inputs[inputs != 0]
    assert 0.2 < (inputs == 0).mean() < 0.5
    assert known.mean() == pytest.approx(0, abs=1e-5)
    assert known.std() == pytest.approx(1, abs=1e-4)


def test_number_of_which_there_is_none(file: Path) -> None:
    inputs, _ = whole(load(file, table([f",{row % 2},{row}" for row in range(20)], "empty,kind,size")).train)
    assert inputs.shape[1] == 2
    assert (inputs[:, 0] == 0).all()


def test_constant_number(file: Path) -> None:
    inputs, _ = whole(load(file, table([f"7,{row % 2}" for row in range(20)], "size,kind")).train)
    assert (inputs == 0).all()


def test_category_that_is_not_learned_of(file: Path) -> None:
    """Every row has a colour of its own: outside the training split, all of them are unknown."""
    splits = load(file, table([f"{row * row},c{row},{row % 2}" for row in range(10)]))
    assert (whole(splits.train)[0][:, 1:].sum(1) == 1).all()
    assert (whole(splits.test)[0][:, 1:] == 0).all()


def test_classes_that_are_numbers_are_in_their_order(file: Path) -> None:
    splits = load(file, table([f"{row % 3},{(2, 10, 9)[row % 3]}" for row in range(30)], "size,kind"))
    inputs, labels = whole(splits.train)
    sizes = np.unique(inputs[:, 0])
    assert [sorted(set(labels[inputs[:, 0] == size])) for size in sizes] == [[0], [2], [1]]


def test_quotes_and_blank_lines(file: Path) -> None:
    rows = [f'"a, ""b""\nc",{row},{row % 2}\r\n' for row in range(20)]
    assert load(file, "\ufeffcolour,size,kind\r\n" + "\r\n".join(rows)).inputs.shape == (2,)


def test_names_and_kinds_of_columns(file: Path) -> None:
    assert load(file, forty()).targets.names == ("common", "rare")
    missing = "missing values: colour 10; a number is then the mean, a text a category"
    assert load(file).remarks == ("columns: 1 of numbers, 1 of texts: colour", missing)
    assert load(file, drop=["colour"]).remarks == ("columns: 1 of numbers",)
    assert load(file, table([f"{row},{row % 2}" for row in range(20)], "size,kind")).targets.names == ("0", "1")


def test_column_that_one_value_makes_texts(file: Path, train: Train) -> None:
    """It is said once, with the place, when a run begins; where its values hardly recur, it is refused."""
    rows = [f"{row % 9},{'' if row % 4 else 'NA'},{row % 2}" for row in range(40)]
    rows[17] = "17 cm,,1"
    file.write_text(table(rows))
    run = train(*SMALL, "dataset=csv", f"dataset.file={file}", "dataset.target=kind", "epochs=1")
    said = "warning: column 'size' is taken for texts, as line 19 has '17 cm'; most of its values are numbers"
    assert run.result.out.count("columns: 1 of numbers, 1 of texts: size\n") == 1
    assert run.result.out.count(said) == 1
    file.write_text(table([*(f"{row},,{row % 2}" for row in range(2000)), "17 cm,,1"]))
    with pytest.raises(RequestError, match=r"2,001 different texts, as line 2002 has '17 cm', which is not a number"):
        load(file)


def test_dropped_columns(file: Path) -> None:
    assert load(file, forty(), drop=["colour"]).inputs.shape == (1,)
    assert load(file, drop=["size"]).inputs.shape == (4,)


def test_target_whose_name_is_a_number(file: Path) -> None:
    assert load(file, table([f"{row},{row % 2}" for row in range(20)], "1,2"), target=2).targets.outputs == 2


BAD = {
    "empty": (b"", "no column 'kind'"),
    "only a header": (b"size,kind\n", "there are no rows"),
    "a rare class": (table([f"{row},{'a' if row else 'b'}" for row in range(20)], "size,kind"), "leave them out"),
    "one class": (table([f"{row},same" for row in range(20)], "size,kind"), "two classes"),
    "ragged": (table(["1,red,a", "2,a"]), "line 3 has 2 values"),
    "longer": (table(["1,red,a,b"]), "line 2 has 4 values"),
    "no target": (table(["1,2"], "size,colour"), "there are size, colour"),
    "same names": (table(["1,2,a"], "size,size,kind"), "differ"),
    "no name": (table(["1,2,a"], "size,,kind"), "must be there"),
    "only the target": (table([f"{row % 2}" for row in range(20)], "kind"), "no column besides"),
    "no value": (table([f"{row},{row % 2 or ''}" for row in range(20)], "size,kind"), "line 2 has no value"),
    "rare class": (table([f"{row},{max(row, 1)}th" for row in range(3)], "size,kind"), "too few"),
    "huge": (table([f"{'9' * 400},{row % 2}" for row in range(20)], "size,kind"), "too large"),
    "huge exponent": (table([f"1e99999,{row % 2}" for row in range(20)], "size,kind"), "too large"),
    "binary": (bytes(range(256)) * 10, "UTF-8"),
    "zeros": (b"\0" * 100, "no column"),
    "open quote": (b'size,kind\n"1,a\n', "cannot be read"),
    "bad quote": (b'size,kind\n"1"2,a\n', "cannot be read"),
    "long field": (b"size,kind\n" + b"x" * 200_000 + b",a\n", "field"),
    "identifiers": (table([f"id{row},{row % 2}" for row in range(2000)], "name,kind"), "dataset.drop"),
}


def test_refused(file: Path) -> None:
    for what, (content, expected) in BAD.items():
        said = said_of(lambda content=content: load(file, content))  # type: ignore[misc]
        assert re.search(expected, said), (what, said)
        assert len(said.splitlines()) == 1, (what, said)
        assert said_of(lambda: train_size(dataset("csv", file=str(file), **DEFAULTS))), what


cells = st.one_of(
    st.sampled_from(
        ["", "a", "b", "1", "2", "-3.5", "nan", "inf", "1e400", "9" * 5000, "1_0", "0x1", "\u0663", "NA", "true"]
    ),
    st.text(max_size=5),
    st.floats().map(str),
    st.integers().map(str),
)
grids = st.builds(
    lambda names, rows, separator, end: end.join(separator.join(row) for row in [names, *rows]),
    st.lists(st.sampled_from(["kind", "size", "colour", "", "kind ", "x"]), min_size=1, max_size=4, unique=True),
    st.lists(st.lists(cells, min_size=2, max_size=3), max_size=12).map(lambda rows: rows * 4),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
sound = st.lists(st.tuples(cells, cells, st.sampled_from("ab")), min_size=1, max_size=8).map(
    lambda rows: table([",".join(row) for row in rows] * 5).encode("utf-8", "surrogatepass")
)


@settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(content=st.one_of(st.binary(max_size=200), grids, sound))
def test_whatever_a_file_holds(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is loaded, finite and as large as was told beforehand, or refused in one line."""
    file = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    file.write_bytes(content)
    size, said = 0, ""
    try:
        size = train_size(dataset("csv", file=str(file), **DEFAULTS))
    except RequestError as error:
        said = str(error)
    if not size:
        assert len(said.splitlines()) == 1
        with pytest.raises(RequestError):
            load(file)
        return
    splits = load(file)
    assert len(splits.train) == size
    for source in splits[:3]:
        inputs, labels = whole(source)
        assert np.isfinite(inputs).all()
        assert 0 <= labels.min() <= labels.max() < splits.targets.outputs


def test_training(file: Path, train: Train, command_line: CommandLine) -> None:
    file.write_text(forty())
    keys = ("dataset=csv", f"dataset.file={file}", "dataset.target=kind")
    run = train(*SMALL, *keys, "epochs=2", "batch_size=10")
    assert run.summary["steps"] == 6, "28 samples in batches of 10"
    refused = command_line("dataset=csv", f"dataset.file={file}", "dataset.target=colours")
    assert refused.code == 2
    assert (
        refused.err
        == f"lrtrain: {file} cannot be read: there is no column 'colours'; there are size, colour, kind (by the first "
        "line, which holds the names)\n"
    )


NUMBERS = {
    "decimal commas": ("x;y;kind", "1,37;7,13;a|2;8,5;b", [[1.37, 7.13], [2, 8.5]], "decimal comma"),
    "and thousands": ("x;y;kind", "1.234,5;7,13;a|2;8;b", [[1234.5, 7.13], [2, 8]], "decimal comma, and marks"),
    "only commas that may be either": ("x;y;kind", "1,234;7;a|2;8;b", [[1.234, 7], [2, 8]], "decimal comma"),
    "tabs": ("x\ty\tkind", "1,37\t7\ta|2\t8\tb", [[1.37, 7], [2, 8]], "decimal comma"),
    "quoted": ("x,y,kind", '"1,37",7,a|2,8,b', [[1.37, 7], [2, 8]], "decimal comma"),
    "thousands": ("x,y,kind", '"1,234",7.5,a|"2,000,000",8,b', [[1234, 7.5], [2e6, 8]], "between thousands"),
    "thousands beside points": ("x;y;kind", "1,234;7.5;a|2;8;b", [[1234, 7.5], [2, 8]], "between thousands"),
    "points": ("x;y;kind", "1.234;7.5;a|2;8;b", [[1.234, 7.5], [2, 8]], "columns"),
    "a name with a comma": ('"x, in m";y;kind', "1.2;7;a|2;8;b", [[1.2, 7], [2, 8]], "columns"),
}


@pytest.mark.parametrize(("names", "rows", "expected", "said"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_are_read_as_numbers(names: str, rows: str, expected: Any, said: str, file: Path) -> None:
    """Standardised, the two kinds of rows are as far apart as the numbers that are meant."""
    splits = load(file, table(rows.split("|") * 10, names))
    assert splits.inputs.shape == (2,)
    mean, std = np.array(list(splits.meaning["numbers"].values())).T
    inputs, labels = whole(splits.train)
    assert inputs * std + mean == pytest.approx(np.array(expected)[labels], rel=1e-5)
    assert said in " ".join(splits.remarks)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([f"id{row}" for row in range(40)], r"in 'x' \(40 in 40 rows, such as 'id0'\).*dataset\.drop=\[x\]"),
        ([f"2024-01-{row % 28 + 1:02d}" for row in range(40)], "such as '2024-01-01'"),
        ([f"{row}.5 cm" if row == 3 else f"{row}.5" for row in range(40)], "as line 5 has '3.5 cm'"),
        (["1.5" if row % 2 else "1;5" for row in range(40)], None),
    ],
)
def test_texts_that_hardly_recur(column: list[str], said: str | None, file: Path) -> None:
    content = table([f"{value},{row % 7},{row % 2}" for row, value in enumerate(column)], "x,y,kind")
    if said is None:
        assert load(file, content).inputs.shape == (3,)
        return
    with pytest.raises(RequestError, match=said):
        load(file, content)
    assert load(file, drop=["x"]).inputs.shape == (1,)


def test_two_decimal_marks(file: Path) -> None:
    with pytest.raises(RequestError, match="'y' seems to have a decimal point, and column 'x' a decimal comma"):
        load(file, table(["1,37;7.13;a", "2;8;b"] * 10, "x;y;kind"))


def test_what_looks_wrong_is_said(file: Path) -> None:
    said = load(file, table([f"{row},{row % 7},{row % 2}" for row in range(40)], "row,2.5,kind")).remarks
    assert any("'row' numbers the rows; leave it out by dataset.drop=[row]" in line for line in said)
    said = load(file, table([f"{row * row},{row % 7},{row % 2}" for row in range(40)], "1.5,2.5,kind")).remarks
    assert any("is the first line a row" in line for line in said)
    with pytest.raises(RequestError, match="two 'x'"):
        load(file, table(["1,2,a"], "x,x,kind"))
