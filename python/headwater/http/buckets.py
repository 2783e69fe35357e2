"""Token buckets: how many requests each caller may make, counted once for all web workers of a gateway.

The buckets lie in one mapped file, which workers share; its lock (`flock`, which the kernel lets go of however a
process ends) is held while one bucket is looked at. A gateway of one process keeps them in memory of its own.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.core import stable_hash

CALLERS = 4096
"""Callers that are told apart at least, before one whom there is no place for is told to come back."""
_SLOT = struct.Struct("<Qdd")
"""Hash of the caller (0: free), tokens left, and when that was (monotonic clock: one for all processes)."""
_SLOTS = 2 * CALLERS
_PROBES = 64


class Buckets:
    """`rate` tokens a second for each caller, at most `burst` of them at once."""

    def __init__(self, rate: float, burst: int, path: Path | None = None) -> None:
        """`path`: a file that workers share; made if absent."""
        self._rate, self._burst = rate, float(burst)
        self._file = -1 if path is None else os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if path is not None:
            os.ftruncate(self._file, _SLOTS * _SLOT.size)  # as long as it is already, for who comes second
            weakref.finalize(self, os.close, self._file)
        self._slots = mmap.mmap(self._file, _SLOTS * _SLOT.size)

    def spend(self, who: str, now: float | None = None) -> float | None:
        """Take a token of `who`: `None`, or seconds until there is one, infinite if there is no room for them. O(1)."""
        name = stable_hash(who) or 1
        with self._locked():
            moment = time.monotonic() if now is None else now
            found = self._find(name, moment)
            if found is None:
                return float("inf")
            at, left = found
            if left < 1:
                return (1 - left) / self._rate
            _SLOT.pack_into(self._slots, at, name, left - 1, moment)
            return None

    def _find(self, name: int, now: float) -> tuple[int, float] | None:
        """Place and tokens of a caller; a new one takes the first place that is free or whose bucket is full again."""
        place = None
        for probe in range(_PROBES):
            at = (name + probe) % _SLOTS * _SLOT.size
            held, left, since = _SLOT.unpack_from(self._slots, at)
            left = min(self._burst, left + (now - since) * self._rate)
            if held == name:
                return at, left
            if place is None and (held == 0 or left >= self._burst):
                place = at
            if held == 0:
                break
        return None if place is None else (place, self._burst)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file < 0:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
