"""A run comes back to its data: what that means is found by name or refused, and its samples are the same or named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Train, read_csv, whole

import lrtrain
from lrtrain.datasets import Asked, Identity, Splits, dataset, read
from lrtrain.datasets.fingerprint import fingerprint
from lrtrain.datasets.sources import InMemory, Streamed
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound, plain

NAMES = ["size", "weight", "colour", "kind"]
LONGER = ("epochs=2", "resume_plan=keep")
Row = list[str]


def rows() -> list[Row]:
    """Sixty rows, whose class the numbers and the colour tell of."""
    random = np.random.default_rng(0)
    kinds = ("cat", "dog", "fox")
    return [
        [f"{random.normal(20 * (row % 3), 3):.2f}", f"{random.normal(row % 3, 2):.3f}", "rgb"[row % 3], kinds[row % 3]]
        for row in range(60)
    ]


def table(rows: Sequence[Row], names: Sequence[str] = NAMES, separator: str = ",") -> str:
    return "\n".join(separator.join(row) for row in [names, *rows]) + "\n"


def changed(column: int, change: Callable[[str], str], only: int | None = None) -> list[Row]:
    """The rows with another value in a column, of all of them or only one."""
    return [
        [change(value) if place == column and only in (None, number) else value for place, value in enumerate(row)]
        for number, row in enumerate(rows())
    ]


def comma(value: str) -> str:
    return value.replace(".", ",") if value[-1].isdigit() else value


SAME = {
    "columns in another order": table([row[::-1] for row in rows()], NAMES[::-1]),
    "a column more": table([["7" if n % 2 else "8", *row] for n, row in enumerate(rows())], ["more", *NAMES]),
    "a column of identifiers more": table([[f"id{n}", *row] for n, row in enumerate(rows())], ["id", *NAMES]),
    "another dialect": "\ufeff" + table([list(map(comma, row)) for row in rows()], separator=";"),
}
OTHER_MEANING = {
    "a class renamed": (table(changed(3, {"cat": "wolf", "dog": "dog", "fox": "fox"}.__getitem__)), "class 'wolf'"),
    "a column renamed": (table(rows(), ["length", *NAMES[1:]]), "no column 'size', which the run was trained on"),
    "a column gone": (table([row[1:] for row in rows()], NAMES[1:]), "no column 'size'"),
    "numbers that are texts": (table(changed(0, lambda value: f"{float(value):.0f} cm")), "'size' was of numbers"),
    "texts that are numbers": (table(changed(2, lambda value: str(ord(value)))), "'colour' was of texts"),
    "target renamed": (table(rows(), [*NAMES[:3], "class"]), "no column 'kind'"),
    "no names": (table(rows()[1:], rows()[0]), "no column 'kind'"),
}
OTHER_SAMPLES = {
    "classes swapped": table(changed(3, {"cat": "dog", "dog": "cat", "fox": "fox"}.__getitem__)),
    "names of columns swapped": table(rows(), [NAMES[1], NAMES[0], *NAMES[2:]]),
    "other units": table(changed(0, lambda value: f"{float(value) * 1000:.0f}")),
    "one number": table(changed(0, lambda value: f"{float(value) + 0.5:.2f}", only=17)),
    "one text": table(changed(2, lambda value: "b", only=0)),
    "one label": table(changed(3, lambda value: "dog", only=0)),
    "another order": table(rows()[::-1]),
    "fewer": table(rows()[3:]),
    "no fox": table([row for row in rows() if row[3] != "fox"]),
}


def keys(bound: Bound) -> list[str]:
    """The words that choose a dataset."""
    own = [f"dataset.{key}={value}" for key, value in bound.parameters.items() if isinstance(value, str)]
    return [f"dataset={bound.name}", *own]


def csv(file: Path) -> Bound:
    return dataset("csv", file=str(file), target="kind")


def refused(result: Any, said: str) -> None:
    assert result.code == 2, result.out
    assert said in result.err
    assert len(result.err.splitlines()) == 1


def known_again(bound: Bound, known: Identity) -> Splits:
    """A dataset as a run reads it that comes back to it."""
    return read(bound, Asked.by("auto", known))


def is_same(known: Identity, bound: Bound) -> bool:
    """Whether a dataset, read as it was known, still has the same samples."""
    found = known_again(bound, known).identity()
    assert known.differs(found) is None
    return known.has_others(found) is None


def test_edits_of_a_table(tmp_path: Path) -> None:
    """Found by name, it is the same; what can not be found is refused; other samples are told from those of then."""
    file = tmp_path / "table.csv"
    file.write_text(table(rows()))
    known, inputs = read(csv(file)).identity(), whole(read(csv(file)).train)[0]
    for name, content in SAME.items():
        file.write_text(content)
        assert is_same(known, csv(file)), name
        assert np.array_equal(whole(known_again(csv(file), known).train)[0], inputs), name
    for name, (content, said) in OTHER_MEANING.items():
        file.write_text(content)
        with pytest.raises(RequestError, match=said):
            pytest.fail(f"{name}: {known_again(csv(file), known)}")
    for name, content in OTHER_SAMPLES.items():
        file.write_text(content)
        assert not is_same(known, csv(file)), name
        found = known_again(csv(file), known).identity()
        assert (found.numbers, found.texts, found.names) == (known.numbers, known.texts, known.names)
        assert any("'size': it lies" in line for line in known.drift(found)) == (name == "other units"), name


def test_edits_of_a_text(tmp_path: Path) -> None:
    file, words = tmp_path / "words.txt", "to be or not to be that is the question " * 20
    bound = dataset("text", file=str(file), length=8)
    file.write_text(words)
    known = read(bound).identity()
    file.write_bytes(b"\xef\xbb\xbf" + words.encode())
    assert is_same(known, bound)
    for content in (words.replace("q", "z"), words.replace("q", "é"), words.upper()):
        file.write_text(content)
        with pytest.raises(RequestError, match="which is not among the 13 characters"):
            known_again(bound, known)
    file.write_text(words.replace("q", "b"))
    assert not is_same(known, bound)
    assert known_again(bound, known).identity().vocabulary == "".join(sorted(set(words))), "q is still one of them"
    for damaged in (words.encode("utf-16"), words.encode("utf-16-le")):
        file.write_bytes(damaged)
        with pytest.raises(RequestError, match="not a text in UTF-8"):
            known_again(bound, known)


def test_edits_of_arrays(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (60, 3, 9, 9), np.uint8)
    labels = np.arange(60) % 3
    bound = dataset("npy", inputs=str(tmp_path / "x.npy"), labels=str(tmp_path / "y.npy"))

    def save(pictures: Any, classes: Any) -> Bound:
        np.save(tmp_path / "x.npy", pictures)
        np.save(tmp_path / "y.npy", classes)
        return bound

    known = read(save(inputs, labels)).identity()
    assert is_same(known, save(inputs.transpose(0, 2, 3, 1), labels.astype(np.int16)))
    one = inputs.copy()
    one[5, 0, 0, 0] ^= 1
    for pictures, classes in ((one, labels), (inputs, (labels + 1) % 3), (inputs[::-1], labels[::-1])):
        assert not is_same(known, save(pictures, classes))
    for pictures, classes, said in (
        (inputs.astype(np.float32), labels, "the scale of bytes: .* -> none"),
        (inputs[:, :1], labels, "the shape of a sample: 3 x 9 x 9 -> 1 x 9 x 9"),
        (inputs, labels + 1, "labels from 1 to 3, and the run had 3 classes"),
    ):
        with pytest.raises(RequestError, match=said):
            known_again(save(pictures, classes), known)
    floats = np.random.default_rng(0).normal(10, 2, (60, 3)).astype(np.float32)
    known = read(save(floats, labels)).identity()
    assert is_same(known, save(floats.astype(np.float64), labels))
    far = list(known.drift(known_again(save(floats * np.array([1, 100, 1], np.float32), labels), known).identity()))
    assert [line.partition(":")[0] for line in far] == ["input 1"]
    assert not list(known.drift(known_again(save(floats + 1, labels), known).identity()))


def test_edits_of_a_folder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    from PIL import Image

    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(package.config, "HF_HUB_OFFLINE", True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), np.uint8)

    def save(folder: str, names: Sequence[str], mode: str = "RGB") -> Bound:
        for place, value in enumerate(pixels):
            file = tmp_path / folder / names[place % len(names)] / f"{place:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).convert(mode).save(file)
        return dataset("hub", path=str(tmp_path / folder))

    known = read(save("pictures", ["cat", "dog"])).identity()
    assert is_same(known, save("elsewhere", ["cat", "dog"]))
    (tmp_path / "elsewhere" / "cat" / "00.png").rename(tmp_path / "elsewhere" / "dog" / "00.png")
    assert not is_same(known, dataset("hub", path=str(tmp_path / "elsewhere")))
    for folder, names, mode, said in (
        ("renamed", ["acat", "dog"], "RGB", "class 'acat'"),
        ("more", ["cat", "dog", "owl"], "RGB", "class 'owl'"),
        ("grey", ["cat", "dog"], "L", "3 x 5 x 4 -> 1 x 5 x 4"),
    ):
        with pytest.raises(RequestError, match=said):
            known_again(save(folder, names, mode), known)
    assert not is_same(known, save("swapped", ["dog", "cat"]))
    three = read(save("three", ["cat", "dog", "owl"])).identity()
    fewer = known_again(save("fewer", ["dog", "owl"]), three)
    assert fewer.targets.names == ("cat", "dog", "owl")
    assert set(whole(fewer.train)[1]) == {1, 2}, "a dog is still the second"


def test_commands(train: Train, command_line: CommandLine, tmp_path: Path) -> None:
    """Evaluate and resume go on where all is found, in moved files too; else the command must say which data it is."""
    file = tmp_path / "table.csv"
    file.write_text(table(rows()))
    run = train(*SMALL, *keys(csv(file)), "epochs=1").folder
    measure = ("task=evaluate", "trainer=cpu", f"checkpoint={run}")
    expected = train(*measure).summary
    for content in (OTHER_SAMPLES["other units"], OTHER_MEANING["a class renamed"][0]):
        file.write_text(content)
        for words in (measure, ("task=predict", *measure[1:]), (f"resume={run}", *LONGER)):
            refused(command_line(*words), "the run")
    refused(command_line(*measure, f"dataset.file={file}"), "class 'wolf'")
    file.write_text(OTHER_SAMPLES["other units"])
    named = train(*measure, f"dataset.file={file}")
    assert named.summary["other_samples"]
    assert named.summary["data"]["numbers"] == expected["data"]["numbers"], "scaled as in training"
    assert named.summary["data"]["fingerprint"] != expected["data"]["fingerprint"]
    assert "other samples than the run's" in named.result.out
    assert "warning: column 'size': it lies" in named.result.out
    file.write_text(SAME["columns in another order"])
    file.rename(tmp_path / "moved.csv")
    moved = (f"checkpoint={run.rename(tmp_path / 'moved')}", f"dataset.file={tmp_path}/moved.csv")
    again = train(*measure[:2], *moved).summary
    assert (again["final"], again["other_samples"]) == (expected["final"], False)
    refused(command_line(f"resume={tmp_path}/moved", *LONGER), "there is no such file")
    assert command_line(f"resume={tmp_path}/moved", moved[1], *LONGER).code == 0


def test_rows_that_are_new(train: Train, tmp_path: Path) -> None:
    """Two of one class are scaled and numbered as in training; a loaded model takes them by the names of columns."""
    file, new = tmp_path / "table.csv", [row for row in rows() if row[3] == "fox"][:2]
    file.write_text(table(rows()))
    run = train(*SMALL, *keys(csv(file)), "epochs=1").folder
    file.write_text(table(new))
    [found] = read_csv(
        train("task=predict", "trainer=cpu", f"checkpoint={run}", f"dataset.file={file}").folder / "predictions.csv"
    )
    loaded = lrtrain.load(run)
    by_name = dict(zip(NAMES, map(list, zip(*new, strict=True)), strict=True))
    expected = loaded.predict(by_name)
    assert found["label"] == "fox"
    assert [float(found[f"p_{name}"]) for name in loaded.names or ()] in [
        pytest.approx(row.tolist(), rel=1e-4) for row in expected
    ]
    with pytest.raises(RequestError, match="no column 'colour'"):
        loaded.predict({"size": [1.0], "weight": [2.0]})


def test_weights_on_other_data(train: Train, tmp_path: Path) -> None:
    """A new run that begins with them reads its data as it was known where it can, and says where it cannot."""
    file = tmp_path / "table.csv"
    file.write_text(table(rows()))
    run = train(*SMALL, *keys(csv(file)), "epochs=1")
    begins = (f"resume={run.folder}", "resume_plan=weights_only", f"dataset.file={file}")
    file.write_text(OTHER_SAMPLES["other units"])
    assert train(*begins).summary["data"]["numbers"] == run.summary["data"]["numbers"]
    file.write_text(OTHER_MEANING["a class renamed"][0])
    said = "warning: the weights that this run begins with were of other data: column 'kind' has the class 'wolf'"
    assert said in train(*begins).result.out


def test_run_that_has_not_recorded_it(train: Train, command_line: CommandLine) -> None:
    run = train(*SMALL, "epochs=1").folder
    for file in ("plan.json", "summary.json"):
        stored = json.loads((run / file).read_text())
        del stored["data"]
        (run / file).write_text(json.dumps(stored))
    said = "which samples the run had is not recorded: these are taken for the same"
    assert said in train("task=evaluate", "trainer=cpu", f"checkpoint={run}").result.out
    resumed = command_line(f"resume={run}", *LONGER)
    assert (resumed.code, said in resumed.out) == (0, True)
    assert json.loads((run / "plan.json").read_text())["data"]["fingerprint"], "it is from here on"


def test_record_that_was_edited(train: Train, command_line: CommandLine) -> None:
    run = train(*SMALL, "epochs=1").folder
    stored = json.loads((run / "plan.json").read_text())
    for key, value in (("classes", "ten"), ("names", 3), ("fingerprint", [1]), ("numbers", {"x": ["a"]})):
        (run / "plan.json").write_text(json.dumps({**stored, "data": {**stored["data"], key: value}}))
        refused(command_line(f"resume={run}", *LONGER), f"data.{key} must be")
        refused(command_line("task=evaluate", f"checkpoint={run}"), f"data.{key} must be")


def test_fingerprint() -> None:
    """One bit of a label or an input tells; where the samples are kept does not."""

    class Rows:
        shape: tuple[int, ...] = (4,)
        dtype: np.dtype[np.generic] = np.dtype(np.uint8)

        def read(self, places: Any) -> Any:
            return (places[:, None] * 7 + np.arange(4)).astype(np.uint8)

    places, labels = np.arange(1000), np.arange(1000) % 10
    streamed = Streamed(Rows(), places, labels)
    held = streamed.in_one_piece()
    first = fingerprint([held])["fingerprint"]
    assert set(first) == {"labels", "some_inputs", "inputs"}
    assert fingerprint([streamed])["fingerprint"].items() < first.items()
    held.labels[500] = 3
    assert fingerprint([held])["fingerprint"]["labels"] != first["labels"]
    held.inputs[501, 2] ^= 1
    assert fingerprint([held])["fingerprint"]["inputs"] != first["inputs"]
    tokens = torch.arange(100, dtype=torch.uint8) % 7
    windows = InMemory(tokens[:-1].unfold(0, 8, 1), tokens[1:].unfold(0, 8, 1), tokens=True)
    before = fingerprint([windows])["fingerprint"]["labels"]
    tokens[50] = 6
    assert fingerprint([windows])["fingerprint"]["labels"] != before


def test_identity_is_the_same_after_writing() -> None:
    identity = read(dataset("digits")).identity()
    stored = json.loads(json.dumps(plain(identity)))
    assert Identity(**stored) == identity
    assert identity.differs(Identity(**stored)) is identity.has_others(Identity(**stored)) is None
