"""A log with three copies on a NATS cluster: one server may die for good, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater.actors.object_snapshots import ObjectSnapshots
from headwater.errors import Unavailable
from headwater.events.frame import FrameWriter
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_options import NatsOptions
from headwater.events.nats_server import NatsServer, free_port
from headwater.events.subjects import subject_of
from headwater.events.types import Feedback
from nats_server import GENERATION, server_options

PARTITIONS = 4
NAMESPACE = "copies"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Three servers that know each other."""
    routes = [free_port() for _ in range(3)]
    known = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
    running = [
        NatsServer(
            server_options(
                tmp_path / f"n{n}",
                settings=f'server_name: n{n}\ncluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{known}] }}\n',
            )
        )
        for n, port in enumerate(routes)
    ]
    try:
        with ThreadPoolExecutor(3) as pool:  # a server ends with the thread that started it
            list(pool.map(NatsServer.start, running))
            yield running
    finally:
        for server in running:
            server.kill()


async def opened(options: NatsOptions, replicas: int) -> AsyncJetStreamLog:
    """The log, once the servers have chosen who leads."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await AsyncJetStreamLog.open(
                    options, NAMESPACE, GENERATION, create=StreamSettings(replicas=replicas)
                )
            except Unavailable:
                await asyncio.sleep(0.1)


def frames(writer: FrameWriter, begin: int, count: int) -> list[bytes]:
    made = []
    for n in range(begin, begin + count):
        event = Feedback(type="view", user=f"u{n}", item="i", ts=1_700_000_000_000)
        made += writer.pack(subject_of(event, PARTITIONS), [event], 1_700_000_000_000)
    return made


async def copies(log: AsyncJetStreamLog) -> list[int]:
    """How many servers hold log, count of writers and snapshots, as the servers tell it."""
    place = log.place
    found = []
    for stream in (place.stream, place.epochs, f"OBJ_{place.stream}"):
        info = await log.api.call(f"STREAM.INFO.{stream}")
        current = [peer for peer in info["cluster"].get("replicas") or [] if peer.get("current")]
        found.append(1 + len(current))
    return found


@pytest.mark.slow
def test_a_log_is_given_copies_and_outlives_a_server(servers: list[NatsServer]) -> None:
    urls = ",".join(server.url for server in servers)
    options = NatsOptions(url=urls, reconnect_wait=0.05, request_timeout=2.0)

    async def main() -> None:
        writer = FrameWriter("test", 1)
        log = await opened(options, replicas=1)
        await log.append_many(frames(writer, 0, 50))
        await log.close()
        log = await opened(options, replicas=3)  # what the next `serve` does after a change of cluster.replicas
        store = await asyncio.to_thread(ObjectSnapshots, options, NAMESPACE, GENERATION, replicas=3)
        await asyncio.to_thread(store.save, 50, [("part", b"x" * 1000)], 2)
        async with asyncio.timeout(30):
            while await copies(log) != [3, 3, 3]:
                await asyncio.sleep(0.1)
        leader = (await log.api.call(f"STREAM.INFO.{log.place.stream}"))["cluster"]["leader"]
        servers[int(leader[1:])].kill()
        kept: list[int] = []
        made = frames(writer, 50, 50)
        async with asyncio.timeout(30):
            while not kept:
                try:
                    kept = await log.append_many(made)
                except Unavailable:  # the others choose another leader; the same frames again count once
                    await asyncio.sleep(0.1)
        read = [frame async for batch in log.read() for frame in batch.frames]
        assert set(frames(FrameWriter("test", 1), 0, 100)) <= set(read)
        assert await asyncio.to_thread(store.load, 50) == [("part", b"x" * 1000)]
        await asyncio.to_thread(store.close)
        await log.close()

    asyncio.run(main())
