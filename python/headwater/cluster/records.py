"""Slate records of a host: queued behind the answers, written in groups through the host's ingest."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from headwater.cluster.ingest import Clock, Ingest
from headwater.errors import HeadwaterError
from headwater.events.types import SlateServed
from headwater.slate_record import QUEUE_LIMIT, Making

logger = logging.getLogger(__name__)

_GROUP = 500
_GATHER_SECONDS = 0.25
"""An append costs the same for one record as for fifty, each frame of it costs the log and three folds, and after each
of them item hosts look for what leads anew. A host that is killed takes with it what waits here."""


class RecordWriter:
    """A bounded queue of records. One that finds it full is refused: its slate says so, nobody waits."""

    def __init__(self, ingest: Ingest, clock: Clock) -> None:
        self._ingest = ingest
        self._clock = clock
        self._queue: deque[SlateServed | Making] = deque()
        self._arrived = asyncio.Event()
        self._closed = asyncio.Event()
        self._writing = False
        self.dropped = 0
        self.error: str | None = None
        """Why the last group was not written; None once one was."""

    def record(self, served: SlateServed | Making, /) -> bool:
        """Queue a record, or what makes it later; whether there was room."""
        if self._closed.is_set() or len(self._queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return False
        self._queue.append(served)
        self._arrived.set()
        return True

    async def run(self) -> None:
        """Write what is queued until `close`."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _GATHER_SECONDS)
            while self._queue:
                self._writing = True
                await self._write([self._queue.popleft() for _ in range(min(_GROUP, len(self._queue)))])
            self._writing = False
            if self._closed.is_set():
                return

    @property
    def pending(self) -> bool:
        """Whether records are queued or on their way."""
        return self._writing or bool(self._queue)

    async def _made(self, group: list[SlateServed | Making]) -> list[SlateServed]:
        made: list[SlateServed] = []
        for queued in group:
            if isinstance(queued, SlateServed):
                made.append(queued)
            else:
                made.append(queued())
                await asyncio.sleep(0)  # a whole group would hold up who asks meanwhile for milliseconds
        return made

    async def _write(self, group: list[SlateServed | Making]) -> None:
        """Write a group; a record that is refused costs no other its place, and none is written twice."""
        now = self._clock()
        waiting: list[tuple[SlateServed, asyncio.Future[int]]] = []
        refused: list[tuple[SlateServed, HeadwaterError]] = []
        for served in await self._made(group):
            try:
                waiting.append((served, self._ingest.submit(served, now)))
            except HeadwaterError as err:
                refused.append((served, err))
        for served, written in waiting:
            try:
                await written
            except HeadwaterError as err:
                refused.append((served, err))
        for served, why in refused:
            if self.error is None:
                logger.warning("slate record %s was not written: %s", served.slate, why.message)
            self.dropped += 1
            self.error = why.message
        if not refused:
            self.error = None

    def close(self) -> None:
        """Take no more records; `run` returns once what is queued was written."""
        self._closed.set()
        self._arrived.set()
