"""The characters of a text file: from each of a window's characters, the next is to be told."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lrtrain.datasets import Asked, Splits
from lrtrain.datasets.files import given, reading, version
from lrtrain.errors import RequestError
from lrtrain.objectives import Targets
from lrtrain.parameters.rules import OptionalCount, OptionalText, PositiveCount, Probability
from lrtrain.parameters.signatures import Affects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def train_size(file: str | None, length: int, stride: int | None, validation: float) -> int:
    """Windows in the training split."""
    text = _read(file)
    return _windows(_boundary(text, validation), length, stride or length)


def load(
    asked: Asked = Asked(),  # noqa: B008 - a value
    /,
    *,
    file: Annotated[OptionalText, Affects.NOTHING] = None,
    length: PositiveCount = 64,
    stride: OptionalCount = None,
    validation: Probability = 0.1,
) -> Splits:
    """Windows of a text; inputs are tokens of shape (n, length), labels the characters that follow each.

    The tokens are the text's distinct characters in the order of their code points. As in nanoGPT, the last share of
    the text is for validation, and there is no other to test on: the test is the validation. Those windows do not
    overlap. The text is in memory once, however much the training windows overlap.

    Args:
        asked: The tokens of a run are the characters of then.
        file: a text in UTF-8; its distinct characters are the tokens.
        length: characters in a window.
        stride: characters between the beginnings of two training windows: null for length, 1 for every window there
            is.
        validation: the last share of the text, for validation and test alike.

    Raises:
        RequestError: The file is not such a text, or has other characters than are known.
    """
    import torch

    from lrtrain.datasets.sources import InMemory

    text = _read(file)
    vocabulary = (asked.known and asked.known.vocabulary) or "".join(sorted(set(text)))
    small = torch.from_numpy(encode(text, vocabulary))
    boundary = _boundary(text, validation)

    def windows(part: torch.Tensor, stride: int) -> InMemory:
        return InMemory(part[:-1].unfold(0, length, stride), part[1:].unfold(0, length, stride), tokens=True)

    train_size(file, length, stride, validation)
    _windows(len(text) - boundary, length, length)
    held_out = windows(small[boundary:], length)
    count = len(vocabulary)
    train, meaning = windows(small[:boundary], stride or length), {"vocabulary": vocabulary}
    counts = small[:boundary].long().bincount(minlength=count).tolist()
    targets = Targets("classification", count, each_token=True).remembering(asked.targets).counted(counts, sum(counts))
    return Splits(train, held_out, held_out, targets, count, meaning=meaning)


def encode(text: str, vocabulary: str) -> NDArray[np.generic]:
    """The tokens of a text, in the fewest bytes.

    Raises:
        RequestError: One of its characters is not in the vocabulary.
    """
    import numpy as np

    points, known = (np.frombuffer(part.encode("utf-32-le"), np.uint32) for part in (text, vocabulary))
    order = known.argsort()
    tokens = order[np.searchsorted(known, points, sorter=order).clip(max=len(known) - 1)]
    if len(strange := np.flatnonzero(known[tokens] != points)):
        place = int(strange[0])
        raise RequestError(
            f"character {place:,} of the text is {text[place]!r}, which is not among the {len(known)} characters that "
            "the run was trained on"
        )
    return tokens.astype(np.uint8 if len(known) <= 256 else np.int32)  # type: ignore[no-any-return]


def _read(file: str | None) -> str:
    path = given(file, "dataset.file")
    return _text(path, version(path))


@lru_cache(maxsize=1)
def _text(path: Path, version: tuple[int, ...]) -> str:
    """A file's text; `version` makes a changed file another."""
    with reading(path):
        text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise RequestError(f"{path} has characters of zero: it is not a text in UTF-8")
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
