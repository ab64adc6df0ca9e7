"""1,797 handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), which come along."""

from __future__ import annotations

from pathlib import Path

from lrtrain.datasets import Splits
from lrtrain.objectives import Targets

TRAIN = 1257

FILE = Path(__file__).with_name("digits.npz")
"""The images and labels of scikit-learn's ``load_digits``, in the order and the stratified parts that its
``train_test_split`` makes of them with ``random_state=0``. To import scikit-learn takes longer than to train on them.
"""


def train_size() -> int:
    """Samples in the training split."""
    return TRAIN


def load() -> Splits:
    """The stratified 70 / 10 / 20 % split; pixels are scaled to [0, 1], inputs have shape (n, 1, 8, 8)."""
    import numpy as np

    from lrtrain.datasets.sources import InMemory

    def source(split: str) -> InMemory:
        pixels, labels = stored[f"{split}_pixels"], stored[f"{split}_labels"]
        return InMemory((pixels / 16).astype(np.float32)[:, None], labels.astype(np.int64))

    with np.load(FILE) as stored:
        train = source("train")
        return Splits(train, source("validation"), source("test"), Targets.of_classes(10, train.labels))
