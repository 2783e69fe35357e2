"""The head record: how far the log was acknowledged, kept outside the database.

A flipped bit in SQLite's write-ahead log silently ends the log there, and a lost file tail looks like a shorter log.
So after each commit, and before anything is acknowledged, the last position is written to this small file and synced.
A log that ends before its head has lost acknowledged frames; one that ends after it merely holds frames that nobody
was promised.

Two slots are written in turn, each with a counter and a checksum, so that a torn write leaves the other one. Both have
their place in the file from the first moment: later writes take no new space, and a file that was cut is told from a
new one.
"""

from __future__ import annotations

import errno
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
        """Open; when writing, make the file if it is absent. Raises `OSError`."""
        self._path = path
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self.made = not read_only and not path.exists()
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
        if self.made:
            self.begin()

    def begin(self) -> None:
        """Write and sync the record of an empty log; `OSError` if the disk refuses."""
        self._put(_encode(EMPTY_HEAD) + bytes(_SLOT_SIZE), 0)

    def is_blank(self) -> bool:
        """Whether the file holds nothing at all: its writer was killed while making it, or it was cut."""
        return os.fstat(self._fd).st_size == 0

    def read(self) -> Head:
        """The newer sound slot; `EMPTY_HEAD` for a blank file. Raises `LogCorrupt` without a sound slot."""
        if self.is_blank():
            return EMPTY_HEAD
        slots = [head for slot in self._slots() if (head := _decode(slot)) is not None]
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
        self._put(_encode(head), head.counter % 2 * _SLOT_SIZE)

    def damage(self) -> list[str]:
        """Slots that are not as written, though `read` may do without them. The second is blank until used."""
        slots = self._slots()
        heads = [_decode(slot) for slot in slots]
        unused = heads[0] == EMPTY_HEAD and slots[1] == bytes(_SLOT_SIZE)
        return [
            f"slot {number} is damaged"
            for number, (slot, head) in enumerate(zip(slots, heads, strict=True))
            if (head is None or slot != _encode(head)) and not (number == 1 and unused)
        ]

    def _slots(self) -> tuple[bytes, bytes]:
        content = os.pread(self._fd, 2 * _SLOT_SIZE, 0)
        return content[:_SLOT_SIZE], content[_SLOT_SIZE:]

    def _put(self, content: bytes, at: int) -> None:
        if os.pwrite(self._fd, content, at) != len(content):
            raise OSError(errno.ENOSPC, "the head record was written in part")
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _encode(head: Head) -> bytes:
    slot = _SLOT.pack(_MAGIC, 1, head.counter, head.last, head.chain)
    return (slot + _CRC.pack(google_crc32c.value(slot))).ljust(_SLOT_SIZE, b"\0")


def _decode(slot: bytes) -> Head | None:
    if len(slot) < _SLOT.size + _CRC.size:
        return None
    magic, version, counter, last, chain = _SLOT.unpack_from(slot)
    (crc,) = _CRC.unpack_from(slot, _SLOT.size)
    if magic != _MAGIC or version != 1 or crc != google_crc32c.value(slot[: _SLOT.size]):
        return None
    return Head(counter, last, chain)
