"""What goes wrong between a log and a server, on a real server: each test makes it happen."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.event_log import EV0, EV1, contents, fold, frame, frames
from headwater.errors import (
    GenerationMismatch,
    InvalidInput,
    LogCorrupt,
    LogTailLost,
    StoreClosed,
    StoreError,
    StoreFull,
    Unavailable,
)
from headwater.events.frame import decode_header
from headwater.events.jetstream_api import LostContact
from headwater.events.jetstream_log import AsyncJetStreamLog, JetStreamLog
from headwater.events.jetstream_reader import MISFILED, LogReader
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_server import NatsServer
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject
from nats_server import GENERATION, fresh_namespace, nats_server, options, own_server
from replay.golden_log import golden_config
from replay.make_golden import read_log

__all__ = ["nats_server", "own_server"]

CREATE = StreamSettings()
PATIENCE = 30.0


def run(work: Coroutine[Any, Any, Any], limit: float = 60.0) -> Any:
    """Run a test's coroutine; it hangs for nobody."""
    return asyncio.run(asyncio.wait_for(work, limit))


@asynccontextmanager
async def opened(server: NatsServer, namespace: str, **settings: Any) -> AsyncIterator[AsyncJetStreamLog]:
    settings = {"create": CREATE, "patience": PATIENCE} | settings
    log = await AsyncJetStreamLog.open(options(server), namespace, settings.pop("generation", GENERATION), **settings)
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


# --- the server goes away ---


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
def test_an_idle_reader_outlives_its_server(own_server: NatsServer, kill: bool) -> None:
    """Nothing is asked of the server when it dies. The frames before and after are there once, in order."""

    async def main() -> None:
        async with opened(own_server, "idle") as log:
            await log.append([frame(0)])
            readers = [Following(log.follow(2)), Following(log.follow(2, [EV1])), Following(log.follow(1))]
            for round_ in range(3):
                await log.append(frames(range(10 * round_ + 1, 10 * round_ + 6)))
                await log.append(frames(range(10 * round_ + 6, 10 * round_ + 11), EV1))
                await until(lambda: all(f.at(log.last_known) for f in readers))
                if round_ < 2:
                    await restart(own_server, kill=kill)
            everything, some, earlier = readers
            assert everything.positions == list(range(2, 32))
            assert [decode_header(f).sequence for f in everything.frames] == list(range(1, 31))
            assert some.positions == [*range(7, 12), *range(17, 22), *range(27, 32)]
            assert earlier.positions == list(range(1, 32))
            assert all(f.reader.restarts >= 1 for f in readers), "the test did not test what it says"
            for following in readers:
                await following.__aexit__()

    run(main())


def test_a_server_that_is_killed_again_and_again_while_frames_are_read(own_server: NatsServer) -> None:
    total = 3_000

    async def main() -> None:
        async with opened(own_server, "mid") as log:
            await log.append_many(frames(range(1, total + 1)))
            async with Following(log.follow(batch_bytes=2_000), pause=0.002) as slow:
                for wanted in (100, 400, 900):
                    await until(lambda wanted=wanted: len(slow.frames) > wanted)
                    await restart(own_server)
                slow.pause = 0
                await until(lambda: len(slow.frames) >= total)
                assert slow.positions == list(range(1, total + 1))
                assert slow.frames == frames(range(1, total + 1))
            read = [p async for batch in log.read(5, stop=2_500, batch_bytes=1_000) for p in batch.positions]
            assert read == list(range(5, 2_500))

    run(main())


def test_a_bounded_read_goes_on_behind_a_restart(own_server: NatsServer) -> None:
    log = JetStreamLog(options(own_server), "bounded", GENERATION, create=CREATE, patience=PATIENCE)
    log.append(frames(range(1, 401)))
    reader = log.read(batch_bytes=1)
    first = next(reader)
    own_server.kill()
    own_server.start()
    rest = [f for batch in reader for f in batch.frames]
    assert first.frames + rest == frames(range(1, 401))
    log.close()


def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed_during_appends(
    own_server: NatsServer,
) -> None:
    """Torn writes: single frames and batches of many writers are under way at each kill. Every append that returned is
    in the log, once, where it said; every append did return in the end, because writers retry."""

    async def main() -> None:
        random.seed(7)
        acknowledged: dict[int, bytes] = {}
        stop = asyncio.Event()
        async with opened(own_server, "torn") as one, opened(own_server, "torn") as two:

            async def write(log: AsyncJetStreamLog, producer: int) -> int:
                number = 0
                while not stop.is_set():
                    size = random.choice([1, 1, 1, 5, 40])
                    sent = frames(range(number + 1, number + 1 + size), Subject(0, producer % 4), producer)
                    number += size
                    first = await log.append(sent)
                    for position, sent_frame in enumerate(sent, first):
                        assert position not in acknowledged, "a position was given away twice"
                        acknowledged[position] = sent_frame
                return number

            writers = [asyncio.ensure_future(write(log, n)) for n, log in enumerate([one, two] * 12)]
            async with Following(one.follow()) as live:
                for _ in range(4):
                    mark = len(acknowledged)
                    await until(lambda mark=mark: len(acknowledged) > mark + 300)
                    await restart(own_server)
                mark = len(acknowledged)
                await until(lambda: len(acknowledged) > mark + 300)
                stop.set()
                written = sum(await asyncio.gather(*writers))
                last = await one.last()
                await until(lambda: live.at(last))
            stored = {p: f async for b in two.read() for p, f in zip(b.positions, b.frames, strict=True)}
            assert live.positions == list(range(1, last + 1))
            assert live.frames == [stored[p] for p in range(1, last + 1)], "what was read live is not what is there"
            assert written == len(acknowledged)
            assert {p: stored[p] for p in acknowledged} == acknowledged
            # What a kill tore may stand there beside its repetition; nothing else is there twice.
            extra = Counter(stored.values()) - Counter(acknowledged.values())
            assert all(count == 1 for count in extra.values())

    run(main())
