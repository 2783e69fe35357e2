"""The head record: how far the log was acknowledged, kept outside the database.

A flipped bit in SQLite's write-ahead log silently ends the log there, and a lost file tail looks like a shorter log.
So after each commit, and before anything is acknowledged, the last position is written to this small file and synced.
A log that ends before its head has lost acknowledged frames; one that ends after it merely holds frames that nobody
was promised.

Two slots are written in turn, each with a counter and a checksum, so that a torn write leaves the other one.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import xxhash

from headwater.errors import LogCorrupt

_SLOT = struct.Struct("<4sIQQQ")
_CRC = struct.Struct("<I")
_MAGIC = b"HWHD"
_SLOT_SIZE = 512


class Head(NamedTuple):
    """Writes so far, last acknowledged position, and a chained hash over the checksums of all frames up to it."""

    counter: int
    last: int
    chain: int


EMPTY_HEAD = Head(0, 0, 0)


def chain_frames(chain: int, frames: list[bytes]) -> int:
    """The chain after these frames: each link hashes the one before it and the frame's own checksum."""
    for frame in frames:
        chain = xxhash.xxh3_64_intdigest(chain.to_bytes(8, "little") + frame[48:52])
    return chain


class HeadFile:
    """The file `DIR/head`. `read` may be called by anyone, `write` by the log's one writer."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o644)

    def read(self) -> Head:
        """The newer sound slot; `EMPTY_HEAD` for a new file. Raises `LogCorrupt` without a sound slot."""
        content = os.pread(self._fd, 2 * _SLOT_SIZE, 0)
        if not content:
            return EMPTY_HEAD
        slots = [head for at in (0, _SLOT_SIZE) if (head := _decode(content[at : at + _SLOT_SIZE])) is not None]
        if not slots:
            raise LogCorrupt(
                f"{self._path}: neither slot of the head record is sound, so a lost tail of the log cannot be told; "
                "restore the directory from a backup, or delete the file `head` to accept the log as it is",
                path=str(self._path),
                reason="head",
            )
        return max(slots)

    def write(self, head: Head) -> None:
        """Write and sync one slot; `OSError` if the disk refuses."""
        slot = _SLOT.pack(_MAGIC, 1, head.counter, head.last, head.chain)
        slot += _CRC.pack(google_crc32c.value(slot))
        os.pwrite(self._fd, slot.ljust(_SLOT_SIZE, b"\0"), head.counter % 2 * _SLOT_SIZE)
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _decode(slot: bytes) -> Head | None:
    if len(slot) < _SLOT.size + _CRC.size:
        return None
    magic, version, counter, last, chain = _SLOT.unpack_from(slot)
    (crc,) = _CRC.unpack_from(slot, _SLOT.size)
    if magic != _MAGIC or version != 1 or crc != google_crc32c.value(slot[: _SLOT.size]):
        return None
    return Head(counter, last, chain)
