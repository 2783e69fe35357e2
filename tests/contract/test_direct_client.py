"""The direct way through nats-py's client: what it relies on, against a real server."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from nats.aio.transport import TcpTransport
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError, ProtocolError
from nats.protocol.parser import Parser

from contract.jetstream import run, until
from headwater.events.direct_client import DirectClient, is_nobody
from headwater.events.direct_parser import DirectParser
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
            answers: dict[str, tuple[bytes, bytes | None]] = {}
            for name in ("first", "second"):
                one.ask(subject, name.encode(), lambda *answer, name=name: answers.__setitem__(name, answer))
            forgotten = one.ask(subject, b"third", lambda *answer: answers.__setitem__("third", answer))
            one.forget(forgotten)
            one.ask(f"{subject}.nobody", b"", lambda *answer: answers.__setitem__("nobody", answer))
            await until(lambda: len(answers) == 3)
            nobody = answers.pop("nobody")
            assert is_nobody(*nobody)
            assert answers == {"first": (b"tsrif", None), "second": (b"dnoces", None)}

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


def test_what_was_subscribed_is_known_once_it_is_flushed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py alone writes the ping first."""
    written: list[bytes] = []
    write, writelines = TcpTransport.write, TcpTransport.writelines
    monkeypatch.setattr(TcpTransport, "write", lambda to, data: (written.append(data), write(to, data))[1])
    monkeypatch.setattr(TcpTransport, "writelines", lambda to, data: (written.extend(data), writelines(to, data))[1])

    async def main() -> None:
        async with client(nats_server) as one:
            written.clear()
            subscription = await one.hear(subject := fresh_namespace(), lambda *_: None)
            await one.flush()
            assert written == [f"SUB {subject}  {subscription._id}\r\n".encode(), b"PING\r\n"]

    run(main())


def send_many(nc: DirectClient) -> None:
    for _ in range(10_000):
        nc.send("many", bytes(100_000))


def test_sending_has_bounds(own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    to_lost: list[bytes] = []
    writelines = TcpTransport.writelines

    def written(to: TcpTransport, data: list[bytes]) -> None:
        if to._io_writer.is_closing():
            to_lost.extend(data)
        writelines(to, data)

    monkeypatch.setattr(TcpTransport, "writelines", written)

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
        # asyncio of Python 3.11 drops it, that of 3.12 and later breaks off.
        assert to_lost == []

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


def test_nothing_is_left_of_a_client_that_was_closed(nats_server: NatsServer) -> None:
    async def main() -> weakref.ref[DirectClient]:
        async with client(nats_server) as one:
            await one.hear(fresh_namespace(), lambda *_: None)
            await one.ready_to_ask()
        return weakref.ref(one)

    closed: list[weakref.ref[DirectClient]] = []

    async def keep() -> None:
        closed.append(await main())

    run(keep())
    gc.collect()
    assert closed[0]() is None


class _Told:
    """A client as far as a parser knows it."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.said.append((sid, subject, reply, data, headers))

    async def _process_info(self, info: dict[str, object]) -> None:
        self.said.append(("info", info["server_id"]))

    async def _process_ping(self) -> None:
        self.said.append(("ping",))

    async def _process_err(self, said: str) -> None:
        self.said.append(("err", said))


_LINES = b"".join(
    (
        b'INFO {"server_id": "x"}\r\n',
        b"MSG a.b 7 5\r\nhello\r\n",
        b"PING\r\n",
        b"MSG a.b 7 there.1 0\r\n\r\n",
        b"HMSG a.c 8 _INBOX.2 16 20\r\nNATS/1.0 503\r\n\r\n\r\n\r\n\r\n",
        b"+OK\r\n",
        b"HMSG a.c 8 12 17\r\nNATS/1.0\r\n\r\nabcde\r\n",
        b"-ERR 'Permissions Violation'\r\n",
        b"MSG large 9 6000\r\n" + b"MSG x 1 2\r\n" * 545 + b"12345" + b"\r\n",
        b"MSG end 1 3\r\n\r\n!\r\n",
    )
)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1000, 100_000])
def test_messages_are_cut_as_nats_py_cuts_them_however_they_arrive(piece: int) -> None:
    async def main() -> None:
        own, theirs = _Told(), _Told()

        def take(sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> bool:
            if sid == 8:  # of whom nobody takes messages directly: nats-py is told
                return False
            own.said.append((sid, subject, reply, data, headers))
            return True

        direct, reference = DirectParser(own, take), Parser(theirs)
        for at in range(0, len(_LINES), piece):
            await direct.parse(_LINES[at : at + piece])
        await reference.parse(_LINES)
        assert own.said == theirs.said
        assert len(own.said) == 9

    run(main())


def test_what_is_no_message_is_refused_and_forgotten_with_its_connection() -> None:
    async def main() -> None:
        told = _Told()
        parser = DirectParser(told, lambda *_: False)
        for wrong in (
            b"MSG a\r\n",
            b"MSG a b 7\r\n",
            b"HMSG a 1 7\r\n",
            b"HMSG a 1 12 11\r\n",  # more of headers than of all
            b"MSG a 1 100000000\r\n",  # more than any server lets pass: it would be waited for, and kept
            b"MSG a 1 " + b"9" * 5000 + b"\r\n",
            b"MSG a " + b"1" * 5000 + b" 0\r\n",
            b"WHAT is this\r\n",
            b"x" * 5000,
        ):
            with pytest.raises(ProtocolError):
                await parser.parse(wrong)
            parser.reset()
        await parser.parse(b"MSG a 1 1000\r\nhalf of")
        parser.reset()
        await parser.parse(b"MSG b 1 2\r\nok\r\n")
        assert told.said == [(1, b"b", b"", b"ok", None)]

    run(main())
