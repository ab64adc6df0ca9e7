"""70,000 pieces of clothing of 28 x 28 pixels (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747)."""

from __future__ import annotations

from lrtrain.datasets import Splits
from lrtrain.datasets.pictures import HOME, VALIDATION, DataDir, Pictures, read_idx

FASHION_MNIST = Pictures(
    "fashion_mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    shape=(1, 28, 28),
    classes=10,
    train=60_000,
    test=10_000,
    mean=(0.2860,),
    first=(9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
    std=(0.3530,),
    names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
)


def train_size(data_dir: str) -> int:
    """Samples in the training split."""
    return FASHION_MNIST.train - VALIDATION


def load(*, data_dir: DataDir = HOME) -> Splits:
    """55,000 / 5,000 / 10,000 pictures; inputs have shape (n, 1, 28, 28).

    Args:
        data_dir: has the files, or a folder fashion_mnist that has them; what is missing is fetched.
    """
    return FASHION_MNIST.splits(read_idx, data_dir)
