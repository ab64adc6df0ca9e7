"""70,000 handwritten digits of 28 x 28 pixels (LeCun, Cortes & Burges 1998)."""

from __future__ import annotations

from lrtrain.datasets import Splits
from lrtrain.datasets.pictures import HOME, VALIDATION, DataDir, Pictures, read_idx

MNIST = Pictures(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    shape=(1, 28, 28),
    classes=10,
    train=60_000,
    test=10_000,
    mean=(0.1307,),
    first=(5, 0, 4, 1, 9, 2, 1, 3, 1, 4),
    std=(0.3081,),
)


def train_size(data_dir: str) -> int:
    """Samples in the training split."""
    return MNIST.train - VALIDATION


def load(*, data_dir: DataDir = HOME) -> Splits:
    """55,000 / 5,000 / 10,000 pictures; inputs have shape (n, 1, 28, 28).

    Args:
        data_dir: has the files, or a folder mnist that has them; what is missing is fetched.
    """
    return MNIST.splits(read_idx, data_dir)
