"""Arrays in files: the same rows wherever they are kept."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, Train, parts
from numpy.typing import NDArray

from lrtrain.datasets import Source, dataset, train_size
from lrtrain.errors import RequestError


def arrays(folder: Path, inputs: Any, labels: Any) -> dict[str, Any]:
    np.save(folder / "x.npy", inputs)
    np.save(folder / "y.npy", labels)
    return {"inputs": str(folder / "x.npy"), "labels": str(folder / "y.npy"), "validation": 0.2, "test": 0.3}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int16])
def test_what_is_read(dtype: type, in_memory: bool, tmp_path: Path) -> None:
    inputs: NDArray[Any] = np.arange(120).reshape(20, 2, 3).astype(dtype)
    settings = arrays(tmp_path, inputs, np.arange(20) % 4)
    splits = dataset("npy", **settings, in_memory=in_memory).make()
    assert train_size(dataset("npy", **settings, in_memory=in_memory)) == 10
    assert [len(source) for source in splits[:3]] == [10, 4, 6]
    assert (splits.inputs.shape, splits.targets.outputs, splits.train.in_memory) == ((2, 3), 4, in_memory)
    rows: list[int] = []
    for values, labels in parts(splits):
        values = (values + 1) / 2 * 255 if dtype is np.uint8 else values
        places = np.round(values[:, 0, 0] / 6).astype(int)
        assert values == pytest.approx(inputs[places].astype(float), abs=1e-3)
        assert np.array_equal(labels, places % 4)
        rows += places.tolist()
    assert sorted(rows) == list(range(20))


def test_rows_are_not_pickled(tmp_path: Path) -> None:
    """A process that gathers batches opens the file by itself."""
    settings = arrays(tmp_path, np.zeros((20, 10_000)), np.arange(20) % 2)
    train = dataset("npy", **settings, in_memory=False).make().train
    copy: Source = pickle.loads(pickle.dumps(train))
    assert len(pickle.dumps(train)) < 10_000
    assert torch.equal(copy.gather(torch.tensor([3]))[0], train.gather(torch.tensor([3]))[0])


LAYOUTS = [
    ((32, 32, 3), "auto", 3, "have their channels last and are transposed"),
    ((5, 9, 1), "auto", 3, "transposed"),
    ((9, 9, 16), "auto", 3, "transposed"),
    ((3, 32, 32), "auto", 1, None),
    ((16, 9, 9), "auto", 1, None),
    ((3, 5, 4), "channels_first", 1, None),
    ((3, 5, 4), "channels_last", 3, None),
    ((28, 6), "channels_last", 2, None),
    ((28, 28), "channels_first", 1, None),
    ((28, 28), "auto", None, "grey pictures"),
    ((6, 28), "no_channels", None, None),
    ((6, 3), "auto", 1, "6 channels of 3 values; dataset.layout=channels_last"),
]
"""Of a sample, asked for, which axis of the whole array has the channels, and what is said."""


@pytest.mark.parametrize(("shape", "layout", "axis", "said"), LAYOUTS)
def test_channels(shape: tuple[int, ...], layout: str, axis: int | None, said: str | None, tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    expected = inputs[:, None] if axis is None else np.moveaxis(inputs, axis, 1)
    settings = arrays(tmp_path, inputs, np.arange(20) % 2) | {"layout": layout}
    for in_memory in (True, False):
        splits = dataset("npy", **settings, in_memory=in_memory).make()
        assert splits.inputs.shape == expected.shape[1:]
        found = [
            np.round((sample + 1) * 127.5).astype(np.uint8).tobytes() for part in parts(splits) for sample in part[0]
        ]
        assert sorted(found) == sorted(sample.tobytes() for sample in expected)
        assert [said in line for line in splits.remarks if said] == [True] * len(splits.remarks)
        assert len(splits.remarks) == (said is not None)


@pytest.mark.parametrize(
    ("inputs", "labels", "said"),
    [
        (np.zeros((20, 3, 5, 4)), np.arange(20) % 2, "is not clear: give dataset.layout=channels_first"),
        (np.zeros((20, 8, 8, 8)), np.arange(20) % 2, "is not clear"),
        (np.zeros(20), np.arange(20) % 2, "row of numbers"),
        (np.zeros((0, 3)), np.arange(0), "row of numbers"),
        (np.zeros((20, 3), complex), np.arange(20) % 2, "file of numbers"),
        (np.zeros((20, 3), object), np.arange(20) % 2, "cannot be read"),
        (np.zeros((20, 3), ">f4"), np.arange(20) % 2, "byte order"),
        (np.zeros((20, 3)), np.arange(19) % 2, "19 labels"),
        (np.zeros((20, 3)), np.arange(20) % 2 - 1, "labels from 0"),
        (np.zeros((20, 3)), np.zeros(20, int), "labels from 0"),
        (np.zeros((20, 3)), np.arange(20) * 10**12, "labels from 0"),
        (np.zeros((20, 3)), np.zeros((20, 2, 2), int), "a number for each sample, or a row"),
        (np.zeros((20, 3)), np.full(20, 0.5), "nothing can be learned"),
        (np.zeros((2, 3)), np.arange(2), "a part would be empty"),
    ],
)
def test_refused(inputs: Any, labels: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        dataset("npy", **arrays(tmp_path, inputs, labels)).make()
    assert len(str(refused.value).splitlines()) == 1


def test_labels_of_two_kinds(tmp_path: Path) -> None:
    """False is 0, true is 1."""
    settings = arrays(tmp_path, np.arange(40.0).reshape(20, 2), np.arange(20) % 4 == 1)
    splits = dataset("npy", **settings).make()
    assert splits.targets.outputs == 2
    for inputs, labels in parts(splits):
        assert labels.tolist() == (inputs[:, 0] / 2 % 4 == 1).astype(int).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_inputs_that_are_not_finite(value: float, tmp_path: Path) -> None:
    inputs = np.ones((20, 3))
    inputs[13, 1] = value
    with pytest.raises(RequestError, match=r"dataset\.inputs: the sample at index 13 holds a number that is nan, inf"):
        dataset("npy", **arrays(tmp_path, inputs, np.arange(20) % 2), in_memory=True).make()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text", pickle.dumps([1])], ids=ascii)
def test_damage(content: bytes, tmp_path: Path) -> None:
    settings = arrays(tmp_path, np.zeros((20, 3)), np.arange(20) % 2)
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(RequestError, match=r"x\.npy"):
        train_size(dataset("npy", **settings))


def test_training_from_disk(tmp_path: Path, train: Train) -> None:
    """The same run, whether the rows are in memory, read here, or read by other processes."""
    inputs = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    settings = arrays(tmp_path, inputs, (inputs.sum(1) > 0).astype(int))
    keys = [f"dataset.{key}={value}" for key, value in settings.items()]
    runs = [
        train(*SMALL, "dataset=npy", *keys, "epochs=2", *more)
        for more in (
            ("dataset.in_memory=true",),
            ("dataset.in_memory=false",),
            ("dataset.in_memory=false", "workers=1"),
        )
    ]
    assert "held in memory" in runs[0].result.out
    assert "read from disk as they are needed" in runs[1].result.out
    assert runs[0].rows == runs[1].rows == runs[2].rows
