"""Wake-ups of an event loop to the microsecond: its own timers end on whole milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from headwater.core import Timer


class Alarm:
    """Waits until times of the monotonic clock; one waiter at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = Timer()
        self._loop = loop
        self._ring: Callable[[], None] = lambda: None
        loop.add_reader(self._timer.number, self._read)

    def _read(self) -> None:
        self._timer.quiet()
        self._ring()

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
                    self._timer.set(waiting[1])
            except Exception as err:  # noqa: BLE001 (raised where this is awaited)
                over.set_exception(err)

        self._ring = ring
        ring()
        await over

    def close(self) -> None:
        """Let the file go."""
        self._loop.remove_reader(self._timer.number)
