"""Wakes a task that waits for something to happen."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes the one who waits. As an event with a time limit, without a task for each wait."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Something happened."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def heard(self, seconds: float) -> None:
        """Wait until it rings, at most so long. What happened before the call is the caller's to look at."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self.ring)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None
