"""Whose leftovers are not carried, because somebody is forgetting them.

The account's owner forgets a person with all ids that are merged into it; what came under one of these is carried by
its own owner, another process. A carry that was begun before the forgetting and reached the log after it would bring
back what was forgotten, or merge an id anew that was free. So whoever forgets says so first: from then on the owner
begins no carry of these ids, and answers once those under way are in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class HeldBack:
    """Users of one host whom somebody is forgetting. For one event loop."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`seconds`: after so long nobody is waited for any more: whoever was forgetting has died, or given up."""
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}
        self._writes: dict[str, asyncio.Future[None]] = {}

    def __contains__(self, user: str) -> bool:
        return self._clock() < self._until.get(user, 0.0)

    async def hold(self, users: Iterable[str]) -> None:
        """Carry nothing of these users; returns when no write of theirs is under way."""
        now, held = self._clock(), list(users)
        self._until = {user: until for user, until in self._until.items() if now < until}
        self._until |= dict.fromkeys(held, now + self._seconds)
        under_way = [self._writes[user] for user in held if user in self._writes]
        if under_way:
            await asyncio.wait(under_way)

    def let_go(self, users: Iterable[str]) -> None:
        """They are forgotten: what comes under these ids now is new."""
        for user in users:
            self._until.pop(user, None)

    @contextmanager
    def writing(self, user: str) -> Iterator[None]:
        """While something of a user that is not held back is on its way into the log. One at a time."""
        self._writes[user] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._writes.pop(user).set_result(None)
