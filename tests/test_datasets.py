"""Datasets: split once and for all, kept in memory or read as needed, and refused in one line where they cannot be."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CommandLine, parts, whole
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lrtrain.datasets import dataset, train_size
from lrtrain.datasets.mnist1d import generate
from lrtrain.datasets.sources import InMemory, Scale, Streamed, free_memory, placed
from lrtrain.training.loader import Loader

generated = functools.cache(generate)
"""MNIST-1D, which takes a second to draw."""


def test_digits_are_those_of_scikit_learn() -> None:
    """Stratified, with nothing in two parts."""
    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(1797), test_size=360, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=180, stratify=labels[rest], random_state=0)
    for (inputs, classes), chosen in zip(parts(dataset("digits").make()), (train, validation, test), strict=True):
        assert inputs.dtype == np.float32
        np.testing.assert_array_equal(inputs.reshape(-1, 64) * 16, images[chosen])
        np.testing.assert_array_equal(classes, labels[chosen])
    assert train_size(dataset("digits")) == len(train)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_standardised_in_a_batch(channels: int) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, channels, 4, 5), dtype=np.uint8)
    mean, std = np.linspace(0.1, 0.5, channels), np.linspace(0.2, 0.3, channels)
    source = InMemory(stored, np.zeros(20, np.uint8), Scale(tuple(mean), tuple(std)))
    places = torch.tensor([7, 0, 7, 19])
    inputs, labels = source.gather(places)
    expected = (stored[places] / 255 - mean[:, None, None]) / std[:, None, None]
    assert inputs.numpy() == pytest.approx(expected, abs=1e-6)
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert np.array_equal(source.inputs, stored), "what is stored stays as it is"


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_other_numbers_become_float32(dtype: type) -> None:
    inputs, _ = InMemory(np.arange(6, dtype=dtype).reshape(3, 2), np.zeros(3, int)).gather(torch.tensor([2]))
    assert inputs.tolist() == [[4.0, 5.0]]
    assert inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("in_memory", "free", "expected"), [(None, 161, 1), (None, 160, 0), (True, 0, 1), (False, 9e9, 0)]
)
def test_memory_or_disk(in_memory: bool | None, free: float, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 rows of 4 bytes: more than half of 160 bytes is not held in memory."""
    monkeypatch.setattr("lrtrain.datasets.sources.free_memory", lambda: free)
    labels = np.arange(10)
    train, other = Streamed(Rows(), np.arange(10), labels), Streamed(Rows(), np.arange(10, 15), labels[:5])
    found = placed((train, other, other), in_memory, "numbers")
    assert [source.in_memory for source in found] == [expected] * 3
    assert whole(found[1])[0].tolist() == [[place] * 4 for place in range(10, 15)]


def test_free_memory() -> None:
    assert free_memory() > 1e6


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches(workers: int) -> None:
    source = Streamed(Rows(), np.arange(100, 123), np.arange(23))
    order = {"shuffle": True, "seed": 3}
    ours = Loader(source, 5, workers=workers, **order)  # type: ignore[arg-type]
    held = Loader(source.in_one_piece(), 5, **order)  # type: ignore[arg-type]
    for batch, expected in zip(ours, held, strict=True):
        assert all(torch.equal(*pair) for pair in zip(batch, expected, strict=True))
        assert torch.equal(batch[0][:, 0], batch[1] + 100.0)


class Rows:
    """Rows of four bytes, each the row's own place."""

    shape: tuple[int, ...] = (4,)
    dtype: np.dtype[np.generic] = np.dtype(np.uint8)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.generic]:
        return np.repeat(places[:, None], 4, axis=1).astype(np.uint8)


def test_mnist1d_equals_the_data_of_its_authors() -> None:
    """Values of ``mnist1d`` 0.0.2.post1: ``make_dataset(get_dataset_args())``, training before test."""
    signals, labels = generated()
    assert signals.shape == (5000, 40)
    assert labels[[0, 1, 2, 3, 4, 3999, 4000, 4999]].tolist() == [2, 6, 4, 5, 6, 8, 2, 4]
    some = [
        [-0.33200566736939013, 1.6525071095153063, 1.5934880211319844, -0.8901663884753127],
        [-0.6939948035971022, -0.9526049347609842, -0.28179308765768885, -1.6509928567520655],
        [-0.07877078047732886, -0.44891797010720996, -1.0839331678123738, 0.34613288666461994],
        [-0.5193287078205188, -0.04104002875460335, 1.394928334345496, 1.1931518368352758],
    ]
    assert signals[[0, 3999, 4000, 4999]][:, [0, 7, 20, 39]] == pytest.approx(np.array(some), abs=1e-12)
    cubes = [205.27872995557792, -806.1033306739554, 651.6207671869204]
    assert (signals**3).sum(0)[[0, 20, 39]] == pytest.approx(cubes, rel=1e-9)
    weighted = [341.6936056828472, -3109.034963455978, -3674.291324667457, -824.7407402409898, 848.8012959484113]
    assert (signals * labels[:, None]).sum(0)[[0, 10, 20, 30, 39]] == pytest.approx(weighted, rel=1e-9)


def test_mnist1d_equals_the_package() -> None:
    package = pytest.importorskip("mnist1d.data")
    theirs = package.make_dataset(package.get_dataset_args())
    signals, labels = generated()
    assert np.abs(signals - np.concatenate([theirs["x"], theirs["x_test"]])).max() < 1e-12
    assert np.array_equal(labels, np.concatenate([theirs["y"], theirs["y_test"]]))


@pytest.mark.parametrize(
    ("validation", "sizes"), [(0.1, (3600, 400, 1000)), (0, (4000, 1000, 1000)), (0.5, (2000, 2000, 1000))]
)
def test_split_of_mnist1d(validation: float, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrtrain.datasets.mnist1d.generate", generated)
    splits = dataset("mnist1d", validation=validation).make()
    assert tuple(map(len, splits[:3])) == sizes
    assert train_size(dataset("mnist1d", validation=validation)) == sizes[0]
    assert splits.inputs == ((1, 40), None)
    signals, labels = generated()
    found = parts(splits)
    own = np.concatenate([part[0] for part in found[: 2 if validation else 1]])
    np.testing.assert_allclose(own, signals[:4000, None], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[2][0], signals[4000:, None], rtol=0, atol=1e-6)
    assert np.array_equal(found[2][1], labels[4000:])


def is_one_line(result: Any) -> bool:
    return bool(result.code == 2 and len(result.err.splitlines()) == 1 and result.err.startswith("lrtrain: "))


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset=text", "dataset.file=[1,2]"),
        ("dataset=text", "dataset.file=true"),
        ("dataset=text", "dataset.file=''"),
        ("dataset=text", "dataset.file=/"),
        ("dataset=text", "dataset.file=" + "x" * 5000),
        ("dataset=text", "dataset.stride=0"),
        ("dataset=text", "dataset.length=null"),
        ("dataset=text", "dataset.validation=1"),
        ("dataset=csv",),
        ("dataset=csv", "dataset.drop=a"),
        ("dataset=npy", "dataset.in_memory=maybe"),
        ("dataset=mnist", "dataset.data_dir=null"),
        ("dataset=mnist1d", "dataset.validation=0.99999"),
        ("dataset.name=csv",),
        ("augment=3",),
        ("augment.crop=-1",),
        ("augment.flip=2",),
        ("augment.cutout=1.5",),
    ],
    ids=lambda arguments: " ".join(arguments)[:50],
)
def test_wrong_keys(arguments: tuple[str, ...], command_line: CommandLine, tmp_path: Path) -> None:
    assert is_one_line(command_line(*arguments))
    assert list(tmp_path.iterdir()) == []
