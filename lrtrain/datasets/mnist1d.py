"""MNIST-1D: 5,000 signals of 40 points, one of ten templates each, moved, sheared and noisy (Greydanus & Kobak 2024).

Made here as the authors' package ``mnist1d`` makes them (arXiv:2011.14439, Apache-2.0), from the same random numbers in
the same order; that package needs matplotlib and a network client, and its own data comes as a pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrtrain.datasets import Splits
from lrtrain.errors import RequestError
from lrtrain.objectives import Targets
from lrtrain.parameters.rules import Probability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SAMPLES, TRAIN, CLASSES = 5000, 4000, 10
TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def train_size(validation: float) -> int:
    """Samples in the training split."""
    held_out = round(validation * TRAIN)
    if held_out >= TRAIN:
        raise RequestError(f"dataset.validation={validation} leaves nothing to train on")
    return TRAIN - held_out


def load(*, validation: Probability = 0.1) -> Splits:
    """The authors' 4,000 and 1,000 signals; inputs have shape (n, 1, 40).

    Args:
        validation: share of the 4,000 training signals, the last of them. With 0, which is the authors' protocol, all
            are trained on and the test signals are the validation too.
    """
    import numpy as np

    from lrtrain.datasets.sources import InMemory

    signals, labels = generate()
    inputs, own = signals[:, None].astype(np.float32), train_size(validation)
    test = InMemory(inputs[TRAIN:], labels[TRAIN:])
    held_out = InMemory(inputs[own:TRAIN], labels[own:TRAIN]) if own < TRAIN else test
    train = InMemory(inputs[:own], labels[:own])
    return Splits(train, held_out, test, Targets.of_classes(CLASSES, train.labels))


def generate() -> tuple[Floats, NDArray[np.int64]]:
    """All signals (5000, 40), standardised over the whole, and their labels, shuffled."""
    import numpy as np

    random = np.random.RandomState(42)
    templates = np.array(TEMPLATES)
    templates -= templates.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates -= templates[:, :1]
    labels = np.repeat(np.arange(CLASSES), SAMPLES // CLASSES)
    signals = np.stack([_signal(templates[label] / 6, random) for label in labels])
    order = random.permutation(SAMPLES)
    signals = signals[order]
    return (signals - signals.mean()) / signals.std(), labels[order]


def _signal(template: Floats, random: Any) -> Floats:
    """One signal: padded, stretched, scaled, moved, noisy, sheared, and sampled at 40 points."""
    import numpy as np

    padding = 36 + int(random.rand() * 25)
    # The small number tells the signal, where it crosses zero, from the padding.
    signal = _resampled(np.concatenate([template + 1e-8, np.zeros(padding)]), 72)
    signal *= 1 + 0.4 * (random.rand() - 0.5)
    moved = random.choice(48)
    signal = np.concatenate([signal[-moved:], signal[:-moved]])
    noise = _smoothed(0.25 * random.randn(72))
    signal = np.where(signal != 0, signal, noise) + 0.02 * random.randn(72)
    signal -= 0.75 * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, 72)
    return _resampled(signal, 40)


def _resampled(signal: Floats, length: int) -> Floats:
    import numpy as np

    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(signal)), signal)


def _smoothed(noise: Floats) -> Floats:
    """A Gaussian filter of two points' width, cut off at four of its widths, with the noise mirrored at its ends."""
    import numpy as np

    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    return np.convolve(np.pad(noise, 8, mode="symmetric"), kernel / kernel.sum(), mode="valid")
