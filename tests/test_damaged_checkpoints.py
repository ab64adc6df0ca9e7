"""A run goes on from the newest checkpoint that is whole, and is refused where there is none."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL, CommandLine, Train
from resuming import (
    REFUSED,
    SHORT,
    assert_equal,
    checkpoint,
    refused,
    snapshot,
    truncate,
)


def flip_a_bit(path: Path) -> None:
    """In the middle of the largest array."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink])
def test_damaged_checkpoint(
    damage: Callable[[Path], None], trained: Train, stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    asked = (*SHORT, "model=mlp", "checkpoint_every=5st")
    expected, folder = trained(*asked).folder, stopped(*asked, batch=13)
    damage(folder / "checkpoints" / "last.ckpt")
    resumed = command_line(f"resume={folder}")
    assert resumed.code == 0, resumed.err
    assert "update 10" in resumed.out
    assert damage is Path.unlink or "damaged" in resumed.out
    assert_equal(folder, expected)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty])
def test_both_checkpoints_damaged(
    damage: Callable[[Path], None], stopped: Callable[..., Path], command_line: CommandLine
) -> None:
    folder = stopped(*SMALL, "epochs=3", "checkpoint_every=2st", batch=6)
    for name in ("last", "previous"):
        damage(folder / "checkpoints" / f"{name}.ckpt")
    before = {name: content for name, (content, _) in snapshot(folder).items() if ".hydra" not in name}
    resumed = command_line(f"resume={folder}")
    assert resumed.code == REFUSED
    assert "Traceback" not in resumed.err
    assert "best.ckpt" in resumed.err
    after = {name: content for name, (content, _) in snapshot(folder).items() if ".hydra" not in name}
    assert after == before
    assert not (folder / ".hydra" / "resumed_1").exists()


def test_checkpoint_of_another_version(stopped: Callable[..., Path], command_line: CommandLine) -> None:
    folder = stopped(*SMALL, "epochs=3", batch=6)
    saved = checkpoint(folder)
    del saved["callbacks"]["LastAndBest"]["monitor"]
    torch.save(saved, folder / "checkpoints" / "last.ckpt")
    refused(
        command_line(f"resume={folder}"), "last.ckpt has no 'monitor'", "another version", "resume_plan=weights_only"
    )
