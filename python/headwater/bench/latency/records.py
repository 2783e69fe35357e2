"""What happened to each request, in memory that outlives the process which writes it.

The generator writes; whoever started it reads, also after the generator or the engine within it was killed: a row that
was begun and never ended is a request that was never answered, and counts as one. The memory is an anonymous file
(memfd), so that no disk is involved.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from headwater.bench.latency.schedule import MOST_ARRIVALS

NOT_SENT, ANSWERED, DEGRADED, REFUSED, ERROR, TIMED_OUT = range(6)
"""Outcomes. `REFUSED`: the target said "retry after"; `ERROR`: anything else that is not an answer."""

_DTYPE = np.dtype([("free", "<i8"), ("sent", "<i8"), ("ended", "<i8"), ("size", "<u4"), ("outcome", "<u4")])
_BEGUN = struct.Struct("<qq")
_ENDED = struct.Struct("<qII")
_OUTCOME = struct.Struct("<I")


class Records:
    """One row per request, by its number in the schedule.

    `free`: when the generator turned to it (a worker was free, the pacer woke); `sent`: when it was sent; `ended`: when
    its answer, refusal or error was there, all in ns of the monotonic clock; `size`: bytes of the answer.
    """

    def __init__(self, fd: int) -> None:
        """Map the file; it is made as large as is needed, and only pages that are written take memory."""
        self.fd = fd
        os.ftruncate(fd, MOST_ARRIVALS * _DTYPE.itemsize)
        self._memory = mmap.mmap(fd, MOST_ARRIVALS * _DTYPE.itemsize)

    @classmethod
    def create(cls) -> Self:
        """New memory, whose `fd` a child may inherit."""
        return cls(os.memfd_create("headwater-latency", 0))

    def begin(self, number: int, free: int, sent: int) -> None:
        """A request goes out."""
        _BEGUN.pack_into(self._memory, number * _DTYPE.itemsize, free, sent)

    def end(self, number: int, ended: int, outcome: int, size: int = 0) -> None:
        """A request is over."""
        _ENDED.pack_into(self._memory, number * _DTYPE.itemsize + _BEGUN.size, ended, size, outcome)

    def judge(self, number: int, outcome: int) -> None:
        """Change the outcome of a request that was ended, after a look into its answer."""
        _OUTCOME.pack_into(self._memory, (number + 1) * _DTYPE.itemsize - _OUTCOME.size, outcome)

    def rows(self, count: int) -> NDArray[Any]:
        """The first `count` rows as they stand, a copy."""
        return np.frombuffer(self._memory, _DTYPE, count).copy()

    def take(self, count: int) -> NDArray[Any]:
        """A copy of the first `count` rows, which are blank afterwards."""
        rows = self.rows(count)
        self._memory.madvise(mmap.MADV_REMOVE)  # gives the pages back; they read as zeros again
        return rows

    def close(self) -> None:
        """Let the memory go."""
        self._memory.close()
        os.close(self.fd)


class TurnRows(NamedTuple):
    """The rows of one turn, with what the schedule said of them. `started` and `ended` in monotonic ns; `cpu_s`: of the
    load process."""

    started: int
    ended: int
    seconds: float
    cpu_s: float
    due_ns: NDArray[np.int64]
    verb: NDArray[np.uint8]
    rows: NDArray[Any]

    @property
    def span_s(self) -> float:
        """Seconds that it took: a turn that answered its last requests late took longer than was planned."""
        return max(self.seconds, (self.ended - self.started) / 1e9)


def succeeded(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which requests have an answer, degraded ones included."""
    return np.isin(rows["outcome"], (ANSWERED, DEGRADED))
