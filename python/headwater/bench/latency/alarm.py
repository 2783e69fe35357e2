"""Wake-ups of an event loop to the microsecond: its own timers end on whole milliseconds.

A timerfd is a file that becomes readable at a time (Linux). Python has it from 3.13 on, so here it is asked of the C
library.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable, Sequence

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
        self._at = _TimerSpec(_TimeSpec(0, 0), _TimeSpec(0, 0))
        self._ring: Callable[[], None] = lambda: None
        loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        os.read(self._fd, 8)
        self._ring()

    def _set(self, at_ns: int) -> None:
        value = self._at.value
        value.seconds, value.nanoseconds = divmod(at_ns, 1_000_000_000)
        if self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(self._at), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    async def until(self, at_ns: int) -> None:
        """Return at `at_ns` of `time.monotonic_ns`, or at once if that has passed."""
        await self.each([at_ns], lambda _: True)

    async def each(self, at_ns: Sequence[int], act: Callable[[int], bool]) -> None:
        """Call `act` with the place of each of these ascending times when it has come, as long as it says true and this
        is awaited. What it raises is raised here.

        No task is woken for each of them: that takes a second turn of the loop.
        """
        over: asyncio.Future[None] = self._loop.create_future()
        times = enumerate(at_ns)
        waiting = next(times, None)

        def ring() -> None:
            nonlocal waiting
            if over.done():  # nobody awaits this any longer
                return
            try:
                while waiting is not None and waiting[1] <= time.monotonic_ns():
                    waiting = next(times, None) if act(waiting[0]) else None
                if waiting is None:
                    over.set_result(None)
                else:
                    self._set(waiting[1])
            except Exception as err:  # noqa: BLE001 (raised where this is awaited)
                over.set_exception(err)

        self._ring = ring
        ring()
        await over

    def close(self) -> None:
        """Let the file go."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
