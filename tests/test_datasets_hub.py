"""Datasets in the form of the Hugging Face hub, from files on this machine."""

from __future__ import annotations

import contextlib
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, CommandLine, Train, parts
from numpy.typing import NDArray

from lrtrain.datasets import Source, Splits, dataset, train_size
from lrtrain.errors import RequestError


def test_missing_package(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused = command_line("dataset=hub", "dataset.path=some/thing")
    assert refused.code == 2
    assert refused.err == 'lrtrain: dataset=hub needs another package: pip install "lrtrain[hub]"\n'


def test_no_path(command_line: CommandLine) -> None:
    refused = command_line("dataset=hub")
    assert refused.code == 2
    assert "give dataset.path=NAME" in refused.err


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package `datasets`, which keeps what it makes in a folder of the test, and asks no network."""
    package = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(package.config, "HF_HUB_OFFLINE", True)
    return package


def load(path: Path, **settings: Any) -> Splits:
    bound = dataset("hub", **{"path": str(path), "test": 0.2} | settings)
    splits: Splits = bound.make()
    assert train_size(bound) == len(splits.train)
    return splits


def picture_folder(folder: Path, counts: dict[str, int], size: tuple[int, int] = (5, 4)) -> dict[str, NDArray[Any]]:
    """Pictures of cats and dogs in each split, and their pixels."""
    from PIL import Image

    random, pixels = np.random.default_rng(0), {}
    for split, count in counts.items():
        values = random.integers(0, 256, (2 * count, *size, 3), dtype=np.uint8)
        for place, value in enumerate(values):
            file = folder / split / ("cat", "dog")[place % 2] / f"{place:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).save(file)
        pixels[split] = np.concatenate([values[::2], values[1::2]])
    return pixels


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.usefixtures("hub")
def test_folder_of_pictures(in_memory: bool, tmp_path: Path) -> None:
    """It has a training and a test split: a tenth of the first is for validation."""
    pixels = picture_folder(tmp_path / "pictures", {"train": 20, "test": 3})
    splits = load(tmp_path / "pictures", in_memory=in_memory)
    assert [len(source) for source in splits[:3]] == [36, 4, 6]
    assert (splits.inputs.shape, splits.targets.outputs, splits.train.in_memory) == ((3, 5, 4), 2, in_memory)
    found = parts(splits)
    expected = pixels["test"].transpose(0, 3, 1, 2) / 127.5 - 1
    assert found[2][0] == pytest.approx(expected, abs=1e-5)
    assert found[2][1].tolist() == [0, 0, 0, 1, 1, 1]
    stored = {picture.tobytes(): place // 20 for place, picture in enumerate(pixels["train"].transpose(0, 3, 1, 2))}
    own = [pair for inputs, labels in found[:2] for pair in zip(inputs, labels, strict=True)]
    read = {np.round((inputs + 1) * 127.5).astype(np.uint8).tobytes(): label for inputs, label in own}
    assert read == stored


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("mode", "dtype"), [("I;16", np.uint16), ("I", np.int32), ("F", np.float32)])
def test_pictures_of_many_bits(mode: str, dtype: type, tmp_path: Path) -> None:
    from PIL import Image

    for place in range(20):
        file = tmp_path / "pictures" / ("cat", "dog")[place % 2] / f"{place}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5), 300 + place, dtype)).save(file)
    with pytest.raises(RequestError, match=f"image has pictures of more than 8 bits a pixel \\(mode {mode}\\)"):
        load(tmp_path / "pictures")


def test_classes_have_their_names(hub: Any, tmp_path: Path) -> None:
    """Those of folders and of texts; whole numbers and booleans have none."""
    picture_folder(tmp_path / "pictures", {"train": 10})
    assert load(tmp_path / "pictures").targets.names == ("cat", "dog")
    table = {
        "numbers": [[float(row)] for row in range(20)],
        "text": ["b" if row % 2 else "a" for row in range(20)],
        "whole": [row % 2 for row in range(20)],
        "truth": [row % 2 == 1 for row in range(20)],
    }
    hub.Dataset.from_dict(table).to_parquet(str(tmp_path / "table.parquet"))
    found = {label: load(tmp_path / "table.parquet", image="numbers", label=label) for label in list(table)[1:]}
    assert [splits.targets.names for splits in found.values()] == [("a", "b"), None, None]
    assert all(labels.tolist() == (inputs[:, 0] % 2).tolist() for s in found.values() for inputs, labels in parts(s))


def test_numbers_that_are_not_finite(hub: Any, tmp_path: Path) -> None:
    numbers = [[float(row), float("nan") if row == 7 else 0.0] for row in range(20)]
    table = {"numbers": numbers, "kind": ["b" if row % 2 else "a" for row in range(20)]}
    hub.Dataset.from_dict(table).to_parquet(str(tmp_path / "table.parquet"))
    with pytest.raises(RequestError, match="numbers: the sample at index 7 holds a number that is nan, inf"):
        load(tmp_path / "table.parquet", image="numbers", label="kind")


@pytest.mark.usefixtures("hub")
def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    picture_folder(tmp_path / "pictures", {"train": 10})
    picture_folder(tmp_path / "pictures", {"test": 3}, (6, 6))
    with pytest.raises(RequestError, match=r"dataset\.size"):
        load(tmp_path / "pictures")
    assert load(tmp_path / "pictures", size=8).inputs.shape == (3, 8, 8)


def test_parquet_of_arrays(hub: Any, tmp_path: Path) -> None:
    values = np.arange(60.0).reshape(20, 3)
    table = {
        "numbers": values.tolist(),
        "kind": ["b" if row % 2 else "a" for row in range(20)],
        "other": list("x" * 20),
    }
    hub.Dataset.from_dict(table).to_parquet(str(tmp_path / "table.parquet"))
    splits = load(tmp_path / "table.parquet", image="numbers", label="kind")
    assert [len(source) for source in splits[:3]] == [14, 2, 4]
    rows = []
    for inputs, labels in parts(splits):
        assert inputs.tolist() == values[np.round(inputs[:, 0] / 3).astype(int)].tolist()
        assert np.array_equal(labels, inputs[:, 0] % 2)
        rows += (inputs[:, 0] / 3).tolist()
    assert sorted(rows) == list(range(20))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give dataset.image=COLUMN; there are numbers, label, price, hidden"),
        ({"image": "nothing"}, "there is no such column"),
        ({"image": "numbers", "label": "nothing"}, "there is no such column"),
        ({"image": "numbers", "label": "hidden"}, "labels from 0"),
        ({"image": "ragged"}, "shapes"),
    ],
)
def test_refused(settings: dict[str, str], said: str, hub: Any, tmp_path: Path) -> None:
    table = {
        "numbers": [[1.0, 2.0]] * 20,
        "label": [row % 2 for row in range(20)],
        "price": [row / 7 for row in range(20)],
        "hidden": [-1] * 20,
        "ragged": [[0.0] * (1 + row % 2) for row in range(20)],
    }
    hub.Dataset.from_dict(table).to_parquet(str(tmp_path / "table.parquet"))
    with pytest.raises(RequestError, match=said) as refused:
        load(tmp_path / "table.parquet", **settings)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("content", [b"", b"PAR1", b"text"], ids=ascii)
def test_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(content)
    with pytest.raises(RequestError) as refused:
        load(tmp_path / "table.parquet")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.usefixtures("hub")
def test_script_in_a_folder_is_not_run(tmp_path: Path) -> None:
    picture_folder(tmp_path / "pictures", {"train": 10})
    (tmp_path / "pictures" / "pictures.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()\n")
    with contextlib.suppress(RequestError):
        load(tmp_path / "pictures")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("hub")
def test_pictures_are_not_pickled(tmp_path: Path) -> None:
    picture_folder(tmp_path / "pictures", {"train": 10})
    train = load(tmp_path / "pictures", in_memory=False).train
    copy: Source = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy.gather(torch.tensor([3]))[0], train.gather(torch.tensor([3]))[0])


@pytest.mark.usefixtures("hub")
def test_training(tmp_path: Path, train: Train) -> None:
    picture_folder(tmp_path / "pictures", {"train": 20})
    keys = ("dataset=hub", f"dataset.path={tmp_path}/pictures", "batch_size=7", "epochs=2")
    runs = [train(*SMALL, *keys, *more) for more in ((), ("dataset.in_memory=false", "workers=1"))]
    assert runs[0].rows == runs[1].rows
    assert runs[0].summary["steps"] == 8


def test_targets_of_every_kind(hub: Any, tmp_path: Path) -> None:
    """Numbers, columns of zeros and ones, and lists of classes."""
    topics = [[k for k in range(3) if row >> k & 1] for row in range(20)]
    table = {
        "numbers": [[1.0 * row, 2.0] for row in range(20)],
        "price": [row / 7 for row in range(20)],
        "hot": [row % 2 for row in range(20)],
        "wet": [row // 2 % 2 for row in range(20)],
        "topics": topics,
    }
    topic = hub.ClassLabel(names=["art", "law", "war"])
    kinds = {"numbers": hub.Value("float32"), "topics": topic}
    features = {
        **{name: hub.Sequence(kind) for name, kind in kinds.items()},
        **{name: hub.Value(kind) for name, kind in (("price", "float64"), ("hot", "int64"), ("wet", "int64"))},
    }
    hub.Dataset.from_dict(table, features=hub.Features(features)).to_parquet(str(tmp_path / "table.parquet"))

    def told(label: Any) -> tuple[Any, Any, Any]:
        splits = load(tmp_path / "table.parquet", image="numbers", label=label)
        rows, labels = (np.concatenate(pieces) for pieces in zip(*parts(splits), strict=True))
        return splits.targets, rows[:, 0].astype(int), labels

    targets, rows, labels = told("price")
    mean, deviation = targets.standards["price"]
    assert labels[:, 0] * deviation + mean == pytest.approx(rows / 7, abs=1e-5)
    targets, rows, labels = told(["hot", "wet"])
    assert (targets.objective, targets.names) == ("multilabel", ("hot", "wet"))
    assert labels.tolist() == [[row % 2, row // 2 % 2] for row in rows]
    targets, rows, labels = told("topics")
    assert (targets.objective, targets.names) == ("multilabel", ("art", "law", "war"))
    assert labels.tolist() == [[float(k in topics[row]) for k in range(3)] for row in rows]
