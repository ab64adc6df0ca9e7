"""Whatever a data file holds, it is loaded as it says, or refused in one line."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from conftest import whole
from fuzzing import Outcomes, fuzzing
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


def undamaged(data: bytes) -> bytes:
    """Leave it as it is: it is taken."""
    return data


places = st.floats(0, 1)
pieces = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 8, b"(9, 9)", b"|O", b"'"]))
damages = st.one_of(
    st.just(undamaged),
    st.builds(cut, places, st.integers(1, 64)),
    st.builds(put, places, pieces),
    st.builds(overwrite, places, pieces),
    st.binary(max_size=64).map(lambda content: lambda _: content),
)


def loaded_or_refused(outcomes: Outcomes, load: Callable[[], Splits]) -> None:
    """Load a dataset, and look at what it holds."""
    if (splits := outcomes.unless_refused(load)) is None:
        return
    for source in splits[:3]:
        inputs, labels = whole(source)
        assert inputs.shape[1:] == splits.inputs.shape
        assert 0 <= labels.min() <= labels.max() < splits.targets.outputs


def npy(array: Any) -> bytes:
    """The file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


INPUTS, LABELS = npy(np.arange(240, dtype=np.float32).reshape(40, 6)), npy(np.arange(40) % 3)


def test_npy(tmp_path: Path) -> None:
    outcomes = Outcomes()

    @fuzzing
    @given(damage=damages, both=st.booleans())
    def try_it(damage: Damage, both: bool) -> None:
        files = {"inputs": tmp_path / "inputs.npy", "labels": tmp_path / "labels.npy"}
        files["inputs"].write_bytes(damage(INPUTS) if both else INPUTS)
        files["labels"].write_bytes(damage(LABELS))
        named = {name: str(file) for name, file in files.items()}
        loaded_or_refused(outcomes, lambda: dataset("npy", **named).make())

    try_it()
    outcomes.are_both()


SMALL = Pictures("p", "nowhere", dict.fromkeys("abcd", ""), (1, 3, 4), 10, 30, 20, (0.5,), (0.5,))
"""The first file has 30 pictures of 3 x 4 pixels."""


def idx(*shape: int) -> bytes:
    """The content of a file of IDX."""
    header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
    return header + bytes(index % 7 for index in range(int(np.prod(shape))))


def test_idx(tmp_path: Path) -> None:
    outcomes = Outcomes()

    @fuzzing
    @given(damage=damages, packed=st.booleans(), file=st.sampled_from("abcd"))
    def try_it(damage: Damage, packed: bool, file: str) -> None:
        contents = {"a": idx(30, 3, 4), "b": idx(30), "c": idx(20, 3, 4), "d": idx(20)}
        for name, content in contents.items():
            changed = damage if name == file else undamaged
            whole_file = changed(gzip.compress(content)) if packed else gzip.compress(changed(content))
            (tmp_path / name).write_bytes(whole_file)
        refused_or_of_the_shapes(outcomes, lambda: read_idx(SMALL, tmp_path))

    try_it()
    outcomes.are_both()


def refused_or_of_the_shapes(outcomes: Outcomes, read: Callable[[], tuple[Any, ...]]) -> None:
    """Read pictures, and look at how many there are."""
    if (arrays := outcomes.unless_refused(read)) is not None:
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


def test_cifar(tmp_path: Path) -> None:
    outcomes, pictures = Outcomes(), SMALL._replace(files={"cifar": ""})

    @fuzzing
    @given(damage=damages, where=st.sampled_from(["file", "archive", "packed"]))
    def try_it(damage: Damage, where: str) -> None:
        content = archive(damage if where == "file" else undamaged)
        packed = gzip.compress(damage(content) if where == "archive" else content)
        (tmp_path / "cifar").write_bytes(damage(packed) if where == "packed" else packed)
        read = partial(read_cifar, pictures, tmp_path, ["one.bin", "two.bin"], "test.bin", 0, 1)
        refused_or_of_the_shapes(outcomes, read)

    try_it()
    outcomes.are_both()


texts = st.text(max_size=300) | st.text(min_size=20, max_size=300)  # of which the first are short, if anything


def test_text(tmp_path: Path) -> None:
    outcomes, file = Outcomes(), tmp_path / "text.txt"

    @fuzzing
    @given(content=st.one_of(st.binary(max_size=300), texts.map(lambda text: text.encode())))
    def try_it(content: bytes) -> None:
        file.write_bytes(content)
        loaded_or_refused(outcomes, lambda: dataset("text", file=str(file), length=4, stride=1, validation=0.2).make())

    try_it()
    outcomes.are_both()
