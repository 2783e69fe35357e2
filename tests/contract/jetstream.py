"""What the tests of the log on JetStream share: a log for a while, someone who follows it, a restart of its server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.jetstream_reader import LogReader
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_server import NatsServer
from nats_server import GENERATION, options

CREATE = StreamSettings()
PATIENCE = 30.0


def run(work: Coroutine[Any, Any, Any], limit: float = 60.0) -> Any:
    """Run a test's coroutine; it hangs for nobody."""
    return asyncio.run(asyncio.wait_for(work, limit))


@asynccontextmanager
async def opened(server: NatsServer, namespace: str, **settings: Any) -> AsyncIterator[AsyncJetStreamLog]:
    settings = {"create": CREATE, "patience": PATIENCE} | settings
    where = msgspec.structs.replace(options(server), request_timeout=settings.pop("request_timeout", 2.0))
    log = await AsyncJetStreamLog.open(where, namespace, settings.pop("generation", GENERATION), **settings)
    try:
        yield log
    finally:
        await log.close()


async def until(holds: Callable[[], bool], limit: float = 20.0) -> None:
    """Wait for a condition that other tasks bring about."""
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)


class Following:
    """A task that takes everything from a reader, slower if asked, and checks that positions ascend."""

    def __init__(self, reader: LogReader, pause: float = 0.0) -> None:
        self.reader = reader
        self.pause = pause
        self.positions: list[int] = []
        self.frames: list[bytes] = []
        self.reached = 0
        self.task = asyncio.ensure_future(self._take())

    async def _take(self) -> None:
        async for batch in self.reader:
            assert batch.reached >= max([*batch.positions, self.reached])
            assert [*self.positions[-1:], *batch.positions] == sorted({*self.positions[-1:], *batch.positions})
            self.positions += batch.positions
            self.frames += batch.frames
            self.reached = batch.reached
            await asyncio.sleep(self.pause)

    def at(self, position: int) -> bool:
        """Whether it is known to be that far; raises what the reader raised."""
        if self.task.done():
            self.task.result()
        return self.reached >= position

    async def __aenter__(self) -> Following:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reader.aclose()
        await asyncio.wait_for(asyncio.gather(self.task, return_exceptions=True), 10)


async def restart(server: NatsServer, *, kill: bool = True) -> None:
    await asyncio.to_thread(server.kill if kill else server.stop)
    await asyncio.to_thread(server.start)
