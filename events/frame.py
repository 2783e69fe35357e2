"""Frames: one log message. Written here, read in Rust (`core_rs/src/frame`); golden frames hold both sides together.

    0  3  magic "HWF"   3 u8 format version   4 u8 subject kind   5 u8 flags (0)   6 u16 partition
    8 u64 producer     16 u64 epoch          24 u64 sequence     32 i64 append time, UTC ms
   40 u32 events       44 u32 body length    48 u32 CRC-32C over 0..48 and the body
   52 body: one MessagePack array of the events

Little endian. A frame holds events of one subject. Sequences count from 1 per (producer, epoch, subject), so that a
frame that is sent again is recognised by its number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import google_crc32c
import msgspec

from headwater.errors import InvalidInput, LogCorrupt
from headwater.events.subjects import Subject, stable_hash
from headwater.events.types import Event

MAGIC = b"HWF"
FORMAT_VERSION = 1
MAX_FRAME = 262_144
MAX_EVENTS = 65_535
HEADER_LEN = 52

_HEADER = struct.Struct("<3sBBBHQQQqII")
_CRC = struct.Struct("<I")
_COUNT_AT = slice(40, 44)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


class FrameHeader(NamedTuple):
    """The fields of a header. `producer` is the stable hash of the producer's name; `appended` UTC ms."""

    version: int
    subject: Subject
    producer: int
    epoch: int
    sequence: int
    appended: int
    events: int


def encode_frame(
    subject: Subject, producer: int, epoch: int, sequence: int, appended: int, count: int, body: bytes
) -> bytes:
    """The bytes of a frame around an encoded body. Raises `InvalidInput` when it would be larger than allowed."""
    if not 1 <= count <= MAX_EVENTS or HEADER_LEN + len(body) > MAX_FRAME:
        raise InvalidInput(
            f"a frame of {count} events and {HEADER_LEN + len(body)} bytes; allowed: 1 to {MAX_EVENTS} events, "
            f"{MAX_FRAME} bytes",
            field="frame",
            value=count,
        )
    head = _HEADER.pack(
        MAGIC, FORMAT_VERSION, subject.kind, 0, subject.partition, producer, epoch, sequence, appended, count, len(body)
    )
    crc = google_crc32c.extend(google_crc32c.value(head), body)
    return b"".join((head, _CRC.pack(crc), body))


def encode_event(event: Event) -> bytes:
    """An event as it stands in a frame's body."""
    return _encoder.encode(event)


def claimed_events(frame: bytes) -> int:
    """How many events a frame says it has, for a guess of what it costs: nothing of it is checked."""
    return int.from_bytes(frame[_COUNT_AT], "little")


def decode_header(frame: bytes) -> FrameHeader:
    """Header of a frame, after the checks that the fold makes of it, in its order. Raises `LogCorrupt` with the fold's
    code of the first that failed as `reason`."""
    if len(frame) < HEADER_LEN:
        raise LogCorrupt(f"frame of {len(frame)} bytes is shorter than its header", reason="short-header")
    magic, version, kind, flags, partition, producer, epoch, sequence, appended, count, length = _HEADER.unpack_from(
        frame
    )
    if magic != MAGIC:
        raise LogCorrupt(f"frame begins with {magic!r}, expected {MAGIC!r}", reason="bad-magic")
    if len(frame) > MAX_FRAME:
        raise LogCorrupt(f"frame of {len(frame)} bytes; at most {MAX_FRAME} are allowed", reason="too-large")
    if version != FORMAT_VERSION:
        raise LogCorrupt(
            f"frame of format version {version}; this code reads {FORMAT_VERSION}", reason="unknown-version"
        )
    if flags:
        raise LogCorrupt(f"frame with flags {flags}", reason="unknown-flags")
    if kind > 2 or (kind and partition):
        raise LogCorrupt(f"frame of subject kind {kind}, partition {partition}", reason="unknown-subject")
    if length != len(frame) - HEADER_LEN:
        raise LogCorrupt(
            f"frame body of {len(frame) - HEADER_LEN} bytes, header says {length}", reason="length-mismatch"
        )
    (crc,) = _CRC.unpack_from(frame, HEADER_LEN - 4)
    if crc != google_crc32c.extend(google_crc32c.value(frame[: HEADER_LEN - 4]), frame[HEADER_LEN:]):
        raise LogCorrupt("frame checksum does not match", reason="bad-crc")
    if not 1 <= count <= MAX_EVENTS:
        raise LogCorrupt(f"frame of {count} events; allowed: 1 to {MAX_EVENTS}", reason="bad-count")
    return FrameHeader(version, Subject(kind, partition), producer, epoch, sequence, appended, count)


def decode_frame(frame: bytes) -> tuple[FrameHeader, list[Event]]:
    """Header and events of a frame, for export, explanation and tests. Raises `LogCorrupt`.

    Stricter than the fold: an event that the fold would refuse on its own refuses the whole frame here.
    """
    header = decode_header(frame)
    held = _array_length(frame[HEADER_LEN : HEADER_LEN + 5])
    if held is not None and held != header.events:
        raise LogCorrupt(f"frame holds {held} events, header says {header.events}", reason="bad-count")
    try:
        events = _decoder.decode(frame[HEADER_LEN:])
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise LogCorrupt(f"frame body does not decode: {err}", reason="bad-body") from err
    return header, events


def _array_length(head: bytes) -> int | None:
    """Length that the head of a MessagePack array promises; `None` if it is not the head of one."""
    if head[:1] == b"\xdc" and len(head) >= 3:
        return int.from_bytes(head[1:3], "big")
    if head[:1] == b"\xdd" and len(head) >= 5:
        return int.from_bytes(head[1:5], "big")
    return head[0] & 0x0F if head and head[0] >> 4 == 0x9 else None


class FrameWriter:
    """Numbers and packs events of one producer in one epoch. Not thread-safe: its owner serialises calls.

    Each process start takes a new epoch; an import uses its source's hash as the producer and chunk numbers, so that
    resuming repeats them.
    """

    def __init__(self, producer: str, epoch: int) -> None:
        self.producer = stable_hash(producer)
        self.epoch = epoch
        self._sequences: dict[Subject, int] = {}

    def body(self, subject: Subject, count: int, body: bytes, appended: int) -> bytes:
        """One frame around an encoded body, with the subject's next number. Raises `InvalidInput` for what no frame
        holds."""
        if count == 1 and HEADER_LEN + len(body) > MAX_FRAME:
            raise InvalidInput(
                f"an event of {len(body)} bytes; allowed: {MAX_FRAME - HEADER_LEN}", field="event", value=len(body)
            )
        sequence = self._sequences.get(subject, 0) + 1
        frame = encode_frame(subject, self.producer, self.epoch, sequence, appended, count, body)
        self._sequences[subject] = sequence
        return frame

    def pack(self, subject: Subject, events: list[Event], appended: int) -> Iterable[bytes]:
        """Frames of these events in order, split where they would grow too large.

        Raises `InvalidInput` for a single event that is larger than a frame.
        """
        body = _encoder.encode(events) if len(events) <= MAX_EVENTS else b""
        if body and (HEADER_LEN + len(body) <= MAX_FRAME or len(events) == 1):
            yield self.body(subject, len(events), body, appended)
        else:
            half = len(events) // 2
            yield from self.pack(subject, events[:half], appended)
            yield from self.pack(subject, events[half:], appended)
