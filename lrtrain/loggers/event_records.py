"""The records of TensorBoard's event files, to the byte: its own objects and checksums take most of a log point."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import CRC_TABLE
from tensorboard.summary.writer import record_writer

PART = 512
"""Bytes that are looked up at once."""


class RecordWriter(record_writer.RecordWriter):
    """Writes records as TensorBoard's does, to the byte."""

    def write(self, data: bytes) -> None:
        """Append a record: its length, and the data, each with its checksum."""
        self._writer.write(_header(len(data)) + data + _masked(crc32c(data)))


def scalars(metrics: Mapping[str, float], step: int, at: float) -> bytes:
    """An event that holds scalars, as protobuf encodes it.

    Args:
        metrics: By tag; what 32 bits do not hold is infinite.
        step: Of the event, from 0.
        at: When it was, in seconds since 1970.
    """
    with np.errstate(over="ignore"):
        values = np.array([float(value) for value in metrics.values()], "<f4").tobytes()
    parts = (part for place, tag in enumerate(metrics) for part in (_tagged(tag), values[4 * place : 4 * place + 4]))
    summary = b"".join(parts)
    number = b"\x10" + _varint(step & (1 << 64) - 1) if step else b""
    return b"".join((b"\x09", struct.pack("<d", at), number, b"\x2a", _varint(len(summary)), summary))


@lru_cache(4096)
def _tagged(tag: str) -> bytes:
    """What is before a scalar of a tag."""
    name = tag.encode()
    value = b"\x0a" + _varint(len(name)) + name + b"\x15"
    return b"\x0a" + _varint(len(value) + 4) + value


def _varint(number: int) -> bytes:
    """A whole number in parts of seven bits, the least first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


@lru_cache(1024)
def _header(length: int) -> bytes:
    """The length of a record with its checksum."""
    packed = struct.pack("<Q", length)
    return packed + _masked(crc32c(packed))


def _masked(checksum: int) -> bytes:
    """A checksum as it is stored, which is not that of what holds it."""
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The checksum CRC-32C: that of many bytes is the exclusive or of what each gives at its distance from the end."""
    table, offsets = _by_distance()
    state = 0xFFFFFFFF
    for begin in range(0, len(data), PART):
        part = bytearray(data[begin : begin + PART])
        size, first = len(part), min(4, len(part))
        part[:first] = ((int.from_bytes(part[:first], "little") ^ state) & (1 << 8 * first) - 1).to_bytes(
            first, "little"
        )
        found = np.bitwise_xor.reduce(table.take(offsets[PART - size :] + np.frombuffer(part, np.uint8)))
        state = int(found) ^ (state >> 8 * size)
    return state ^ 0xFFFFFFFF


@cache
def _by_distance() -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """What a byte gives at each place of a part, and where in it a place begins; the last is TensorBoard's table."""
    found = np.empty((PART, 256), np.uint32)
    found[-1] = last = np.array(CRC_TABLE, np.uint32)
    for place in range(PART - 1, 0, -1):
        found[place - 1] = (found[place] >> np.uint32(8)) ^ last[found[place] & np.uint32(0xFF)]
    return found.ravel(), np.arange(PART) * 256
