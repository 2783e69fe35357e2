"""Wake-ups of an event loop to the microsecond: its own timers end on whole milliseconds.

A timerfd is a file that becomes readable at a time (Linux). Python has it from 3.13 on, so here it is asked of the C
library.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time

_MONOTONIC, _FLAGS, _ABSOLUTE = 1, os.O_NONBLOCK | os.O_CLOEXEC, 1


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


class Alarm:
    """Waits until times of the monotonic clock; one waiter at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_MONOTONIC, _FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = loop
        self._rang: asyncio.Future[None] | None = None
        loop.add_reader(self._fd, self._ring)

    def _ring(self) -> None:
        os.read(self._fd, 8)
        if self._rang is not None and not self._rang.done():
            self._rang.set_result(None)

    async def until(self, at_ns: int) -> None:
        """Return at `at_ns` of `time.monotonic_ns`, or at once if that has passed."""
        if at_ns <= time.monotonic_ns():
            return
        self._rang = self._loop.create_future()
        spec = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(*divmod(at_ns, 1_000_000_000)))
        if self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await self._rang

    def close(self) -> None:
        """Let the file go."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
