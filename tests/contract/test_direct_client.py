"""The direct way through nats-py's client: what it relies on, against a real server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError

from contract.jetstream import run, until
from headwater.events.direct_client import DirectClient
from headwater.events.nats_options import connect
from headwater.events.nats_server import NatsServer
from nats_server import fresh_namespace, nats_server, options, own_server

__all__ = ["nats_server", "own_server"]

Heard = list[tuple[str, str, bytes, bytes | None]]


@asynccontextmanager
async def client(server: NatsServer) -> AsyncIterator[DirectClient]:
    nc: DirectClient = await connect(options(server))
    try:
        yield nc
    finally:
        with suppress(ConnectionError):  # nats-py flushes to a server that is gone
            await nc.close()


async def told(nc: DirectClient) -> None:
    """The server has what was sent so far. nats-py's first ping may overtake what waits to be sent."""
    await nc.flush()
    await nc.flush()


def test_messages_come_in_order_with_reply_and_headers_until_the_subscription_is_left(nats_server: NatsServer) -> None:
    async def main() -> None:
        subject = fresh_namespace()
        async with client(nats_server) as one, client(nats_server) as two:
            heard: Heard = []
            subscription = await one.hear(f"{subject}.*", lambda *message: heard.append(message))
            await told(one)
            for n in range(1000):
                two.send(f"{subject}.{n}", b"x" * n, "there")
            await two.publish(f"{subject}.last", b"after", headers={"Hw-Request-Id": "7"})
            await until(lambda: len(heard) == 1001)
            assert heard[:1000] == [(f"{subject}.{n}", "there", b"x" * n, None) for n in range(1000)]
            assert heard[1000][:3] == (f"{subject}.last", "", b"after")
            assert b"Hw-Request-Id: 7" in (heard[1000][3] or b"")
            assert (one.stats["in_msgs"], two.stats["out_msgs"]) == (1001, 1001)
            await subscription.unsubscribe()
            assert not one._takers, "readers come and go on one connection: nothing is kept of them"
            two.send(f"{subject}.more", b"")
            await told(two)
            await told(one)
            assert len(heard) == 1001

    run(main())


def test_requests_are_answered_or_nobody_is_there_or_they_are_forgotten(nats_server: NatsServer) -> None:
    async def main() -> None:
        subject = fresh_namespace()
        async with client(nats_server) as one, client(nats_server) as two:
            await two.hear(subject, lambda _, reply, data, __: two.send(reply, data[::-1]))
            await told(two)
            await asyncio.gather(one.ready_to_ask(), one.ready_to_ask())
            answers: dict[str, tuple[bytes, bool]] = {}
            for name in ("first", "second"):
                one.ask(subject, name.encode(), lambda *answer, name=name: answers.__setitem__(name, answer))
            forgotten = one.ask(subject, b"third", lambda *answer: answers.__setitem__("third", answer))
            one.forget(forgotten)
            one.ask(f"{subject}.nobody", b"", lambda *answer: answers.__setitem__("nobody", answer))
            await until(lambda: len(answers) == 3)
            assert answers == {"first": (b"tsrif", False), "second": (b"dnoces", False), "nobody": (b"", True)}

    run(main())


def test_what_is_sent_while_the_server_is_away_comes_after_it_is_back(own_server: NatsServer) -> None:
    async def main() -> None:
        async with client(own_server) as one, client(own_server) as two:
            heard: list[bytes] = []
            await one.hear("away", lambda _, __, data, ___: heard.append(data))
            await told(one)
            two.send("away", b"before")
            await until(lambda: heard == [b"before"])
            await asyncio.to_thread(own_server.kill)
            await until(lambda: not one.is_connected and not two.is_connected)
            await asyncio.to_thread(own_server.start)
            await until(lambda: one.is_connected)
            await told(one)
            for n in range(3):
                two.send("away", b"%d" % n)
            await until(lambda: len(heard) == 4)
            assert heard == [b"before", b"0", b"1", b"2"]

    run(main())


def send_many(nc: DirectClient) -> None:
    for _ in range(10_000):
        nc.send("many", bytes(100_000))


def test_sending_has_bounds(own_server: NatsServer) -> None:
    async def main() -> None:
        async with client(own_server) as one:
            with pytest.raises(MaxPayloadError):
                one.send("large", bytes(one.max_payload + 1))
            await asyncio.to_thread(own_server.kill)
            await until(lambda: not one.is_connected)
            with pytest.raises(OutboundBufferLimitError):
                send_many(one)
        with pytest.raises(ConnectionClosedError):
            one.send("closed", b"")

    run(main())


def test_a_defect_in_one_taker_makes_nobody_deaf(nats_server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        subject = fresh_namespace()
        async with client(nats_server) as one:
            heard: list[bytes] = []

            def take(_: str, __: str, data: bytes, ___: bytes | None) -> None:
                if not data:
                    raise ZeroDivisionError
                heard.append(data)

            await one.hear(subject, take)
            for data in (b"a", b"", b"b"):
                one.send(subject, data)
            await until(lambda: len(heard) == 2)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "was not taken" in caplog.text
