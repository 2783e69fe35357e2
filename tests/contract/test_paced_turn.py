"""Requests that the core sends when they are due and stamps when they are answered, over a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from contract.jetstream import run, until
from headwater.bench.latency.pacing import Pacing, Request
from headwater.bench.latency.records import ANSWERED, ERROR, NOT_SENT, Records
from headwater.core import PacedTurn, Timer, Wire
from headwater.events.direct_client import DirectClient
from headwater.events.nats_options import connect
from headwater.events.nats_server import NatsServer
from nats_server import fresh_namespace, nats_server, options

__all__ = ["nats_server"]

WHOLE = b'{"items":[],"degraded":[]}'
MS = 1_000_000


class Load:
    """A generator, and who answers it: `heard` are the requests in order."""

    def __init__(self, client: DirectClient, service: DirectClient, pacing: Pacing, records: Records) -> None:
        self.client, self.service, self.pacing, self.records = client, service, pacing, records
        self.subject = fresh_namespace()
        self.heard: list[tuple[str, bytes]] = []

    async def answer(self, answers: Callable[[bytes], list[bytes]]) -> None:
        """From here on each request has these answers."""

        def take(_: str, reply: str, data: bytes, __: bytes | None) -> None:
            self.heard.append((reply, data))
            for answer in answers(data):
                self.service.send(reply, answer)

        await self.service.hear(self.subject, take)
        await self.service.flush()

    def requests(self, count: int, apart_ns: int = MS) -> list[Request]:
        return [Request(n, n * apart_ns, self.subject, b"%d" % n) for n in range(count)]

    async def run(self, requests: list[Request], answered: int | None = None) -> tuple[PacedTurn, int]:
        """A turn until all, or so many, are answered, and when it began."""
        over = asyncio.Event()
        turn = self.pacing.turn(requests, over.set)
        started = time.monotonic_ns() + MS
        self.pacing.start(turn, started)
        await until(over.is_set if answered is None else lambda: turn.left == len(requests) - answered)
        assert over.is_set() == (turn.left == 0)
        self.pacing.end()
        return turn, started


@asynccontextmanager
async def load(server: NatsServer) -> AsyncIterator[Load]:
    client: DirectClient = await connect(options(server))
    service: DirectClient = await connect(options(server))
    records = Records.create()
    try:
        yield Load(client, service, await Pacing.open(client, records), records)
    finally:
        await client.close()
        await service.close()
        records.close()


def test_each_is_sent_once_it_is_due_and_stamped_when_it_is_answered(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with load(nats_server) as there:
            await there.answer(lambda data: [WHOLE + b" " * int(data)])
            requests = there.requests(50)
            turn, started = await there.run(requests)
            assert [data for _, data in there.heard] == [request.body for request in requests]
            rows = there.records.rows(50)
            due = [started + request.due for request in requests]
            assert (rows["sent"] >= due).all()
            assert (rows["ended"] >= rows["sent"]).all()
            assert (rows["ended"] <= time.monotonic_ns()).all()
            assert set(rows["outcome"]) == {ANSWERED}
            assert rows["size"].tolist() == [len(WHOLE) + n for n in range(50)]
            assert (turn.left, turn.waiting(), turn.take_answers()) == (0, [], [])

    run(main())


def test_answers_are_kept_that_something_may_be_wanting_of(nats_server: NatsServer) -> None:
    answers = [WHOLE, b'{"degraded":["i1"]}', b'{"error":{"message":"no"}}', b"a floor's", b'{"position":3}']

    async def main() -> None:
        async with load(nats_server) as there:
            await there.answer(lambda data: [answers[int(data)]])
            turn, _ = await there.run(there.requests(5))
            assert turn.take_answers() == [(1, answers[1]), (2, answers[2]), (4, answers[4])]
            assert turn.take_answers() == []

    run(main())


def test_nobody_is_an_error_and_a_second_answer_none_at_all(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with load(nats_server) as there:
            await there.answer(lambda _: [b'{"first":1}', b'{"second":2}'])
            requests = there.requests(4)
            requests[1] = requests[1]._replace(subject=f"{there.subject}.nobody")
            turn, _ = await there.run(requests)
            assert there.records.rows(4)["outcome"].tolist() == [ANSWERED, ERROR, ANSWERED, ANSWERED]
            assert sorted(turn.take_answers()) == [(n, None if n == 1 else b'{"first":1}') for n in range(4)]

    run(main())


def test_what_is_given_up_is_told_and_counts_in_no_later_turn(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with load(nats_server) as there:
            await there.answer(lambda data: [] if data in (b"1", b"3") else [WHOLE])
            turn, _ = await there.run(there.requests(5), answered=3)
            assert turn.waiting() == [1, 3]
            late = [reply for reply, data in there.heard if data in (b"1", b"3")]
            before = there.records.take(5)
            assert (before["ended"] == 0).tolist() == [False, True, False, True, False]
            for reply in late:
                there.service.send(reply, WHOLE)
            await there.service.flush()
            later, _ = await there.run(there.requests(5), answered=3)
            assert (later.waiting(), turn.waiting()) == ([1, 3], [1, 3])

    run(main())


def test_nothing_is_sent_after_the_end(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with load(nats_server) as there:
            await there.answer(lambda _: [WHOLE])
            first, never = there.requests(2, apart_ns=3_600_000 * MS)
            turn, _ = await there.run([first, never], answered=1)
            assert turn.waiting() == [1]
            rows = there.records.rows(2)
            assert rows["sent"].tolist()[1] == 0
            assert rows["outcome"].tolist() == [ANSWERED, NOT_SENT]

    run(main())


def test_what_waits_to_be_written_goes_first(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with load(nats_server) as there:
            await there.answer(lambda _: [WHOLE])
            for round_ in range(20):
                there.heard.clear()
                large = b"0" * 1_000_000
                there.client.send(there.subject, large, "nobody.hears")
                over = asyncio.Event()
                turn = there.pacing.turn(there.requests(3, apart_ns=0), over.set)
                there.pacing.start(turn, time.monotonic_ns())
                await until(over.is_set)
                there.pacing.end()
                assert [data for _, data in there.heard] == [large, b"0", b"1", b"2"], round_

    run(main())


def test_lists_of_different_lengths_and_what_is_no_file_are_refused() -> None:
    def turn(due: list[int], rows: int) -> PacedTurn:
        return PacedTurn(
            wire=Wire(lambda *_: False, lambda: (0, 0)),
            timer=Timer(),
            put=lambda _: None,
            over=lambda: None,
            rows=rows,
            prefix="a.",
            numbers=[0, 1],
            due=due,
            subjects=["s", "s"],
            bodies=[b"", b""],
        )

    with pytest.raises(ValueError, match="different lengths"):
        turn([1], 0)
    with pytest.raises(OSError):
        turn([1, 2], -1)
