"""The log: one totally ordered, durable sequence of frames.

`EventLog` is what the engine needs of it; `tests/contract/test_event_log.py` is the suite that every backend passes.
A log stores bytes and knows nothing of their meaning beyond the frame header; `decode_frames` is for those who read
events out of it in Python.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from headwater.errors import InvalidInput, LogCorrupt
from headwater.events.frame import HEADER_LEN, MAGIC, MAX_FRAME, FrameHeader, decode_frame
from headwater.events.subjects import Subject
from headwater.events.types import Event

READ_BATCH_BYTES = 4 << 20


class LogBatch(NamedTuple):
    """Frames in order with their positions; positions are contiguous unless subjects were asked for."""

    positions: list[int]
    frames: list[bytes]


class EventLog(Protocol):
    """An append-only sequence of frames at positions 1, 2, 3 ... Safe to use from many threads."""

    def append(self, frames: Sequence[bytes]) -> int:
        """Append all frames or none; durable when it returns. The position of the first; the others follow it.

        Every log takes 1,000 frames at once; some take more.

        Raises `InvalidInput` (not a frame, too large, nothing to append), `StoreFull`, `StoreClosed`, `StoreError`.
        """
        ...

    def read(
        self,
        start: int = 1,
        *,
        stop: int | None = None,
        subjects: Collection[Subject] | None = None,
        batch_bytes: int = READ_BATCH_BYTES,
    ) -> Iterator[LogBatch]:
        """Frames from `start` up to, not including, `stop`, in batches of about `batch_bytes`.

        Never beyond what is there at the time of the call. A reader that was begun stays good when the log is closed.
        Raises `LogCorrupt` at a gap. A frame's checksum is not checked here: the fold does that.
        """
        ...

    def first(self) -> int:
        """Position of the first frame held, 0 for an empty log."""
        ...

    def last(self) -> int:
        """Position of the last frame, 0 for an empty log."""
        ...

    def size_bytes(self) -> int:
        """Bytes of storage held."""
        ...

    def close(self) -> None:
        """Release everything; later calls raise `StoreClosed`. Closing twice is allowed."""
        ...


def decode_frames(batch: LogBatch) -> Iterator[tuple[int, FrameHeader, list[Event]]]:
    """(position, header, events) of a batch's frames. Raises `LogCorrupt` naming the first that does not decode."""
    for position, frame in zip(batch.positions, batch.frames, strict=True):
        try:
            header, events = decode_frame(frame)
        except LogCorrupt as err:
            raise LogCorrupt(
                f"frame {position}: {err.message}; restore a backup; `headwater verify` says what is broken",
                position=position,
                reason=err.details.get("reason"),
            ) from err
        yield position, header, events


def check_frames(frames: Sequence[bytes]) -> None:
    """What every backend refuses before it writes. Raises `InvalidInput`."""
    if not frames:
        raise InvalidInput("nothing to append; allowed: one frame or more", field="frames", value=0)
    for frame in frames:
        if not HEADER_LEN < len(frame) <= MAX_FRAME or frame[:3] != MAGIC:
            raise InvalidInput(
                f"{len(frame)} bytes that begin with {bytes(frame[:3])!r} are not a frame; "
                f"allowed: frames of {HEADER_LEN + 1} to {MAX_FRAME} bytes",
                field="frames",
                value=len(frame),
            )


def subject_number(frame: bytes) -> int:
    """`Subject.number` of a frame, from its header bytes."""
    return frame[4] << 16 | int.from_bytes(frame[6:8], "little")
