"""Random changes to the pictures of a training batch, all at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


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
        source, count = _generator(key), len(pictures)
        if self.crop:
            offsets = torch.randint(0, 2 * self.crop + 1, (2, count), generator=source)
            pictures = cropped(pictures, offsets, self.crop)
        if self.flip:
            pictures = flipped(pictures, torch.rand(count, generator=source) < 0.5)
        if self.cutout:
            height, width = pictures.shape[2:]
            rows = torch.randint(0, height, (count,), generator=source)
            columns = torch.randint(0, width, (count,), generator=source)
            pictures = cut_out(pictures, torch.stack([rows, columns]), self.cutout)
        return pictures


def flipped(pictures: Tensor, chosen: Tensor) -> Tensor:
    """The pictures, those where `chosen` (n,) is true mirrored left to right."""
    return torch.where(chosen[:, None, None, None], pictures.flip(3), pictures)


def cropped(pictures: Tensor, offsets: Tensor, margin: int) -> Tensor:
    """From each picture, reflected by `margin` pixels on all sides, the part that begins at its offset (2, n)."""
    height, width = pictures.shape[2:]
    windows = pad(pictures, [margin] * 4, mode="reflect").unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(pictures)), :, offsets[0], offsets[1]]


def cut_out(pictures: Tensor, centres: Tensor, side: int) -> Tensor:
    """The pictures with zeros in a square of `side` pixels around each one's centre (2, n)."""
    starts = centres - side // 2
    inside = []
    for start, length in zip(starts, pictures.shape[2:], strict=True):
        distance = torch.arange(length) - start[:, None]
        inside.append((distance >= 0) & (distance < side))
    return pictures.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def _generator(key: Sequence[int]) -> torch.Generator:
    """A generator whose numbers are unlike those of any other key."""
    digest = hashlib.blake2b(",".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
