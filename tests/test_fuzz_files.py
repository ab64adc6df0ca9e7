"""Whatever a data file holds, it is loaded as it says, or refused in one line."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import whole
from fuzzing import fuzzing, unless_refused
from hypothesis import given
from hypothesis import strategies as st

from lrtrain.datasets import Splits, dataset
from lrtrain.datasets.pictures import Pictures, read_cifar, read_idx

Damage = Callable[[bytes], bytes]


def cut(share: float, length: int) -> Damage:
    """Take out some bytes."""
    return lambda data: data[: int(share * len(data))] + data[int(share * len(data)) + length :]


def put(share: float, piece: bytes) -> Damage:
    """Put in some bytes."""
    return lambda data: data[: int(share * len(data))] + piece + data[int(share * len(data)) :]


def overwrite(share: float, piece: bytes) -> Damage:
    """Change some bytes."""
    return lambda data: put(share, piece)(cut(share, len(piece))(data))


places = st.floats(0, 1)
pieces = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 8, b"(9, 9)", b"|O", b"'"]))
damages = st.one_of(
    st.builds(cut, places, st.integers(1, 64)),
    st.builds(put, places, pieces),
    st.builds(overwrite, places, pieces),
    st.binary(max_size=64).map(lambda content: lambda _: content),
)


def loaded_or_refused(load: Callable[[], Splits]) -> None:
    """Load a dataset, and look at what it holds."""
    if (splits := unless_refused(load)) is None:
        return
    for source in splits[:3]:
        inputs, labels = whole(source)
        assert inputs.shape[1:] == splits.inputs.shape
        assert 0 <= labels.min() <= labels.max() < splits.classes


def npy(array: Any) -> bytes:
    """The file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


INPUTS, LABELS = npy(np.arange(240, dtype=np.float32).reshape(40, 6)), npy(np.arange(40) % 3)


@fuzzing
@given(damage=damages, both=st.booleans())
def test_npy(damage: Damage, both: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    files = {"inputs": folder / "inputs.npy", "labels": folder / "labels.npy"}
    files["inputs"].write_bytes(damage(INPUTS) if both else INPUTS)
    files["labels"].write_bytes(damage(LABELS))
    given_files = {name: str(file) for name, file in files.items()}
    loaded_or_refused(lambda: dataset("npy", **given_files).make())


SMALL = Pictures("p", "nowhere", dict.fromkeys("abcd", ""), (1, 3, 4), 10, 30, 20, (0.5,), (0.5,))
"""The first file has 30 pictures of 3 x 4 pixels."""


def idx(*shape: int) -> bytes:
    """The content of a file of IDX."""
    header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
    return header + bytes(index % 7 for index in range(int(np.prod(shape))))


@fuzzing
@given(damage=damages, packed=st.booleans(), file=st.sampled_from("abcd"))
def test_idx(damage: Damage, packed: bool, file: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    contents = {"a": idx(30, 3, 4), "b": idx(30), "c": idx(20, 3, 4), "d": idx(20)}
    for name, content in contents.items():
        changed = damage if name == file else lambda data: data
        whole_file = changed(gzip.compress(content)) if packed else gzip.compress(changed(content))
        (folder / name).write_bytes(whole_file)
    refused_or_of_the_shapes(lambda: read_idx(SMALL, folder))


def refused_or_of_the_shapes(read: Callable[[], tuple[Any, ...]]) -> None:
    """Read pictures, and look at how many there are."""
    if (arrays := unless_refused(read)) is not None:
        assert [array.shape for array in arrays] == [(30, 1, 3, 4), (30,), (20, 1, 3, 4), (20,)]


def archive(damage: Damage) -> bytes:
    """CIFAR's: two files to train on, one to test, of which the first is damaged."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, count in (("one.bin", 15), ("two.bin", 15), ("test.bin", 20)):
            content = bytes(index % 7 for index in range(count * 13))
            content = damage(content) if name == "one.bin" else content
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@fuzzing
@given(damage=damages, where=st.sampled_from(["file", "archive", "packed"]))
def test_cifar(damage: Damage, where: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    content = archive(damage if where == "file" else lambda data: data)
    packed = gzip.compress(damage(content) if where == "archive" else content)
    (folder / "cifar").write_bytes(damage(packed) if where == "packed" else packed)
    pictures = SMALL._replace(files={"cifar": ""})
    refused_or_of_the_shapes(lambda: read_cifar(pictures, folder, ["one.bin", "two.bin"], "test.bin", 0, 1))


@fuzzing
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode())))
def test_text(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "text.txt"
    file.write_bytes(content)
    loaded_or_refused(lambda: dataset("text", file=str(file), length=4, stride=1, validation=0.2).make())
