"""The public pictures: what is read is what the files hold; missing ones are fetched, damaged ones refused."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, CommandLine, Train, parts, said_of
from numpy.typing import NDArray

from lrtrain.datasets import cifar10, cifar100, dataset, fashion_mnist, files, mnist, pictures, train_size
from lrtrain.errors import RequestError

SAMPLES = np.random.default_rng(1)
FIRST = {"mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], "fashion_mnist": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]}


def idx(values: NDArray[np.uint8]) -> bytes:
    """An IDX file by its definition."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def some(count: int, first: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = SAMPLES.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = SAMPLES.integers(0, 10, count, dtype=np.uint8)
    labels[: len(first)] = first
    return images, labels


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public datasets of 60 and 20 pictures, 10 of the 60 for validation."""
    for module, name in (
        (mnist, "MNIST"),
        (fashion_mnist, "FASHION_MNIST"),
        (cifar10, "CIFAR10"),
        (cifar100, "CIFAR100"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name)._replace(train=60, test=20))
        monkeypatch.setattr(module, "VALIDATION", 10)
    monkeypatch.setattr(pictures, "VALIDATION", 10)
    monkeypatch.setattr(files, "_fetch", no_network)


def no_network(*arguments: Any) -> None:
    raise ConnectionError("there is no network")


IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def write_idx(folder: Path, name: str = "mnist") -> list[NDArray[np.uint8]]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = [*some(60, FIRST[name]), *some(20, [])]
    for file, array in zip(IDX, arrays, strict=True):
        (folder / file).write_bytes(gzip.compress(idx(array)))
    return arrays


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("below", [False, True])
def test_idx(name: str, below: bool, tmp_path: Path) -> None:
    images, labels, test_images, test_labels = write_idx(tmp_path / name if below else tmp_path, name)
    splits = dataset(name, data_dir=str(tmp_path)).make()
    mean, std = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}[name]
    expected = (images[:50], labels[:50]), (images[50:], labels[50:]), (test_images, test_labels)
    for part, (pixels, numbers) in zip(parts(splits), expected, strict=True):
        np.testing.assert_allclose(part[0], (pixels[:, None] / 255 - mean) / std, rtol=0, atol=1e-5)
        assert np.array_equal(part[1], numbers)
    assert (splits.inputs, splits.targets.outputs) == (((1, 28, 28), None), 10)
    assert train_size(dataset(name, data_dir=str(tmp_path))) == 50
    assert (splits.targets.names or [None] * 10)[9] == {"mnist": None, "fashion_mnist": "Ankle boot"}[name]


@pytest.mark.usefixtures("small")
def test_one_is_not_taken_for_the_other(tmp_path: Path) -> None:
    write_idx(tmp_path, "mnist")
    with pytest.raises(RequestError, match="another dataset"):
        dataset("fashion_mnist", data_dir=str(tmp_path)).make()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "text": lambda data: b"not gzip at all",
    "half": lambda data: data[: len(data) // 2],
    "no end": lambda data: data[:-4],
    "bit": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "short": lambda data: gzip.compress(gzip.decompress(data)[:-1]),
    "long": lambda data: gzip.compress(gzip.decompress(data) + b"\0"),
    "other type": lambda data: gzip.compress(b"\0\0\x09" + gzip.decompress(data)[3:]),
    "huge": lambda data: gzip.compress(gzip.decompress(data)[:4] + b"\xff" * 4 + gzip.decompress(data)[8:]),
    "no header": lambda data: gzip.compress(gzip.decompress(data)[:3]),
}


@pytest.mark.usefixtures("small")
def test_damaged_idx(tmp_path: Path) -> None:
    for name, (what, damage) in product(IDX, DAMAGE.items()):
        write_idx(tmp_path)
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
        said = said_of(lambda: dataset("mnist", data_dir=str(tmp_path)).make())
        assert name in said, what
        assert len(said.splitlines()) == 1, (name, what)


@pytest.mark.usefixtures("small")
def test_label_beyond_the_classes(tmp_path: Path) -> None:
    arrays = write_idx(tmp_path)
    arrays[3][4] = 10
    (tmp_path / IDX[3]).write_bytes(gzip.compress(idx(arrays[3])))
    with pytest.raises(RequestError, match="10 classes"):
        dataset("mnist", data_dir=str(tmp_path)).make()


@pytest.mark.usefixtures("small")
def test_missing(tmp_path: Path, command_line: CommandLine) -> None:
    result = command_line("dataset=mnist", f"dataset.data_dir={tmp_path / 'data'}", "trainer=cpu")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    for said in (*IDX, str(tmp_path / "data" / "mnist"), "https://ossci-datasets"):
        assert said in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_preview_needs_no_files(tmp_path: Path, command_line: CommandLine) -> None:
    result = command_line("task=preview", "dataset=mnist", f"dataset.data_dir={tmp_path}/none", "batch_size=25")
    assert result.code == 0, result.err
    assert "2 updates" in result.out


@pytest.mark.usefixtures("small")
def test_training(tmp_path: Path, train: Train) -> None:
    write_idx(tmp_path / "data")
    run = train(*SMALL, "dataset=mnist", f"dataset.data_dir={tmp_path / 'data'}", "epochs=1", "batch_size=20")
    assert run.summary["steps"] == 3
    assert "mnist: 50 samples of 1 x 28 x 28 to train on, 10 to validate, 20 to test; held in memory" in run.result.out


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def records(count: int, label_bytes: int, classes: int) -> NDArray[np.uint8]:
    found = SAMPLES.integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
    found[:, :label_bytes] %= classes
    return found


MEAN: dict[str, NDArray[Any]] = {
    "cifar10": np.array([0.4914, 0.4822, 0.4465]),
    "cifar100": np.array([0.5071, 0.4865, 0.4409]),
}
STD: dict[str, NDArray[Any]] = {
    "cifar10": np.array([0.2470, 0.2435, 0.2616]),
    "cifar100": np.array([0.2673, 0.2564, 0.2762]),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, tmp_path: Path) -> None:
    """The labels come first, in cifar100 the coarse before the fine one; then red, green and blue."""
    label_bytes, classes = {"cifar10": (1, 10), "cifar100": (2, 100)}[name]
    own, test = records(60, label_bytes, classes), records(20, label_bytes, classes)
    if name == "cifar10":
        batches = {f"data_batch_{i + 1}.bin": own[12 * i : 12 * (i + 1)].tobytes() for i in reversed(range(5))}
        members = {"readme.html": b"hello", "test_batch.bin": test.tobytes(), **batches}
    else:
        members = {"fine_label_names.txt": b"apple", "train.bin": own.tobytes(), "test.bin": test.tobytes()}
    [file] = getattr({"cifar10": cifar10, "cifar100": cifar100}[name], name.upper()).files
    (tmp_path / file).write_bytes(archive({f"{name}-binary/{member}": data for member, data in members.items()}))
    splits = dataset(name, data_dir=str(tmp_path)).make()
    expected = own[:50], own[50:], test
    for part, rows in zip(parts(splits), expected, strict=True):
        red_green_blue = np.stack([rows[:, label_bytes + 1024 * c :][:, :1024] for c in range(3)], axis=1) / 255
        pixels = (red_green_blue - MEAN[name][:, None]) / STD[name][:, None]
        np.testing.assert_allclose(part[0].reshape(len(rows), 3, 1024), pixels, rtol=0, atol=1e-5)
        assert np.array_equal(part[1], rows[:, label_bytes - 1])
    assert (splits.inputs.shape, splits.targets.outputs) == ((3, 32, 32), classes)
    assert (splits.targets.names or [None] * 10)[9] == {"cifar10": "truck", "cifar100": None}[name]
    assert train_size(dataset(name)) == 50


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        archive({}),
        archive({"train.bin": bytes(60 * 3074)}),
        archive({"train.bin": bytes(60 * 3074), "test.bin": bytes(20 * 3074 - 1)}),
        archive({"train.bin": bytes(60 * 3074), "test.bin": bytes([0, 100, *[0] * 3072]) * 20}),
        archive({"train.bin": SAMPLES.bytes(60 * 3074), "test.bin": bytes(20 * 3074)})[:5000],
    ],
    ids=["empty", "text", "no members", "no test", "short", "label", "cut off"],
)
@pytest.mark.usefixtures("small")
def test_damaged_archive(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-binary.tar.gz").write_bytes(data)
    with pytest.raises(RequestError) as refused:
        dataset("cifar100", data_dir=str(tmp_path)).make()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.usefixtures("small")
def test_links_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(60 * 3074))
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as tar:
        for name in ("train.bin", "test.bin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
            tar.addfile(link)
    with pytest.raises(RequestError, match=r"has no test.bin, train.bin"):
        dataset("cifar100", data_dir=str(tmp_path)).make()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that has the files of `tmp_path`/site."""
    (tmp_path / "site").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(*arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_missing_is_fetched_once(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "a").write_bytes(b"A")
    (tmp_path / "data" / "letters").mkdir(parents=True)
    (tmp_path / "data" / "letters" / "b").write_bytes(b"mine")
    wanted = {"a": md5(b"A").hexdigest(), "b": "0" * 32}
    folder = files.public("letters", str(tmp_path / "data"), wanted, site)
    assert folder == tmp_path / "data" / "letters"
    assert [(folder / name).read_bytes() for name in "ab"] == [b"A", b"mine"]
    monkeypatch.setattr(files, "_fetch", no_network)
    assert files.public("letters", str(tmp_path / "data"), wanted, site) == folder


@pytest.mark.parametrize("served", [b"something else", None])
def test_what_is_not_as_it_should_be_is_not_kept(served: bytes | None, site: str, tmp_path: Path) -> None:
    if served:
        (tmp_path / "site" / "a").write_bytes(served)
    with pytest.raises(RequestError, match=f"{site}.*data_dir") as refused:
        files.public("letters", str(tmp_path / "data" / "far" / "below"), {"a": md5(b"A").hexdigest()}, site)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "data").exists()
