"""The server of the log goes away, answers late or refuses: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contract.event_log import EV1, frame, frames
from contract.jetstream import CREATE, PATIENCE, Following, opened, restart, run, until
from headwater.errors import (
    AccessDenied,
    HeadwaterError,
    Unavailable,
)
from headwater.events.frame import decode_header
from headwater.events.jetstream_api import LostContact
from headwater.events.jetstream_log import AsyncJetStreamLog, JetStreamLog
from headwater.events.nats_options import NatsOptions
from headwater.events.nats_server import NatsServer
from headwater.events.subjects import Subject
from nats_server import GENERATION, fresh_namespace, nats_server, options, own_server, server_options

__all__ = ["nats_server", "own_server"]


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


class Losing:
    """A connection that loses the next few writes, or the answers to them."""

    def __init__(self, log: AsyncJetStreamLog, lost: str, losses: int) -> None:
        self.lost, self.losses = lost, losses
        self._request, self._request_each = log.api.request, log.api.request_each
        log.api.request = self.request  # type: ignore[method-assign, assignment]
        log.api.request_each = self.request_each  # type: ignore[method-assign, assignment]

    async def request(self, subject: str, *args: Any, **kwargs: Any) -> bytes:
        if subject.startswith("$JS") or self.losses == 0:
            return await self._request(subject, *args, **kwargs)
        self.losses -= 1
        if self.lost == "answer":
            await self._request(subject, *args, **kwargs)
        raise LostContact("lost", kept="unknown")

    async def request_each(self, requests: Sequence[Any], timeout: float) -> list[bytes | HeadwaterError]:
        """Loses every second one, the first among them."""
        lost = [at for at in range(0, len(requests), 2) if self.losses > at]
        self.losses -= len(lost)
        sent = [at for at in range(len(requests)) if self.lost == "answer" or at not in lost]
        answers = await self._request_each([requests[at] for at in sent], timeout) if sent else []
        said = dict(zip(sent, answers, strict=True))
        return [LostContact("lost", kept="unknown") if at in lost else said[at] for at in range(len(requests))]


@pytest.mark.parametrize("count", [1, 7], ids=["single", "batch"])
@pytest.mark.parametrize("lost", ["answer", "request"])
def test_a_lost_answer_is_not_a_second_write(nats_server: NatsServer, count: int, lost: str) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append(frames(range(1, 4)))
            losing = Losing(log, lost, 3)
            assert await log.append(frames(range(10, 10 + count))) == 4
            assert losing.losses == 0
            assert await log.append([frame(99)]) == 4 + count
            read = [f async for batch in log.read() for f in batch.frames]
            assert read == [*frames(range(1, 4)), *frames(range(10, 10 + count)), frame(99)]

    run(main())


@pytest.mark.parametrize("lost", ["answer", "request"])
def test_of_frames_apart_each_is_there_once_whichever_answers_are_lost(nats_server: NatsServer, lost: str) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            losing = Losing(log, lost, 6)
            sent = frames(range(1, 8))
            positions = await log.append_each(sent)
            assert losing.losses == 0, "three, and each of them once more"
            read = [f async for batch in log.read() for f in batch.frames]
            assert len(read) == len(sent)
            assert [read[position - 1] for position in positions if isinstance(position, int)] == sent

    run(main())


@pytest.mark.parametrize("between", ["nothing", "before the look", "after the look"])
def test_a_batch_of_which_a_crash_kept_the_beginning_is_completed(nats_server: NatsServer, between: str) -> None:
    """The server comes back with two of five frames and the batch's id: the rest follows them, or the whole is new."""

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            sent = frames(range(1, 6))
            await log.append([frame(50)])
            request, torn = log.api.request, False

            async def tearing(subject: str, payload: bytes, headers: Any = None, timeout: float | None = None) -> bytes:
                nonlocal torn
                if headers and "Nats-Batch-Commit" in headers and not torn:
                    torn = True
                    number = first["Nats-Msg-Id"]
                    for n, part in enumerate(sent[:2]):
                        await request(log.place.subject_of(part), part, {"Nats-Msg-Id": number} if n == 0 else {})
                    if between == "before the look":
                        await request(log.place.subject_of(frame(60)), frame(60))
                    raise LostContact("killed", kept="unknown")
                return await request(subject, payload, headers, timeout)

            first: dict[str, str] = {}
            publish = log.api.publish

            async def noting(subject: str, payload: bytes = b"", headers: Any = None, reply: str = "") -> None:
                if headers and "Nats-Msg-Id" in headers and not first:
                    first.update(headers)
                await publish(subject, payload, headers, reply)

            reread = log._writer._reread

            async def looking(start: int, stop: int) -> list[bytes]:
                there = await reread(start, stop)
                if between == "after the look":
                    await request(log.place.subject_of(frame(60)), frame(60))
                return there

            log._writer._reread = looking
            log.api.request, log.api.publish = tearing, noting  # type: ignore[method-assign, assignment]
            position = await log.append(sent)
            read = [f async for batch in log.read() for f in batch.frames]
            assert torn
            assert read[position - 1 : position + 4] == sent
            alone = [frame(50), *sent]
            assert read == (alone if between == "nothing" else [frame(50), *sent[:2], frame(60), *sent])
            assert await log.append([frame(70)]) == len(read) + 1

    run(main())


def test_a_server_that_is_gone_is_an_error_with_a_time(own_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(own_server, "gone", patience=0.3, request_timeout=0.4) as log:
            await log.append(frames(range(1, 4)))
            await asyncio.to_thread(own_server.kill)
            for use in (log.append([frame(4)]), log.last(), log.append_many(frames(range(4, 7)))):
                with pytest.raises(Unavailable) as refused:
                    await use
                assert refused.value.details["retry_after_ms"] > 0
            await asyncio.to_thread(own_server.start)
            # What was given up may have been sent with the reconnection: it is there once, or not at all.
            assert await log.append([frame(9)]) >= 4
            read = [f async for batch in log.read() for f in batch.frames]
            assert read[:3] == frames(range(1, 4))
            assert max(Counter(read).values()) <= 2

    run(main())


def test_what_is_not_permitted_is_said_at_once(tmp_path: Path) -> None:
    users = """authorization { users: [
      { user: all, password: a }
      { user: reader, password: r, permissions: {
          publish: ["$JS.API.STREAM.INFO.>", "$JS.API.STREAM.MSG.GET.>", "$JS.API.CONSUMER.>"],
          subscribe: ["_INBOX.>"] } }
      { user: deaf, password: d, permissions: { publish: [">"], subscribe: ["elsewhere"] } }
    ] }"""

    async def main(url: str) -> None:
        def as_(user: str) -> NatsOptions:
            return NatsOptions(url=url, user=user, password=user[0], request_timeout=20)

        log = await AsyncJetStreamLog.open(as_("all"), "may", GENERATION, create=CREATE)
        await log.append(frames(range(1, 4)))
        reader = await AsyncJetStreamLog.open(as_("reader"), "may", GENERATION, read_only=True)
        assert [f async for b in reader.read() for f in b.frames] == frames(range(1, 4))
        begin = time.monotonic()
        with pytest.raises(AccessDenied, match="do not permit publish"):
            await AsyncJetStreamLog.open(as_("reader"), "may", GENERATION)
        with pytest.raises(AccessDenied, match="do not permit subscription"):
            await AsyncJetStreamLog.open(as_("deaf"), "may", GENERATION)
        with pytest.raises(AccessDenied):
            await reader.api.call(f"STREAM.PURGE.{reader.place.stream}")
        assert time.monotonic() - begin < 15
        await reader.close()
        await log.close()

    with NatsServer(server_options(tmp_path, settings=users)) as server:
        run(main(server.url))
