"""What the server republishes: each frame once and in order whatever is lost on its way, and nothing that is forged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.event_log import EV0, EV1, frame, frames
from contract.jetstream import CREATE, Following, opened, restart, run, until
from headwater.errors import LogCorrupt, LogTailLost
from headwater.events import jetstream_reader
from headwater.events.direct_client import header_lines
from headwater.events.jetstream_api import JetStreamApi
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.jetstream_reader import MISFILED
from headwater.events.jetstream_stream import Place, StreamState
from headwater.events.jetstream_tail import Tail
from headwater.events.nats_server import NatsServer
from headwater.events.subjects import Subject
from nats_server import fresh_namespace, nats_server, own_server, server_options

__all__ = ["nats_server", "own_server"]

BOTH = pytest.mark.parametrize("subjects", [None, [EV0]], ids=["all", "some"])


async def joined(log: AsyncJetStreamLog, following: Following) -> int:
    """Append frames until the reader follows the tail; the last position."""
    position = await log.append([frame(1)])
    while not following.reader.on_tail:
        await until(lambda p=position: following.at(p))
        position = await log.append([frame(position + 1)])
    await until(lambda: following.at(position))
    return position


async def forge(log: AsyncJetStreamLog, position: int, data: bytes, stream: str | None = None) -> None:
    """Send what looks like a frame that the server republishes."""
    added = {
        "Nats-Stream": stream or log.place.stream,
        "Nats-Subject": log.place.subject(EV0),
        "Nats-Sequence": str(position),
        "Nats-Time-Stamp": "2026-11-28T17:00:00Z",
        "Nats-Last-Sequence": str(position - 1),
    }
    client = await log.api.client()
    client.send(log.place.tail + EV0.name, data, headers=header_lines(added))
    await client.flush()
    await client.flush()


@BOTH
def test_who_follows_hears_the_tail_and_needs_no_consumer(
    nats_server: NatsServer, subjects: list[Subject] | None
) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append(frames(range(1, 11)))
            async with Following(log.follow(1, subjects)) as following:
                first = await joined(log, following)
                await log.append_many([frame(n, EV0 if n % 2 else EV1) for n in range(1, 1_201)])
                position = await log.append([frame(1, EV1)])
                await until(lambda: following.at(position))
                while (await log.api.call(f"CONSUMER.NAMES.{log.place.stream}"))["consumers"]:
                    await asyncio.sleep(0.01)
                read = [(p, f) async for b in log.read(1, subjects=subjects) for p, f in zip(*b[:2], strict=True)]
                assert list(zip(following.positions, following.frames, strict=True)) == read
                assert len(read) == (position if subjects is None else first + 600)
                assert following.reader.on_tail
                assert following.reader.restarts == 0

    run(main())


@BOTH
@pytest.mark.parametrize("copies", [0, 2], ids=["lost", "doubled"])
def test_a_message_lost_or_doubled_on_its_way_is_noticed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, subjects: list[Subject] | None, copies: int
) -> None:
    take, faults = Tail.take, [40]

    def faulty(self: Tail, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        at_fault = b"Nats-Sequence: %d\r\n" % faults[0] in headers
        for _ in range(copies if at_fault else 1):
            take(self, subject, reply, data, headers)

    monkeypatch.setattr(Tail, "take", faulty)

    async def main() -> None:
        async with (
            opened(nats_server, fresh_namespace()) as log,
            Following(log.follow(1, subjects)) as following,
        ):
            position = await joined(log, following)
            assert position < 40
            # Of subjects that are not wanted too: what is behind a gap is not given out by the tail.
            sent = [frame(n, EV1 if n == 40 else EV0) for n in range(position + 1, 101)]
            await log.append_many(sent)
            await until(lambda: following.at(100))
            assert following.frames == [
                f for n, f in enumerate([*frames(range(1, position + 1)), *sent], 1) if n != 40 or subjects is None
            ]
            assert following.reader.restarts == (1 if copies == 0 else 0)
            await joined_again(log, following)

    run(main())


async def joined_again(log: AsyncJetStreamLog, following: Following) -> None:
    count = 0
    while not following.reader.on_tail:
        count += 1
        position = await log.append([frame(1_000 + count)])
        await until(lambda p=position: following.at(p))


@BOTH
def test_a_last_message_that_is_lost_comes_all_the_same(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, subjects: list[Subject] | None
) -> None:
    """Nothing comes behind it that would show the gap: who was acknowledged asks, or the log's end is looked at."""

    take = Tail.take

    def lossy(self: Tail, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        if data not in (frame(500), frame(501)):
            take(self, subject, reply, data, headers)

    monkeypatch.setattr(Tail, "take", lossy)

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            async with Following(log.follow(1, subjects, idle=60)) as following:
                await joined(log, following)
                position = await log.append([frame(500)])
                following.reader.reach(position)
                await until(lambda: following.at(position))
                assert following.frames[-1] == frame(500)
            async with Following(log.follow(1, subjects, idle=0.05)) as following:
                await joined(log, following)
                position = await log.append([frame(501)])
                await until(lambda: following.at(position))
                assert following.frames[-1] == frame(501)

    run(main())


def test_the_tail_is_followed_again_behind_a_restart_of_the_server(own_server: NatsServer) -> None:
    async def main() -> None:
        async with (
            opened(own_server, "t") as log,
            Following(log.follow()) as following,
            Following(log.follow(1, [EV0])) as some,
        ):
            for _ in range(2):
                await joined_again(log, following)
                await joined_again(log, some)
                await restart(own_server)
                position = await log.append(frames(range(1, 20)))
                await until(lambda p=position: following.at(p + 18) and some.at(p + 18))
            await joined_again(log, following)
            await joined_again(log, some)
            last = await log.last()
            await until(lambda: following.at(last) and some.at(last))
            assert following.positions == some.positions == list(range(1, last + 1))
            assert following.frames == some.frames

    run(main())


def test_what_the_log_said_before_frames_came_by_the_tail_is_no_lost_tail(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log, Following(log.follow()) as following:
            position = await joined(log, following)
            asked, came = jetstream_reader.stream_state, []

            async def late(api: JetStreamApi, place: Place) -> StreamState:
                """The answer is made, frames come, and only then is it read."""
                state = await asked(api, place)
                if not came:
                    came.append(await log.append(frames(range(1, 20))))
                    await until(lambda: following.reader._position >= came[0] + 18)
                return state

            monkeypatch.setattr(jetstream_reader, "stream_state", late)
            following.reader.reach(position + 1)  # so that it looks
            await until(lambda: bool(came) and following.at(came[0] + 18))
            assert following.positions == list(range(1, came[0] + 19))

    run(main())


def test_a_frame_under_a_foreign_subject_counts_for_nobody(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log, Following(log.follow()) as following:
            position = await joined(log, following)
            await log.api.request(log.place.subject(EV1), frame(2, EV0))
            # Headers of the writer's own count for nothing: the server's stand behind them.
            false = {"Nats-Stream": log.place.stream, "Nats-Subject": log.place.subject(EV0), "Nats-Sequence": "7000"}
            await log.api.request(log.place.subject(EV1), b"junk", false)
            await until(lambda: following.at(position + 2))
            assert following.frames[position:] == [MISFILED, b"junk"]
            assert following.reader.on_tail
            assert following.reader.restarts == 0

    run(main())


def test_a_forged_frame_that_was_given_out_is_a_loud_refusal(nats_server: NatsServer) -> None:
    """The true frame of its position comes too; and where none comes, the log ends before it."""

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            async with Following(log.follow()) as following:
                position = await joined(log, following)
                await forge(log, position + 1, frame(666))
                await until(lambda: following.at(position + 1))
                await log.append([frame(2)])
                with pytest.raises(LogCorrupt, match="somebody else than the server publishes"):
                    await until(lambda: following.at(position + 2))
            async with Following(log.follow(idle=0.05)) as following:
                position = await joined(log, following)
                await forge(log, position + 1, frame(667))
                with pytest.raises(LogTailLost, match=f"ends at position {position}"):
                    await until(lambda: following.at(position + 2))

    run(main())


def test_other_forged_frames_are_passed_over_and_the_tail_is_left(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log, Following(log.follow()) as following:
            position = await joined(log, following)
            client = await log.api.client()
            client.send(log.place.tail + EV0.name, frame(666))  # without a position
            await forge(log, position + 1, frame(667), stream="another")
            position = await log.append([frame(2)])
            await until(lambda: following.at(position))
            assert following.reader.on_tail
            await forge(log, position, frame(668))  # one that was given out truly
            await until(lambda: not following.reader.on_tail)
            for n in range(3, 20):
                position = await log.append([frame(n)])
            await until(lambda: following.at(position))
            assert not following.reader.on_tail
            assert following.positions == list(range(1, position + 1))
            assert following.frames == [f async for b in log.read() for f in b.frames]

    run(main())


def test_a_flood_is_read_by_a_consumer(nats_server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log, Following(log.follow()) as following:
            position = await joined(log, following)
            sent = following.frames[:]
            while "more comes than one should follow" not in caplog.text:  # stored at once, so heard at once
                burst = [frame(len(sent) + n, size=20_000) for n in range(1, 201)]
                position = await log.append(burst) + 199
                sent += burst
                await until(lambda p=position: following.at(p))
            assert following.frames == sent
            await joined_again(log, following)

    run(main())


def test_a_slow_fold_holds_bounded_memory(nats_server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            reader = log.follow(batch_bytes=100_000)
            async with Following(reader, pause=0.002) as following:
                begin = await joined(log, following)
                writing = asyncio.ensure_future(log.append_many([frame(n, size=20_000) for n in range(1, 401)]))
                most = 0
                while not following.at(begin + 400):
                    most = max(most, reader.buffered)
                    await asyncio.sleep(0.001)
                await writing
                assert following.positions == list(range(1, begin + 401))
                assert 0 < most <= 3 << 20

    run(main())
    assert "frames come more quickly than they are taken" in caplog.text


def test_a_stream_of_before_is_read_by_consumers_until_it_is_opened_for_writing(nats_server: NatsServer) -> None:
    async def main() -> None:
        namespace = fresh_namespace()
        async with opened(nats_server, namespace) as log:
            config = (await log.api.call(f"STREAM.INFO.{log.place.stream}"))["config"]
            del config["republish"]
            await log.api.call(f"STREAM.UPDATE.{log.place.stream}", config)
            async with Following(log.follow()) as following:
                for n in range(1, 10):
                    position = await log.append([frame(n)])
                    await until(lambda p=position: following.at(p))
                assert not following.reader.on_tail
            async with opened(nats_server, namespace, create=CREATE), Following(log.follow()) as following:
                await joined_again(log, following)

    run(main())


@pytest.fixture
def deaf_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Its users may not hear any tail, as those of earlier permissions."""
    settings = (
        'authorization { users = [{ user: u, password: p, permissions { subscribe: { deny: "hw.*.tail.>" } } }] }'
    )
    with NatsServer(server_options(tmp_path / "nats", settings=settings)) as server:
        yield server


def test_who_may_not_hear_the_tail_reads_by_consumers(
    deaf_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    from headwater.events.nats_options import NatsOptions

    async def main() -> None:
        where = NatsOptions(url=deaf_server.url, user="u", password="p")
        log = await AsyncJetStreamLog.open(where, "t", "0" * 32, create=CREATE)
        async with Following(log.follow()) as following:
            for n in range(1, 10):
                position = await log.append([frame(n)])
                await until(lambda p=position: following.at(p))
            assert not following.reader.on_tail
        await log.close()

    run(main())
    assert "do not permit to hear hw.t.tail." in caplog.text


def test_namespaces_do_not_hear_each_other(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log, opened(nats_server, fresh_namespace()) as other:
            async with Following(log.follow()) as following, Following(other.follow()) as others:
                position = await joined(log, following)
                beside = await joined(other, others)
                assert following.frames == frames(range(1, position + 1))
                assert others.frames == frames(range(1, beside + 1))
            config: dict[str, Any] = (await log.api.call(f"STREAM.INFO.{log.place.stream}"))["config"]
            assert json.dumps(config["republish"]).count(log.place.short) == 2

    run(main())
