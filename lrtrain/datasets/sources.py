"""The kinds of `Source`: samples in memory, and samples that are read when a batch needs them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lrtrain.datasets import Source
from lrtrain.errors import RequestError

CHUNK = 1024
"""Samples that are read at a time on the way into memory."""


class Scale(NamedTuple):
    """What makes numbers of stored bytes: ``(byte / 255 - mean) / std``, for all channels or one value a channel."""

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)


class InMemory:
    """Samples in two tensors, which a batch is gathered from by one index operation each.

    They are kept as they are stored, which takes a quarter of the memory for bytes, and gathers them faster: only a
    batch becomes float32, or int64 for tokens and labels.

    Args:
        inputs: Of shape (n, ...): bytes with a `scale`, other numbers, or tokens.
        labels: Whole numbers of shape (n, ...), or float32 of shape (n, columns).
        scale: Of bytes.
        tokens: The inputs are tokens.
    """

    in_memory = True

    def __init__(
        self,
        inputs: NDArray[np.generic] | Tensor,
        labels: NDArray[np.generic] | Tensor,
        scale: Scale | None = None,
        tokens: bool = False,
    ) -> None:
        self.inputs, self.labels = torch.as_tensor(inputs), torch.as_tensor(labels)
        self.shape = tuple(self.inputs.shape[1:])
        self.scale = scale
        self._convert = Converter(scale, tokens)
        self._kind = torch.float32 if self.labels.is_floating_point() else torch.int64

    def __len__(self) -> int:
        return len(self.inputs)

    def gather(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at `places`."""
        # index_select is several times as fast as indexing with [places], which looks for slices and masks first.
        return self._convert(self.inputs.index_select(0, places)), self.labels.index_select(0, places).to(self._kind)

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        return self.inputs.nbytes + self.labels.nbytes

    def on(self, device: torch.device) -> InMemory:
        """The same samples on a device."""
        tokens = self._convert.dtype == torch.int64
        made = InMemory(self.inputs.to(device), self.labels.to(device), self.scale, tokens)
        made._convert.move(device)
        return made


class Converter:
    """Makes of stored inputs what a model takes."""

    def __init__(self, scale: Scale | None, tokens: bool = False) -> None:
        self.dtype = torch.int64 if tokens else torch.float32
        self.affine: tuple[Tensor, Tensor] | None = None
        if scale is not None:
            mean, std = torch.tensor(scale.mean), torch.tensor(scale.std)
            affine = 1 / (255 * std), -mean / std
            first, second = (part[0] if len(part) == 1 else part[:, None, None] for part in affine)
            self.affine = first, second

    def move(self, device: torch.device) -> None:
        """Convert what is on a device."""
        if self.affine is not None:
            first, second = self.affine
            self.affine = first.to(device), second.to(device)

    def __call__(self, stored: Tensor) -> Tensor:
        """Inputs as a model takes them; `stored` is not changed."""
        inputs = stored.to(self.dtype)
        return inputs if self.affine is None else inputs.mul_(self.affine[0]).add_(self.affine[1])


class Reader(Protocol):
    """Reads samples; it must pickle, for the processes that gather batches.

    Attributes:
        shape: Of one sample's inputs.
        dtype: Of the inputs as they are read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def read(self, places: NDArray[np.int64]) -> NDArray[np.generic]:
        """Inputs of shape (n, *shape)."""


class Streamed:
    """Samples whose inputs are read when a batch needs them; the labels are in memory.

    Args:
        reader: Of the inputs.
        places: Which of the reader's samples these are.
        labels: Theirs.
        scale: Where the inputs are bytes.
    """

    in_memory = False

    def __init__(
        self, reader: Reader, places: NDArray[np.int64], labels: NDArray[np.generic], scale: Scale | None = None
    ) -> None:
        self.reader = reader
        self.places = places
        self.labels = torch.as_tensor(labels)
        self.scale = scale
        self.shape = reader.shape
        self._convert = Converter(scale)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def nbytes(self) -> int:
        """What the inputs would take in memory."""
        return len(self) * int(np.prod(self.shape)) * self.reader.dtype.itemsize

    def gather(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at `places`."""
        inputs = self.reader.read(self.places[places.numpy()])
        return self._convert(torch.from_numpy(inputs)), self.labels.index_select(0, places)

    def in_one_piece(self) -> InMemory:
        """The same samples, read now."""
        inputs = np.empty((len(self), *self.shape), self.reader.dtype)
        for start in range(0, len(self), CHUNK):
            inputs[start : start + CHUNK] = self.reader.read(self.places[start : start + CHUNK])
        return InMemory(inputs, self.labels, self.scale)


def placed(
    parts: tuple[Streamed, Streamed, Streamed], in_memory: bool | None, what: str
) -> tuple[Source, Source, Source]:
    """The parts of a dataset as they are, or read into memory.

    Args:
        parts: To train on, to validate, to test.
        in_memory: None reads them where that takes less than half of the memory that is free.
        what: A person's name for the inputs.

    Raises:
        RequestError: What was read into memory is not finite.
    """
    if in_memory is None:
        in_memory = sum(part.nbytes for part in parts) < free_memory() / 2
    if not in_memory:
        return parts
    train, validation, test = (_finite(part.in_one_piece(), part.places, what) for part in parts)
    return train, validation, test


def _finite(samples: InMemory, places: NDArray[np.int64], what: str) -> InMemory:
    """The samples, if a float32 can hold each of their numbers; `places` are theirs among all."""
    inputs, most = samples.inputs, torch.finfo(torch.float32).max
    if inputs.is_floating_point() and inputs.numel():
        low, high = inputs.aminmax()  # NaN is the least and the most of all
        if not (low >= -most and high <= most):
            finite = (inputs.abs() <= most).flatten(1).all(1)
            place = int(places[int(finite.int().argmin())])
            raise RequestError(f"{what}: the sample at index {place:,} holds a number that is nan, inf or too large")
    return samples


def free_memory() -> float:
    """Bytes that this process may still use; infinite where the system does not say."""
    free = [float("inf")]
    try:
        table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int(table["MemAvailable"].split()[0]) * 1024.0)
    except (OSError, KeyError, ValueError):
        pass
    try:  # a container or a job of a cluster has a limit of its own
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free.append(float(limit - used))
    except (OSError, ValueError):
        pass
    return min(free)
