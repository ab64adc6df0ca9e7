"""1,797 handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), which come with scikit-learn."""

from __future__ import annotations

from lrtrain.datasets import Splits

TRAIN, VALIDATION, TEST = 1257, 180, 360
SPLIT_SEED = 0  # fixed: the split is part of the dataset, not of a run


def train_size() -> int:
    """Samples in the training split."""
    return TRAIN


def load() -> Splits:
    """The stratified 70 / 10 / 20 % split; pixels are scaled to [0, 1], inputs have shape (n, 1, 8, 8)."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from lrtrain.datasets.sources import InMemory

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    rest, test, rest_labels, test_labels = train_test_split(
        images, labels.astype(np.int64), test_size=TEST, stratify=labels, random_state=SPLIT_SEED
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=VALIDATION, stratify=rest_labels, random_state=SPLIT_SEED
    )
    return Splits(
        InMemory(train, train_labels), InMemory(validation, validation_labels), InMemory(test, test_labels), classes=10
    )
