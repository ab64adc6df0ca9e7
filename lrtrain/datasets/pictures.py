"""How the public picture datasets are stored, and how they are split."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

from lrtrain.datasets import Splits
from lrtrain.datasets.files import public, reading
from lrtrain.errors import RequestError
from lrtrain.objectives import Targets
from lrtrain.parameters.rules import Text
from lrtrain.parameters.signatures import Affects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

DataDir: TypeAlias = Annotated[str, Text(), Affects.NOTHING]
HOME = "~/.cache/lrtrain"
VALIDATION = 5000
"""The last of the training pictures, which are not in any order, are for validation."""


class Pictures(NamedTuple):
    """A public dataset of pictures of one size.

    Attributes:
        name: In the configuration.
        url: The folder that its files are fetched from.
        files: Each file's name and md5 checksum.
        shape: Of a picture: (channels, height, width).
        classes: How many labels there are.
        train: How many pictures the training part has, validation included.
        test: How many the test part has.
        mean: Of each channel of the training part, on a scale from 0 to 1.
        std: Likewise.
        first: The first training labels, where other datasets have files of the same names.
        names: Of the classes, where they have any.
    """

    name: str
    url: str
    files: Mapping[str, str]
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    first: tuple[int, ...] = ()
    names: tuple[str, ...] | None = None

    def splits(self, read: Callable[[Pictures, Path], tuple[Bytes, Bytes, Bytes, Bytes]], data_dir: str) -> Splits:
        """The last 5,000 training pictures are for validation; pixels are scaled to [0, 1] and standardised.

        Args:
            read: Reads training pictures and labels and test pictures and labels from a folder.
            data_dir: Where datasets are kept.

        Raises:
            RequestError: The files are not there, cannot be fetched, or are damaged.
        """
        from lrtrain.datasets.sources import InMemory, Scale

        images, labels, test_images, test_labels = read(self, public(self.name, data_dir, self.files, self.url))
        if max(labels.max(), test_labels.max()) >= self.classes:
            raise RequestError(f"dataset={self.name}: there are labels beyond its {self.classes} classes in {data_dir}")
        if tuple(labels[: len(self.first)]) != self.first:
            raise RequestError(f"dataset={self.name}: what is in {data_dir} is another dataset, by its first labels")
        scale, own = Scale(self.mean, self.std), self.train - VALIDATION
        train = InMemory(images[:own], labels[:own], scale)
        return Splits(
            train,
            InMemory(images[own:], labels[own:], scale),
            InMemory(test_images, test_labels, scale),
            Targets.of_classes(self.classes, train.labels, self.names),
        )


def read_idx(pictures: Pictures, folder: Path) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Read the four gzipped IDX files of MNIST and of what is modelled on it."""
    sizes = [pictures.train, pictures.train, pictures.test, pictures.test]
    shapes = [pictures.shape, (), pictures.shape, ()]
    train, train_labels, test, test_labels = (
        _idx(folder / name, (size, *shape)) for name, size, shape in zip(pictures.files, sizes, shapes, strict=True)
    )
    return train, train_labels, test, test_labels


def _idx(path: Path, shape: tuple[int, ...]) -> Bytes:
    """An IDX file: two zeros, 8 for bytes, the number of dimensions, each dimension in 4 bytes, and the values."""
    import numpy as np

    stored = shape if len(shape) == 1 else (shape[0], *shape[2:])  # without the one channel
    header = bytes([0, 0, 8, len(stored)]) + b"".join(size.to_bytes(4, "big") for size in stored)
    values = np.empty(shape, np.uint8)
    with reading(path), gzip.open(path) as file:
        if file.read(len(header)) != header:
            raise ValueError(f"it does not begin as an IDX file of {' x '.join(map(str, stored))} bytes")
        _fill(values, file)
        if file.read(1):
            raise ValueError("it has trailing bytes")
    return values


def read_cifar(
    pictures: Pictures, folder: Path, train: Sequence[str], test: str, label: int, label_bytes: int
) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Read the binary version of CIFAR from its archive: records of label bytes, then the red, green and blue pixels.

    Args:
        pictures: Which.
        folder: Has the archive.
        train: Files of the training part in the archive, in order.
        test: The test part's.
        label: Which of the label bytes counts.
        label_bytes: How many there are.
    """
    import numpy as np

    [archive] = pictures.files
    width = label_bytes + int(np.prod(pictures.shape))
    records = {test: np.empty((pictures.test, width), np.uint8)}
    each = pictures.train // len(train)
    whole = np.empty((pictures.train, width), np.uint8)
    records |= {name: whole[part * each : (part + 1) * each] for part, name in enumerate(train)}
    missing = set(records)
    # Nothing is unpacked to the disk, so that no name in the archive can lead anywhere.
    with reading(folder / archive), tarfile.open(folder / archive, "r|gz") as tar:
        for member in tar:
            name = Path(member.name).name
            if name in missing and member.isreg() and (file := tar.extractfile(member)):
                if member.size != records[name].nbytes:
                    raise ValueError(f"{name} has {member.size:,} bytes instead of {records[name].nbytes:,}")
                _fill(records[name], file)
                missing.remove(name)
            if not missing:
                break
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
    parts = [(part[:, label_bytes:].reshape(-1, *pictures.shape), part[:, label]) for part in (whole, records[test])]
    return *parts[0], *parts[1]


def _fill(values: Bytes, file: IO[bytes] | gzip.GzipFile) -> None:
    """Read the bytes of an array, and no more than it has."""
    import numpy as np

    flat, done = values.reshape(-1), 0
    while done < len(flat):
        piece = file.read(min(1 << 20, len(flat) - done))
        if not piece:
            raise ValueError(f"it ends after {done:,} of {len(flat):,} bytes")
        flat[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
