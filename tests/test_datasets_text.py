"""Windows of a text, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import CommandLine, whole

from lrtrain.datasets import Splits, dataset, train_size
from lrtrain.datasets.sources import InMemory
from lrtrain.errors import RequestError
from lrtrain.parameters.bound import Bound


def bound(file: Path | str | None, length: int = 4, stride: int | None = None, validation: float = 0.25) -> Bound:
    return dataset("text", file=file and str(file), length=length, stride=stride, validation=validation)


def text(file: Path | str | None, length: int = 4, stride: int | None = None, validation: float = 0.25) -> Splits:
    return bound(file, length, stride, validation).make()  # type: ignore[no-any-return]


WORDS = "to be, or not to be: \N{GREEK SMALL LETTER ALPHA}\N{GRINNING FACE} that is\nthe question" * 3


@pytest.mark.parametrize("stride", [None, 1, 3, 7])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_windows(length: int, stride: int | None, tmp_path: Path) -> None:
    """By hand: the characters in order of their code points, and every window with the characters that follow."""
    (tmp_path / "words").write_text(WORDS, encoding="utf-8")
    splits = text(tmp_path / "words", length, stride)
    characters = sorted(set(WORDS))
    tokens = [characters.index(character) for character in WORDS]
    boundary = int(len(tokens) * 0.75)
    for source, own, step in (
        (splits.train, tokens[:boundary], stride or length),
        (splits.validation, tokens[boundary:], length),
        (splits.test, tokens[boundary:], length),
    ):
        inputs, labels = whole(source)
        starts = [start for start in range(0, len(own), step) if start + length < len(own)]
        assert inputs.tolist() == [own[start : start + length] for start in starts]
        assert labels.tolist() == [own[start + 1 : start + length + 1] for start in starts]
        assert inputs.dtype == labels.dtype == np.int64
    assert (splits.inputs, splits.targets.outputs) == (((length,), len(characters)), len(characters))
    assert train_size(bound(tmp_path / "words", length, stride)) == len(splits.train)


def test_overlapping_windows_share_their_memory(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("ab" * 50_000)
    train = text(tmp_path / "long", length=64, stride=1).train
    assert isinstance(train, InMemory)
    assert len(train) == 75_000 - 64
    assert train.inputs.untyped_storage().nbytes() <= 100_000
    assert train.labels.untyped_storage().data_ptr() == train.inputs.untyped_storage().data_ptr()


def test_many_characters(tmp_path: Path) -> None:
    everything = "".join(chr(point) for point in range(0x4E00, 0x4E00 + 1000))
    (tmp_path / "signs").write_text(everything, encoding="utf-8")
    splits = text(tmp_path / "signs", length=10)
    assert splits.tokens == 1000
    assert whole(splits.train)[0][3].tolist() == list(range(30, 40))


def test_changed_file_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("abcd" * 20)
    assert text(tmp_path / "words").targets.outputs == 4
    (tmp_path / "words").write_text("abcdef" * 20)
    assert text(tmp_path / "words").targets.outputs == 6


@pytest.mark.parametrize(
    "content", [b"", b"a", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"ab", b"\xff\xfe\x00" * 50, None], ids=ascii
)
def test_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    for function in (text, lambda file: train_size(bound(file))):
        with pytest.raises(RequestError) as refused:
            function(file=str(tmp_path / "file"))
        assert len(str(refused.value).splitlines()) == 1


def test_validation_too_short(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc" * 20)
    with pytest.raises(RequestError, match="15 characters"):
        text(tmp_path / "file", length=20)


def test_command_line(tmp_path: Path, command_line: CommandLine) -> None:
    refused = command_line("dataset=text")
    assert (refused.code, refused.err) == (2, "lrtrain: give dataset.file=FILE\n")
    (tmp_path / "words").write_text(WORDS, encoding="utf-8")
    done = command_line("task=preview", "dataset=text", f"dataset.file={tmp_path}/words", "dataset.length=4")
    assert done.code == 0, done.err
