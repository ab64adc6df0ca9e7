"""The characters of a text file: from each of a window's characters, the next is to be told."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from lrtrain.datasets import Splits
from lrtrain.datasets.files import given, reading, version
from lrtrain.errors import RequestError
from lrtrain.parameters.rules import OptionalCount, OptionalText, PositiveCount, Probability


def train_size(file: str | None, length: int, stride: int | None, validation: float) -> int:
    """Windows in the training split."""
    text = _read(file)
    return _windows(_boundary(text, validation), length, stride or length)


def load(
    *,
    file: OptionalText = None,
    length: PositiveCount = 64,
    stride: OptionalCount = None,
    validation: Probability = 0.1,
) -> Splits:
    """Windows of a text; inputs are tokens of shape (n, length), labels the characters that follow each.

    The tokens are the text's distinct characters in the order of their code points. As in nanoGPT, the last share of
    the text is for validation, and there is no other to test on: the test is the validation. Those windows do not
    overlap. The text is in memory once, however much the training windows overlap.

    Args:
        file: a text in UTF-8; its distinct characters are the tokens.
        length: characters in a window.
        stride: characters between the beginnings of two training windows: null for length, 1 for every window there
            is.
        validation: the last share of the text, for validation and test alike.
    """
    import numpy as np
    import torch

    from lrtrain.datasets.sources import InMemory

    text = _read(file)
    points, tokens = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    small = torch.from_numpy(tokens.astype(np.uint8 if len(points) <= 256 else np.int32))
    boundary = _boundary(text, validation)

    def windows(part: torch.Tensor, stride: int) -> InMemory:
        return InMemory(part[:-1].unfold(0, length, stride), part[1:].unfold(0, length, stride), tokens=True)

    train_size(file, length, stride, validation)
    _windows(len(text) - boundary, length, length)
    held_out = windows(small[boundary:], length)
    return Splits(windows(small[:boundary], stride or length), held_out, held_out, len(points), len(points))


def _read(file: str | None) -> str:
    path = given(file, "dataset.file")
    return _text(path, version(path))


@lru_cache(maxsize=1)
def _text(path: Path, version: tuple[int, ...]) -> str:
    """A file's text; `version` makes a changed file another."""
    with reading(path):
        text = path.read_text(encoding="utf-8")
    if len(set(text)) < 2:
        raise RequestError(f"{path} has no two different characters: there is nothing to learn")
    return text


def _boundary(text: str, validation: float) -> int:
    if not validation:
        raise RequestError("dataset.validation must be more than 0: a text has no other part to measure on")
    return int(len(text) * (1 - validation))


def _windows(characters: int, length: int, stride: int) -> int:
    """How many windows there are, each with one character more to tell."""
    if characters <= length:
        raise RequestError(
            f"dataset.length={length}: a part of the text has {characters:,} characters, too few for that"
        )
    return (characters - 1 - length) // stride + 1
