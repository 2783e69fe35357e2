"""The stream of the log: generations, epochs, trims, foreign frames, bounds, several writers, equal digests."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.event_log import EV0, EV1, contents, fold, frame, frames
from contract.jetstream import CREATE, Following, opened, restart, run, until
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
from headwater.events.jetstream_log import AsyncJetStreamLog, JetStreamLog
from headwater.events.jetstream_reader import MISFILED
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_server import NatsServer
from headwater.events.sqlite_log import SqliteLog
from nats_server import GENERATION, fresh_namespace, nats_server, options, server_options
from replay.golden_log import golden_config
from replay.make_golden import read_log

__all__ = ["nats_server"]


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


@pytest.mark.parametrize("count", [1, 3, 40])
def test_frames_that_need_not_stand_together_have_a_position_each(nats_server: NatsServer, count: int) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace()) as log:
            written = frames(range(1, count + 1))
            positions, apart = await asyncio.gather(log.append_each(written), log.append_each([frame(1, EV1)]))
            following = Following(log.follow())
            await until(lambda: following.at(count + 1))
            there = dict(zip(following.positions, following.frames, strict=True))
            assert [there[position] for position in positions] == written, "each where it was said to be"
            assert positions == sorted(positions), "in their order"
            assert there[apart[0]] == frame(1, EV1)
            await following.reader.aclose()

    run(main())


def test_of_frames_apart_those_that_find_no_room_are_refused_alone(nats_server: NatsServer) -> None:
    async def main() -> None:
        async with opened(nats_server, fresh_namespace(), create=StreamSettings(max_bytes=100_000)) as log:
            kept = 0
            while True:
                outcomes = await log.append_each([frame(kept + 1, size=30_000), frame(kept + 2, size=30_000)])
                kept += sum(isinstance(outcome, int) for outcome in outcomes)
                if not all(isinstance(outcome, int) for outcome in outcomes):
                    break
            assert isinstance(outcomes[-1], StoreFull)
            assert await log.last() == kept > 0

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
