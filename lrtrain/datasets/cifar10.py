"""60,000 colour pictures of 32 x 32 pixels in 10 classes (Krizhevsky 2009)."""

from __future__ import annotations

from functools import partial

from lrtrain.datasets import Splits
from lrtrain.datasets.pictures import HOME, VALIDATION, DataDir, Pictures, read_cifar

CIFAR10 = Pictures(
    "cifar10",
    "https://www.cs.toronto.edu/~kriz",
    {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    shape=(3, 32, 32),
    classes=10,
    train=50_000,
    test=10_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]


def train_size(data_dir: str) -> int:
    """Samples in the training split."""
    return CIFAR10.train - VALIDATION


def load(*, data_dir: DataDir = HOME) -> Splits:
    """45,000 / 5,000 / 10,000 pictures; inputs have shape (n, 3, 32, 32).

    Args:
        data_dir: has the files, or a folder cifar10 that has them; what is missing is fetched.
    """
    return CIFAR10.splits(partial(read_cifar, train=TRAIN, test="test_batch.bin", label=0, label_bytes=1), data_dir)
