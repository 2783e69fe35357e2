"""The log of an engine opened at `:memory:`: a list of frames, gone with the process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence

from headwater.errors import StoreClosed
from headwater.events.log import READ_BATCH_BYTES, LogBatch, check_frames, subject_number
from headwater.events.subjects import Subject


class MemoryLog:
    """An `EventLog` that is durable for as long as the process lives."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._bytes = 0
        self._closed = False
        self._mutex = threading.Lock()

    def append(self, frames: Sequence[bytes]) -> int:
        """See `EventLog.append`."""
        check_frames(frames)
        with self._mutex:
            self._check_open()
            first = len(self._frames) + 1
            self._frames.extend(frames)
            self._bytes += sum(map(len, frames))
            return first

    def read(
        self,
        start: int = 1,
        *,
        stop: int | None = None,
        subjects: Collection[Subject] | None = None,
        batch_bytes: int = READ_BATCH_BYTES,
    ) -> Iterator[LogBatch]:
        """See `EventLog.read`."""
        self._check_open()
        end = len(self._frames) + 1 if stop is None else min(stop, len(self._frames) + 1)
        return self._read(start, end, subjects, batch_bytes)

    def _read(self, start: int, end: int, subjects: Collection[Subject] | None, batch_bytes: int) -> Iterator[LogBatch]:
        wanted = None if subjects is None else {subject.number for subject in subjects}
        batch, size = LogBatch([], []), 0
        for position in range(max(start, 1), end):
            frame = self._frames[position - 1]
            if wanted is not None and subject_number(frame) not in wanted:
                continue
            batch.positions.append(position)
            batch.frames.append(frame)
            size += len(frame)
            if size >= batch_bytes:
                yield batch
                batch, size = LogBatch([], []), 0
        if batch.frames:
            yield batch

    def first(self) -> int:
        """See `EventLog.first`."""
        self._check_open()
        return 1 if self._frames else 0

    def last(self) -> int:
        """See `EventLog.last`."""
        self._check_open()
        return len(self._frames)

    def size_bytes(self) -> int:
        """See `EventLog.size_bytes`."""
        self._check_open()
        return self._bytes

    def close(self) -> None:
        """See `EventLog.close`."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the log is closed")
