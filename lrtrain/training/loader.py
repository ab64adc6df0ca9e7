"""Batches of a dataset, in an order that can be continued."""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from lrtrain.datasets import Source
from lrtrain.process import signals
from lrtrain.training.augment import Augment
from lrtrain.training.private import end_workers

Batch = tuple[Tensor, Tensor]
FILES = 16
"""More than a worker opens to hand two batches over: two for each tensor, and three for all."""

atexit.register(signals.end_left)


class Loader:
    """Iterates over batches; each iteration is an epoch with its own order, which depends on the seed only.

    Its state is the epoch and the number of batches yielded, so a run that stopped in mid-epoch continues with the next
    batch. In a distributed run each rank takes every n-th sample; when shuffling, a few samples are repeated so that
    all ranks have equally many.

    Args:
        source: Of the samples.
        batch_size: Samples per batch.
        shuffle: Draw a new order every epoch.
        balanced: Draw samples again and again, so that each class comes equally often; labels are one class a sample.
        seed: Of the orders.
        drop_last: Skip the last batch if it is smaller.
        workers: Processes that gather the batches; 0 gathers them in this one, which is faster for samples in memory.
        augment: Changes the inputs of a batch.
        rank: Index of this share of the samples.
        world: Number of shares.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        shuffle: bool = False,
        balanced: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        workers: int = 0,
        augment: Augment | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.balanced = balanced
        self.seed = seed
        self.drop_last = drop_last
        self.workers = workers
        self.augment = augment
        self.rank = rank
        self.world = world
        self.epoch = -1
        self.batch = 0
        self._continues = False
        self._taken: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        batches = self._samples / self.batch_size
        return math.floor(batches) if self.drop_last else math.ceil(batches)

    def size(self, index: int) -> int:
        """Samples in a batch of an epoch."""
        return min(self.batch_size, self._samples - index * self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self._begin()
        batches, rest = _Epoch(self, self._order()), range(self.batch, len(self))
        for batch in self._by_workers(batches, rest) if self.workers else map(batches.__getitem__, rest):
            self.batch += 1
            yield batch

    def take(self, count: int, *, begins: bool) -> tuple[Tensor, list[int]]:
        """The places of the samples of the next batches, all in one, and how many each batch has.

        Args:
            count: Of the batches, all of one epoch; they count as yielded.
            begins: Whether the epoch begins with them.
        """
        if begins:
            self._begin()
        first, self.batch = self.batch, self.batch + count
        if self._taken is None or self._taken[0] != self.epoch:
            self._taken = self.epoch, self._order()
        sizes = [*[self.batch_size] * (count - 1), self.size(self.batch - 1)]  # only an epoch's last one may be smaller
        start = first * self.batch_size
        return self._taken[1][start : start + sum(sizes)], sizes

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its batches that were yielded."""
        return {"epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there in the next iteration."""
        self.epoch, self.batch, self._continues = state_dict["epoch"], state_dict["batch"], True

    def follow(self, other: Loader) -> None:
        """Do in the next iteration what another loader of these samples would do."""
        self.epoch, self.batch, self._continues = other.epoch, other.batch, other._continues

    def _begin(self) -> None:
        """Begin the next epoch, or go on with one."""
        # A trainer that knows the length never asks for more batches, so an epoch ends when the next starts.
        if not self._continues or self.batch >= len(self):
            self.epoch, self.batch = self.epoch + 1, 0
        self._continues = False

    @property
    def _samples(self) -> int:
        share = len(self.source) / self.world
        return math.ceil(share) if self.shuffle else math.ceil(share - self.rank / self.world)

    def _order(self) -> Tensor:
        count = len(self.source)
        if not self.shuffle:
            return torch.arange(self.rank, count, self.world)
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = draw_balanced(self.source.labels, random) if self.balanced else torch.randperm(count, generator=random)
        return torch.cat([order, order[: -count % self.world]])[self.rank :: self.world]

    def _by_workers(self, batches: _Epoch, rest: range) -> Iterator[Batch]:
        # Its own generator: the loader must not draw from that of the model.
        loader = DataLoader(
            batches,
            sampler=rest,
            batch_size=None,
            num_workers=self.workers,
            generator=torch.Generator(),
            worker_init_fn=signals.left_to_parent,
        )
        with signals.held():
            gathered = iter(loader)
        try:
            yield from ((inputs, labels) for inputs, labels in gathered)
        except Exception:
            end_workers(gathered)  # else at some garbage collection, when they can no longer be told
            raise


def draw_balanced(labels: Tensor, random: torch.Generator) -> Tensor:
    """As many places as there are labels: each of a class at random, all alike, and there of any of its samples."""
    labels = labels.cpu()
    places, sizes = labels.argsort(stable=True), labels.bincount()
    sizes = sizes[sizes > 0]
    classes = torch.randint(len(sizes), (len(labels),), generator=random)
    within = torch.randint(2**62, (len(labels),), generator=random) % sizes[classes]
    return places[(sizes.cumsum(0) - sizes)[classes] + within]


class _Epoch(Dataset[Batch]):
    """The batches of one epoch by their index; each worker has a copy."""

    def __init__(self, loader: Loader, order: Tensor) -> None:
        self.gather = loader.source.gather
        self.order = order.to(loader.source.labels.device)
        self.size = loader.batch_size
        self.augment = loader.augment
        self.key = loader.seed, loader.epoch, loader.rank

    def __getitem__(self, index: int) -> Batch:
        inputs, labels = self.gather(self.order[index * self.size : (index + 1) * self.size])
        if get_worker_info():
            _check_files()
        return (inputs if self.augment is None else self.augment(inputs, (*self.key, index))), labels


def _check_files() -> None:
    """Let a worker say that it lacks files to hand a batch over: later nothing would, and the batch be waited for."""
    opened: list[int] = []
    try:
        for _ in range(FILES):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for file in opened:
            os.close(file)
