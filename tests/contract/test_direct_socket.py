"""Connections that the core reads and writes itself: what is left to the transport, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from contract.jetstream import run, until
from headwater.core import Wire
from headwater.events.direct_client import DirectClient
from headwater.events.direct_socket import DirectSocket
from headwater.events.nats_options import connect
from headwater.events.nats_server import NatsServer
from nats_server import fresh_namespace, nats_server, options

__all__ = ["nats_server"]


@asynccontextmanager
async def clients(server: NatsServer) -> AsyncIterator[tuple[DirectClient, DirectClient]]:
    one: DirectClient = await connect(options(server))
    two: DirectClient = await connect(options(server))
    try:
        yield one, two
    finally:
        await one.close()
        await two.close()


def test_the_transport_reads_nothing_while_the_core_does(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    feed = asyncio.StreamReader.feed_data
    monkeypatch.setattr(asyncio.StreamReader, "feed_data", lambda s, data: (fed.append(len(data)), feed(s, data)))

    async def main() -> None:
        subject = fresh_namespace()
        async with clients(nats_server) as (one, two):
            heard: list[bytes] = []
            await one.hear(subject, lambda _, __, data, ___: heard.append(data))
            await one.flush()
            await one.flush()
            fed.clear()
            for n in range(100):
                two.send(subject, b"%d" % n)
            await until(lambda: len(heard) == 100)
            assert heard == [b"%d" % n for n in range(100)]
            assert fed == [], "nothing was left for nats-py"

    run(main())


def test_messages_larger_than_what_the_system_takes_at_once_come_whole_and_in_order(nats_server: NatsServer) -> None:
    async def main() -> None:
        subject = fresh_namespace()
        async with clients(nats_server) as (one, two):
            heard: list[bytes] = []
            await one.hear(f"{subject}.back", lambda _, __, data, ___: heard.append(data))
            await two.hear(f"{subject}.there", lambda _, reply, data, __: two.send(reply, data))
            await two.flush()
            await two.flush()
            sent = [bytes([n]) * (n % 7 * 150_000 + n) for n in range(20)]
            for number, data in enumerate(sent):
                one.send(f"{subject}.there", data, f"{subject}.back")
                await until(lambda number=number: len(heard) > number)
            assert heard == sent

    run(main())


Far = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Idle:
    """A client that has nothing else to do, and notes what it is told."""

    def __init__(self) -> None:
        self.turns: list[bytes] = []
        self.looking = False
        self.direct = True

    def may_send(self) -> tuple[int, int, bool]:
        return 1 << 20, 1 << 20, self.direct

    def busy(self) -> bool:
        return self.looking

    def turned(self, unsent: bytes) -> bool:
        self.turns.append(unsent)
        return True


def _nobody(*_: object) -> bool:
    return False


@asynccontextmanager
async def socket(
    client: _Idle, take: Callable[..., bool] = _nobody
) -> AsyncIterator[tuple[DirectSocket, asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReader]]:
    """A `DirectSocket` with its reader, and who is on the other side."""
    far: asyncio.Future[Far] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *both: far.set_result(both), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], limit=1000)
    transport: Any = writer.transport
    direct = DirectSocket(Wire(take, lambda: (0, 0)), reader, transport, client)
    direct.begin()
    heard, other = await far
    try:
        yield direct, reader, other, heard
    finally:
        direct.end()
        writer.close()
        other.close()
        server.close()


@pytest.mark.parametrize("looking", [False, True])
def test_what_the_core_leaves_and_the_end_reach_the_reader(looking: bool) -> None:
    async def main() -> None:
        client = _Idle()
        client.looking = looking
        async with socket(client) as (_, reader, other, _):
            other.write(b"PING\r\n")
            assert await reader.readline() == b"PING\r\n"
            assert (client.turns == []) == looking, "what comes while something is looked at waits its turn"
            other.write(b"+OK\r\n")
            other.close()
            assert await reader.read() == b"+OK\r\n"
            assert reader.at_eof()

    run(main())


def test_a_reader_that_has_too_much_has_the_reading_back() -> None:
    async def main() -> None:
        client = _Idle()
        async with socket(client) as (direct, reader, other, _):
            line = b"-ERR 'much'\r\n"
            other.write(line * 10_000)
            await until(lambda: direct._watched is None)
            assert [await reader.readline() for _ in range(10_000)] == [line] * 10_000
            direct.begin()
            assert direct._watched is not None
            other.write(line)
            assert await reader.readline() == line

    run(main())


def test_the_client_is_asked_once_and_again_when_something_may_wait() -> None:
    async def main() -> None:
        client, heard = _Idle(), list[bytes]()

        def take(_: int, __: bytes, ___: bytes, data: bytes, ____: bytes | None) -> bool:
            heard.append(data)
            return True

        async with socket(client, take) as (direct, reader, other, _):

            async def message(data: bytes) -> None:
                other.write(b"MSG a 1 %d\r\n%b\r\n" % (len(data), data))
                await until(lambda: heard[-1:] == [data])

            for n in range(5):
                await message(b"%d" % n)
            assert len(client.turns) == 1, "nothing waits: the core reads by itself"
            direct._wire.distrust()
            client.direct = False
            await message(b"something waits")
            await message(b"and still")
            assert len(client.turns) == 3
            client.direct = True
            await message(b"it is written")
            await message(b"as before")
            assert len(client.turns) == 4
            other.write(b"PING\r\n")
            assert await reader.readline() == b"PING\r\n"
            await message(b"somebody looked at that")
            assert len(client.turns) == 5
            other.close()
            assert await reader.read() == b""
            assert reader.at_eof()

    run(main())


def test_a_connection_that_ends_in_its_turn_leaves_no_trust_to_the_next() -> None:
    async def main() -> None:
        client, ends = _Idle(), list[Callable[[], None]]()

        def take(*_: object) -> bool:
            while ends:
                ends.pop()()
            return True

        async with socket(client, take) as (first, reader, other, _):
            ends.append(first.end)
            other.write(b"MSG a 1 1\r\nx\r\n")
            await until(lambda: not ends and len(client.turns) == 1)
            again = DirectSocket(first._wire, reader, first._transport, client)
            again.begin()
            ends.append(lambda: None)
            other.write(b"MSG a 1 1\r\nx\r\n")
            await until(lambda: not ends)
            again.end()
            assert len(client.turns) == 2, "it was asked"

    run(main())


def test_what_waits_to_be_written_goes_before_answers_of_the_core(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[DirectClient] = []
    may_send = DirectClient.may_send
    monkeypatch.setattr(DirectClient, "may_send", lambda client: (asked.append(client), may_send(client))[1])

    async def main() -> None:
        subject = fresh_namespace()
        async with clients(nats_server) as (one, two):
            heard: list[bytes] = []
            await one.hear(subject, lambda _, __, data, ___: heard.append(data))
            await one.flush()

            async def hears(data: bytes) -> int:
                before = asked.count(one)
                two.send(subject, data)
                await until(lambda: heard[-1:] == [data])
                return asked.count(one) - before

            await hears(b"first")
            await hears(b"second")
            assert await hears(b"third") == 0
            one.send(f"{subject}.other", b"x")
            assert await hears(b"fourth") == 1
            await hears(b"fifth")
            assert await hears(b"sixth") == 0
            await one.publish(f"{subject}.other", b"x")
            assert await hears(b"seventh") == 1

    run(main())


class _Half:
    """A `Wire` that found no room for the end of what it wrote."""

    def __init__(self, unsent: bytes) -> None:
        self.unsent = unsent
        self.wire = Wire(lambda *_: False, lambda: (0, 0))
        self.detach, self.read = self.wire.detach, self.wire.read

    def attach(self, number: int, look: Callable[[], None], left: Callable[[bytes, bytes, bool], None]) -> int:
        self.readable = look
        return self.wire.attach(number, look, left)

    def pump(self, *_: object) -> tuple[bytes, bytes, bool]:
        data = self.read() or b""
        return data, self.unsent, False


@pytest.mark.parametrize("direct", [False, True])
def test_the_rest_of_a_command_goes_before_anything_else(direct: bool) -> None:
    async def main() -> None:
        client = _Idle()
        client.direct = direct
        async with socket(client) as (first, reader, other, heard):
            first.end()
            transport = first._transport
            half: Any = _Half(b"the rest\r\n")
            again = DirectSocket(half, reader, transport, client)

            def turned(unsent: bytes) -> bool:
                transport.write(unsent + b"more\r\n")
                return False

            client.turned = turned  # type: ignore[method-assign]
            again.begin()
            other.write(b"PING\r\n")
            assert await reader.readline() == b"PING\r\n"
            again.end()
            assert await heard.readexactly(16) == b"the rest\r\nmore\r\n"

    run(main())


def test_nothing_is_read_of_a_connection_that_is_over() -> None:
    async def main() -> None:
        async with socket(_Idle()) as (direct, *_):
            assert direct._watched is not None
            direct.end()
            direct.begin()
            assert direct._watched is None

    run(main())


def test_a_wire_refuses_what_is_no_socket() -> None:
    wire = Wire(lambda *_: False, lambda: (0, 0))
    with pytest.raises(OSError):
        wire.attach(-1, lambda: None, lambda *_: None)
    assert wire.pump(1, 1, True) is None
    assert wire.read() is None
