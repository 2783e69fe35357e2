"""What goes wrong between a log and a server, on a real server: each test makes it happen."""

from __future__ import annotations

import asyncio
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.event_log import EV0, EV1, contents, fold, frame, frames
from headwater.errors import (
    AccessDenied,
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
from headwater.events.nats_options import NatsOptions
from headwater.events.nats_server import NatsServer
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject
from nats_server import GENERATION, fresh_namespace, nats_server, options, own_server, server_options
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


@pytest.mark.parametrize("count", [1, 7], ids=["single", "batch"])
@pytest.mark.parametrize("lost", ["answer", "request"])
def test_a_lost_answer_is_not_a_second_write(nats_server: NatsServer, count: int, lost: str) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append(frames(range(1, 4)))
            request, losses = log.api.request, 3

            async def losing(subject: str, *args: Any, **kwargs: Any) -> bytes:
                nonlocal losses
                if subject.startswith("$JS") or losses == 0:
                    return await request(subject, *args, **kwargs)
                losses -= 1
                if lost == "answer":
                    await request(subject, *args, **kwargs)
                raise LostContact("lost", kept="unknown")

            log.api.request = losing  # type: ignore[method-assign]
            assert await log.append(frames(range(10, 10 + count))) == 4
            assert losses == 0
            assert await log.append([frame(99)]) == 4 + count
            read = [f async for batch in log.read() for f in batch.frames]
            assert read == [*frames(range(1, 4)), *frames(range(10, 10 + count)), frame(99)]

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


# --- knowing how far ---


def test_reached_is_never_said_too_early(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of some subjects is asked for each position as soon as it is acknowledged. A living consumer's pending
    count fails this in about one of a hundred cases: the server counts a message after it acknowledged it. Frames are
    held up on their way, so that there is something to wait for."""
    take = LogReader._take

    async def late(self: LogReader, consumer: Any, msg: Any) -> None:
        await asyncio.sleep(0.004)
        await take(self, consumer, msg)

    monkeypatch.setattr(LogReader, "_take", late)

    async def main() -> None:
        rng = random.Random(3)
        async with opened(nats_server, fresh_namespace()) as log:
            reader = log.follow(subjects=[EV0, CATALOGUE_SUBJECT], idle=60)
            wanted: list[int] = []
            async with Following(reader) as following:
                for n in range(1, 201):
                    subject = rng.choice([EV0, CATALOGUE_SUBJECT, EV1, EV1, CONTROL_SUBJECT, Subject(0, 9)])
                    position = await log.append([frame(n, subject)])
                    if subject in (EV0, CATALOGUE_SUBJECT):
                        wanted.append(position)
                    reader.reach(position)
                    if rng.random() < 0.7:
                        await until(lambda p=position: following.at(p))
                        assert following.positions == wanted
                await until(lambda: following.at(200))
                assert following.positions == wanted

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
    take, count = LogReader._take, 0

    async def faulty(self: LogReader, consumer: Any, msg: Any) -> None:
        nonlocal count
        count += 1
        for _ in range(copies if count in (7, 150) else 1):
            await take(self, consumer, msg)

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
                    try:
                        got += (await asyncio.wait_for(anext(reader), given_up % 7 * 0.0002)).positions
                    except TimeoutError:
                        given_up += 1
                assert got == list(range(1, 1_501))
                assert given_up >= 3
                await reader.aclose()

    run(main())


# --- the log is not what it was ---


def test_a_log_that_was_made_anew_is_refused(nats_server: NatsServer) -> None:
    async def main() -> None:
        namespace = fresh_namespace()
        async with opened(nats_server, namespace) as log, opened(nats_server, namespace) as other:
            await log.append(frames(range(1, 6)))
            following = Following(log.follow())
            await until(lambda: following.at(5))
            await other.api.call(f"STREAM.DELETE.{log.place.stream}")
            async with opened(nats_server, namespace):
                with pytest.raises(LogTailLost, match="lost its tail"):
                    await log.append([frame(6)])
                with pytest.raises(LogTailLost):
                    await log.append([frame(7)])
                with pytest.raises(LogTailLost):
                    await other.last()
                with pytest.raises(StoreError, match=r"another log|ends at position|holds no log"):
                    await asyncio.wait_for(following.task, 30)

    run(main())


def test_a_missing_log_is_said(nats_server: NatsServer) -> None:
    async def main() -> None:
        namespace = fresh_namespace()
        with pytest.raises(StoreError, match="holds no log"):
            async with opened(nats_server, namespace, create=None):
                pass
        async with opened(nats_server, namespace) as log:
            await log.api.call(f"STREAM.DELETE.{log.place.epochs}")
            with pytest.raises(LogCorrupt, match="counts its writers"):
                async with opened(nats_server, namespace):
                    pass

    run(main())


def test_two_generations_stand_beside_each_other(nats_server: NatsServer) -> None:
    async def main() -> None:
        namespace, other = fresh_namespace(), "fedcba98" * 4
        async with opened(nats_server, namespace) as one, opened(nats_server, namespace, generation=other) as two:
            await one.append(frames(range(1, 4)))
            await two.append(frames(range(10, 12)))
            assert [f async for b in one.read() for f in b.frames] == frames(range(1, 4))
            assert [f async for b in two.read() for f in b.frames] == frames(range(10, 12))
        alike = GENERATION[:16] + "0" * 16
        with pytest.raises(GenerationMismatch) as refused:
            async with opened(nats_server, namespace, generation=alike):
                pass
        assert refused.value.details == {"found": GENERATION, "expected": alike}

    run(main())


def test_epochs_never_come_twice(nats_server: NatsServer) -> None:
    async def main() -> None:
        namespace = fresh_namespace()

        async def epoch(**settings: Any) -> int:
            async with opened(nats_server, namespace, **settings) as log:
                return log.epoch

        first = StreamSettings(first_epoch=42)
        epochs = [
            await epoch(create=first),
            *await asyncio.gather(*(epoch() for _ in range(8))),
            await epoch(create=first),
        ]
        assert sorted(epochs) == list(range(42, 52))
        assert epochs[0] == 42
        assert epochs[-1] == 51
        assert await epoch(read_only=True) == 0

    run(main())


def test_a_trimmed_log_is_read_from_where_it_begins(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append(frames(range(1, 11)))
            state = await log.trim(7)
            assert (state.first, state.last) == (7, 10)
            assert [p async for b in log.read(7) for p in b.positions] == [7, 8, 9, 10]
            for reader in (log.read(3), log.follow(3), log.follow(3, [EV0])):
                with pytest.raises(LogCorrupt, match="begins at position 7"):
                    await anext(aiter(reader))
            with pytest.raises(StoreError, match="the log ends at 10"):
                await log.trim(11)
            assert (await log.trim(10)).first == 10
            assert await log.append([frame(11)]) == 11

    run(main())


def test_a_frame_under_a_foreign_subject_counts_for_nobody(nats_server: NatsServer) -> None:
    """Whoever may publish may also misfile. Readers of that subject and readers of all must decide alike."""

    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            await log.append([frame(1)])
            await log.api.request(log.place.subject(EV1), frame(2, EV0))
            await log.api.request(log.place.subject(EV1), b"junk")
            await log.append([frame(3, EV1)])
            everything = [f async for b in log.read() for f in b.frames]
            assert everything == [frame(1), MISFILED, b"junk", frame(3, EV1)]
            assert [f async for b in log.read(subjects=[EV1]) for f in b.frames] == everything[1:]
            assert [f async for b in log.read(subjects=[EV0]) for f in b.frames] == everything[:1]

    run(main())


# --- bounds ---


def test_a_full_log_refuses_and_keeps_what_it_has(nats_server: NatsServer) -> None:
    async def main() -> None:
        namespace = fresh_namespace()
        async with opened(nats_server, namespace, create=StreamSettings(max_bytes=400_000)) as log:
            sent = [frame(n, size=90_000) for n in range(1, 4)]
            await log.append(sent)
            for more in ([frame(4, size=150_000)], [frame(n, size=60_000) for n in range(4, 8)]):
                with pytest.raises(StoreFull, match="takes no more"):
                    await log.append(more)
            assert [f async for b in log.read() for f in b.frames] == sent
            assert await log.append([frame(9)]) == 4
            async with opened(nats_server, namespace, create=StreamSettings(max_bytes=2_000_000)):
                assert await log.append([frame(10, size=150_000)]) == 5

    run(main())


async def fill(log: AsyncJetStreamLog, acknowledged: list[bytes], size: int, limit: int) -> None:
    """Append until it is refused."""
    for n in range(1, limit, 3):
        sent = [frame(n + i, size=size) for i in range(3)]
        await log.append(sent)
        acknowledged += sent


def test_a_full_store_of_the_server_refuses_too(tmp_path: Path) -> None:
    """The bound of the server, which keeps the disk from being full."""

    async def main(server: NatsServer) -> None:
        async with opened(server, "bound") as log:
            acknowledged: list[bytes] = []
            with pytest.raises(StoreFull):
                await fill(log, acknowledged, 100_000, 100)
            assert [f async for b in log.read() for f in b.frames] == acknowledged

    with NatsServer(server_options(tmp_path, max_storage=3_000_000)) as server:
        run(main(server))


def test_a_full_disk_loses_nothing_and_is_overcome_by_a_restart(tmp_path: Path) -> None:
    """The server's stream answers nobody after the disk refused a write, until it is started again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk of its own needs the right to mount one")

    async def main(server: NatsServer) -> None:
        async with opened(server, "disk", patience=1.0, request_timeout=0.5) as log:
            acknowledged: list[bytes] = []
            assert server.write_error() is None
            with pytest.raises((Unavailable, StoreFull)):
                await fill(log, acknowledged, 30_000, 1_000)
            assert "no space left" in (server.write_error() or "")
            (disk / "ballast").unlink()
            await restart(server, kill=False)
            await log.append([frame(5_000)])
            read = [f async for b in log.read() for f in b.frames]
            assert read[: len(acknowledged)] == acknowledged
            assert read[-1] == frame(5_000)
            assert server.write_error() is None

    try:
        (disk / "ballast").write_bytes(bytes(4 << 20))
        with NatsServer(server_options(disk, max_storage=1 << 30, log_file=tmp_path / "server.log")) as server:
            run(main(server))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_an_append_is_bounded_and_append_many_is_not(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            with pytest.raises(InvalidInput, match="1001 frames"):
                await log.append(frames(range(1, 1_002)))
            assert await log.last() == 0
            positions = await log.append_many(frames(range(1, 2_502)))
            assert positions == list(range(1, 2_502))
            assert [f async for b in log.read() for f in b.frames] == frames(range(1, 2_502))

    run(main())


def test_a_closed_log_lets_its_tasks_go(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            following = Following(log.follow())
            writes = [asyncio.ensure_future(log.append([frame(n)])) for n in range(1, 200)]
            await asyncio.sleep(0)
            await log.close()
            done = await asyncio.gather(*writes, return_exceptions=True)
            assert all(isinstance(d, int | StoreClosed) for d in done)
            with pytest.raises(StoreClosed):
                await asyncio.wait_for(following.task, 10)

    run(main())


def test_writers_in_several_threads_and_connections_get_contiguous_runs(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    logs = [JetStreamLog(options(nats_server), namespace, GENERATION, create=CREATE) for _ in range(3)]
    start = threading.Barrier(6)

    def write(producer: int) -> dict[int, bytes]:
        start.wait()
        mine: dict[int, bytes] = {}
        for n in range(20):
            sent = [frame(100 * n + i, producer=producer) for i in range(1 + n % 4 * 3)]
            mine |= dict(enumerate(sent, logs[producer % 3].append(sent)))
        return mine

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(write, range(6)))
    expected = {position: sent for result in results for position, sent in result.items()}
    assert len(expected) == sum(map(len, results))
    assert contents(logs[0]) == [expected[p] for p in range(1, len(expected) + 1)]
    for log in logs:
        log.close()


def test_sqlite_and_jetstream_fold_the_same_frames_to_the_same_digest(nats_server: NatsServer, tmp_path: Path) -> None:
    golden = [packed for packed in read_log() if len(packed) > 52 and packed[:3] == b"HWF"]
    jetstream = JetStreamLog(options(nats_server), fresh_namespace(), GENERATION, create=CREATE)
    sqlite = SqliteLog(tmp_path, GENERATION)
    for begin in range(0, len(golden), 17):
        assert jetstream.append(golden[begin : begin + 17]) == sqlite.append(golden[begin : begin + 17]) == begin + 1
    assert contents(jetstream) == contents(sqlite) == golden
    assert fold(jetstream, golden_config()) == fold(sqlite, golden_config())
    jetstream.close()
    sqlite.close()


# --- why nats-py's own reader is not used ---


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
