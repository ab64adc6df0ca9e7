"""Random changes to the pictures of a training batch, all at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class Augment:
    """Flips, crops and cuts out of pictures (n, channels, height, width), each picture in its own way.

    Which way depends on nothing but a key, so that a run that is resumed sees the same pictures, and the random
    numbers that a model draws are the same with and without.

    Args:
        shape: Of one picture: (channels, height, width).
        flip: Mirror half of the pictures left to right.
        crop: Move by up to so many pixels each way; what comes in from outside is the picture reflected at its border.
        cutout: Side of a square of zeros, which is centred anywhere in the picture and may reach beyond it
            (DeVries & Taylor 2017, arXiv:1708.04552).

    Raises:
        ValueError: The inputs are not pictures, or too small for that.
    """

    def __init__(self, shape: Sequence[int], flip: bool = False, crop: int = 0, cutout: int = 0) -> None:
        if len(shape) != 3:
            raise ValueError(f"augment is for pictures of shape (channels, height, width), got {tuple(shape)}")
        side = min(shape[1:])
        if crop >= side or cutout > side:
            raise ValueError(f"augment.crop={crop} augment.cutout={cutout} is too much for {side} pixels")
        self.flip, self.crop, self.cutout = flip, crop, cutout

    def __call__(self, pictures: Tensor, key: Sequence[int]) -> Tensor:
        """New pictures of the same shape; `key` decides the random numbers."""
        random, count = _generator(key), len(pictures)
        shifts = torch.randint(-self.crop, self.crop + 1, (2, count), generator=random)
        mirrored = torch.rand(count, generator=random) < (0.5 if self.flip else 0.0)
        centres = torch.stack([torch.randint(0, side, (count,), generator=random) for side in pictures.shape[2:]])
        if self.crop or self.flip:
            pictures = moved(pictures, shifts, mirrored)
        return cut_out(pictures, centres, self.cutout) if self.cutout else pictures


def moved(pictures: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
    """Each picture as seen from (down, right) of its place, and then mirrored left to right.

    Args:
        pictures: (n, channels, height, width).
        shifts: (2, n) whole numbers, less than a side.
        mirrored: (n,) booleans.
    """
    height, width = pictures.shape[2:]
    rows = _reflected(torch.arange(height) + shifts[0][:, None], height)
    columns = _reflected(torch.arange(width) + shifts[1][:, None], width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]
    return pictures.flatten(2).gather(2, places.expand(-1, pictures.shape[1], -1)).view_as(pictures)


def _reflected(places: Tensor, side: int) -> Tensor:
    """Places beyond a border, as far within it; the border itself is not repeated."""
    return side - 1 - (side - 1 - places.abs()).abs()


def cut_out(pictures: Tensor, centres: Tensor, side: int) -> Tensor:
    """The pictures with zeros in a square of `side` pixels around each one's centre (2, n)."""
    inside = []
    for start, length in zip(centres - side // 2, pictures.shape[2:], strict=True):
        distance = torch.arange(length) - start[:, None]
        inside.append((distance >= 0) & (distance < side))
    kept: Tensor = ~(inside[0][:, :, None] & inside[1][:, None, :])
    return pictures * kept[:, None].to(pictures.dtype)  # several times as fast as masked_fill


def _generator(key: Sequence[int]) -> torch.Generator:
    """A generator whose numbers are unlike those of any other key."""
    digest = hashlib.blake2b(",".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
