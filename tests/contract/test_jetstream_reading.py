"""How far a reader is, what it holds in memory, what it makes of a faulty way; and why nats-py's own is not used."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError

from contract.event_log import EV0, EV1, frame, frames
from contract.jetstream import Following, opened, run, until
from headwater.events import jetstream_reader
from headwater.events.jetstream_reader import LogReader
from headwater.events.jetstream_tail import Tail
from headwater.events.nats_server import NatsServer
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject
from nats_server import fresh_namespace, nats_server

__all__ = ["nats_server"]


@pytest.mark.parametrize(("heard", "taking"), [(LogReader, "_take"), (Tail, "take")], ids=["consumer", "tail"])
def test_reached_is_never_said_too_early(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, heard: type, taking: str
) -> None:
    """A reader of some subjects is asked for each position as soon as it is acknowledged. A living consumer's pending
    count fails this in about one of a hundred cases: the server counts a message after it acknowledged it. Frames are
    held up on their way, so that there is something to wait for."""
    take = getattr(heard, taking)
    held_up = False

    def late(self: Any, *message: Any) -> None:
        if held_up:
            asyncio.get_running_loop().call_later(0.004, take, self, *message)
        else:
            take(self, *message)

    monkeypatch.setattr(heard, taking, late)

    async def main() -> None:
        nonlocal held_up
        rng = random.Random(3)
        async with opened(nats_server, fresh_namespace()) as log:
            reader = log.follow(subjects=[EV0, CATALOGUE_SUBJECT], idle=60, tail=heard is Tail)
            wanted: list[int] = []
            ways: set[bool] = set()
            async with Following(reader) as following:
                while not wanted or reader.on_tail != (heard is Tail):
                    wanted.append(await log.append([frame(1)]))
                    await until(lambda: following.at(wanted[-1]))
                held_up = True
                for n in range(1, 201):
                    subject = rng.choice([EV0, CATALOGUE_SUBJECT, EV1, EV1, CONTROL_SUBJECT, Subject(0, 9)])
                    position = await log.append([frame(n, subject)])
                    if subject in (EV0, CATALOGUE_SUBJECT):
                        wanted.append(position)
                    reader.reach(position)
                    if rng.random() < 0.7:
                        await until(lambda p=position: following.at(p))
                        assert following.positions == wanted
                        ways.add(reader.on_tail)
                await until(lambda: following.at(position))
                assert following.positions == wanted
                # On a busy machine the tail is left for a while.
                assert (True in ways) == (heard is Tail)

    run(main())


def test_a_position_asked_for_while_the_reader_looks_is_looked_for_at_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream_reader, "_LOOK", 3600.0)  # nobody looks by himself after a while
    looked = jetstream_reader.stream_state

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            reader = log.follow(subjects=[EV0], idle=0)
            meanwhile: list[int] = []

            async def look(*of: Any) -> Any:
                state = await looked(*of)
                if reader.reached == 1 and not meanwhile:
                    meanwhile.append(await log.append([frame(2, EV1)]))
                    reader.reach(2)
                return state

            monkeypatch.setattr(jetstream_reader, "stream_state", look)
            async with Following(reader) as following:
                assert await log.append([frame(1)]) == 1
                await until(lambda: following.at(2))
            assert (meanwhile, following.positions) == ([2], [1])

    run(main())


@pytest.mark.parametrize("tail", [True, False])
def test_a_reader_that_is_closed_while_it_looks_ends_at_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, tail: bool
) -> None:
    monkeypatch.setattr(jetstream_reader, "_LOOK", 3600.0)
    looked = jetstream_reader.stream_state

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            reader = log.follow(subjects=[EV0], idle=0, tail=tail)
            closing: list[asyncio.Task[None]] = []
            last = 0

            async def look(*of: Any) -> Any:
                state = await looked(*of)
                if reader.reached == last and reader.on_tail == tail and not closing:
                    closing.append(asyncio.ensure_future(reader.aclose()))
                    await asyncio.sleep(0)  # it rings, and nobody hears that
                return state

            following = Following(reader)
            while not last or reader.on_tail != tail:
                last = await log.append([frame(last + 1)])
                await until(lambda p=last: reader.reached == p)
            monkeypatch.setattr(jetstream_reader, "stream_state", look)
            last = await log.append([frame(last + 1)])
            await asyncio.wait_for(following.task, 20)
            assert following.positions == list(range(1, last + 1))
            await closing[0]

    run(main())


def test_a_reader_of_silent_subjects_hears_how_far_the_log_went(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with (
            opened(nats_server, fresh_namespace()) as log,
            Following(log.follow(subjects=[CONTROL_SUBJECT], idle=0.05)) as following,
        ):
            await log.append(frames(range(1, 6)))
            await until(lambda: following.at(5))
            await log.append(frames(range(6, 8)))
            await until(lambda: following.at(7))
            await log.append([frame(1, CONTROL_SUBJECT)])
            await until(lambda: following.at(8))
            assert following.positions == [8]

    run(main())


def test_a_fold_slower_than_the_stream_holds_bounded_memory_and_misses_nothing(nats_server: NatsServer) -> None:
    """The reader has at most two portions in memory, however far the log is ahead."""
    size, total = 20_000, 400

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            sent = [frame(n, size=size) for n in range(1, total + 1)]
            await log.append_many(sent)
            reader = log.follow(batch_bytes=100_000)
            most, got = 0, []
            async for batch in reader:
                got += batch.frames
                await asyncio.sleep(0.005)
                most = max(most, reader.buffered)
                if len(got) >= total:
                    break
            await reader.aclose()
            assert got == sent
            assert 0 < most <= 2 << 20

    run(main())


@pytest.mark.parametrize("subjects", [None, [EV0]], ids=["all", "some"])
@pytest.mark.parametrize("copies", [0, 2], ids=["lost", "doubled"])
def test_a_message_lost_or_doubled_on_its_way_is_noticed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, subjects: list[Subject] | None, copies: int
) -> None:
    take, faults = LogReader._take, [7, 60]

    def faulty(self: LogReader, consumer: Any, subject: str, reply: str, *message: Any) -> None:
        at_fault = not consumer.lost and [int(token) for token in reply.split(".")[5:6]] == faults[:1]
        for _ in range(copies if at_fault else 1):
            take(self, consumer, subject, reply, *message)
        if at_fault:
            del faults[0]

    monkeypatch.setattr(LogReader, "_take", faulty)

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append(frames(range(1, 101)))
            async with Following(log.follow(1, subjects)) as following:
                await until(lambda: following.at(100))
                assert following.frames == frames(range(1, 101))
                assert following.reader.restarts == 2

    run(main())


def test_who_stops_waiting_for_a_batch_loses_nothing(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append_many(frames(range(1, 1_501)))
            for subjects in (None, [EV0]):
                reader = log.follow(1, subjects, batch_bytes=700)
                got: list[int] = []
                given_up = 0
                while len(got) < 1_500:
                    # At first at once: a fast machine may never take longer than the moments that follow.
                    moment = given_up % 7 * 0.00005 if given_up > 3 else 0
                    try:
                        got += (await asyncio.wait_for(anext(reader), moment)).positions
                    except TimeoutError:
                        given_up += 1
                assert got == list(range(1, 1_501))
                assert given_up >= 3
                await reader.aclose()

    run(main())


@pytest.mark.parametrize("tail", [False, True], ids=["consumer", "tail"])
def test_a_connection_that_is_gone_is_taken_leave_of_and_a_defect_is_told(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, tail: bool
) -> None:
    """Of what may go wrong at leaving only a lost connection is passed over."""
    told: list[Exception] = []

    async def fails(self: Subscription, limit: int = 0) -> None:
        raise told[-1]

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append(frames(range(1, 4)))
            for error in (ConnectionClosedError(), ConnectionResetError(), RuntimeError("a defect")):
                reader = log.follow(1, tail=tail)
                assert (await anext(reader)).positions
                if tail:
                    while not reader.on_tail:
                        await log.append([frame(9)])
                        await anext(reader)
                    await reader._leave()  # the consumer, so that only the tail is left to leave
                told.append(error)
                with monkeypatch.context() as patched:
                    patched.setattr(Subscription, "unsubscribe", fails)
                    if isinstance(error, RuntimeError):
                        with pytest.raises(RuntimeError, match="a defect"):
                            await reader.aclose()
                    else:
                        await reader.aclose()

    run(main())


def test_nats_py_s_ordered_consumer_loses_what_exceeds_its_buffer(nats_server: NatsServer) -> None:
    """Should this fail one day, the ordered consumer has been mended: see ADR 0019."""

    async def main() -> tuple[int, int]:
        async with opened(nats_server, fresh_namespace()) as log:
            client = await log.api.client()
            total = 600
            await log.append(frames(range(1, total + 1)))
            seen: list[int] = []

            async def take(msg: Any) -> None:
                seen.append(msg.metadata.sequence.stream)
                await asyncio.sleep(0)

            await client.jetstream().subscribe(
                f"{log.place.prefix}>",
                stream=log.place.stream,
                ordered_consumer=True,
                cb=take,
                pending_msgs_limit=50,
            )
            # What comes alone afterwards is received; what was dropped never is.
            while not seen or seen[-1] <= total:
                await log.append([frame(total + 1)])
            return len([n for n in seen if n <= total]), total

    seen, total = run(main())
    assert seen < total
