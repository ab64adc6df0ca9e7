"""60,000 colour pictures of 32 x 32 pixels in 100 classes (Krizhevsky 2009)."""

from __future__ import annotations

from functools import partial

from lrtrain.datasets import Splits
from lrtrain.datasets.pictures import HOME, VALIDATION, DataDir, Pictures, read_cifar

CIFAR100 = Pictures(
    "cifar100",
    "https://www.cs.toronto.edu/~kriz",
    {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    shape=(3, 32, 32),
    classes=100,
    train=50_000,
    test=10_000,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def train_size(data_dir: str) -> int:
    """Samples in the training split."""
    return CIFAR100.train - VALIDATION


def load(*, data_dir: DataDir = HOME) -> Splits:
    """45,000 / 5,000 / 10,000 pictures with their fine labels; inputs have shape (n, 3, 32, 32).

    Args:
        data_dir: has the files, or a folder cifar100 that has them; what is missing is fetched.
    """
    return CIFAR100.splits(partial(read_cifar, train=["train.bin"], test="test.bin", label=1, label_bytes=2), data_dir)
