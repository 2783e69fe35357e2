"""The one writer of a host, and the records of slates: what shares a turn with an event that no frame can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from headwater.cluster.ingest import Ingest
from headwater.cluster.metrics import HostMetrics
from headwater.cluster.records import RecordWriter
from headwater.cluster_limits import ClusterConfig
from headwater.errors import InvalidInput
from headwater.events.frame import decode_frame
from headwater.events.memory_log import MemoryLog
from headwater.events.types import SlateServed
from headwater.slate_record import SCORER_VERSION

NOW = 1_795_000_000_000


class Log:
    """A log in memory, as a host writes to one."""

    def __init__(self) -> None:
        self.log = MemoryLog()

    async def append(self, frames: Sequence[bytes]) -> int:
        return self.log.append(list(frames))

    async def append_each(self, frames: Sequence[bytes]) -> list[int]:
        return [self.log.append([frame]) for frame in frames]

    def slates(self) -> list[str]:
        frames = [frame for batch in self.log.read() for frame in batch.frames]
        return [event.slate for frame in frames for event in decode_frame(frame)[1] if isinstance(event, SlateServed)]


def record(slate: str, slots: int, user: str = "u") -> SlateServed:
    return SlateServed(
        slate=slate,
        user=user,
        ts=NOW,
        request={},
        variant=None,
        config_version="",
        scorer_version=SCORER_VERSION,
        positions=[1],
        left_out=[],
        candidates=None,
        items=[(f"{slot:0500}", 1.0, "trending", 1.0, 1.0, False) for slot in range(slots)],
    )


def ingest_into(log: Any, limits: ClusterConfig | None = None) -> Ingest:
    return Ingest(log, "host:s0", 1, 4, 0, limits or ClusterConfig(), HostMetrics("n", "s0"), dict)


@pytest.mark.parametrize("given_up", [False, True])
def test_an_event_that_no_frame_can_hold_costs_no_other_its_place(given_up: bool) -> None:
    async def main() -> tuple[list[Any], list[str]]:
        log: Any = Log()
        ingest = ingest_into(log)
        waiting = [ingest.submit(record(slate, slots), NOW) for slate, slots in (("a", 1), ("b", 1000), ("c", 1))]
        if given_up:
            waiting[1].cancel()
        ingest.close()
        await ingest.run(lambda: NOW)  # until what is queued is in the log
        return await asyncio.gather(*waiting, return_exceptions=True), log.slates()

    told, slates = asyncio.run(main())
    assert slates == ["a", "c"], "each once"
    assert (told[0], told[2]) == (1, 2)
    assert isinstance(told[1], asyncio.CancelledError if given_up else InvalidInput)


def test_a_record_that_no_frame_can_hold_does_not_double_those_of_others() -> None:
    async def main() -> tuple[list[str], int, str | None]:
        log = Log()
        ingest = ingest_into(log)
        records = RecordWriter(ingest, lambda: NOW, 4)
        for number in range(6):  # of several partitions
            assert records.record(record(f"s{number}", 1000 if number == 3 else 1, f"u{number}"))
        records.close()
        writing = asyncio.ensure_future(ingest.run(lambda: NOW))
        await records.run()
        ingest.close()
        await writing
        return log.slates(), records.dropped, records.error

    slates, dropped, error = asyncio.run(main())
    assert sorted(slates) == ["s0", "s1", "s2", "s4", "s5"]
    assert dropped == 1
    assert "allowed: 262092" in (error or "")


def test_more_records_than_may_wait_for_the_log_are_written_piece_by_piece() -> None:
    async def main() -> tuple[list[str], int]:
        log = Log()
        ingest = ingest_into(log, ClusterConfig(max_queued_bytes=1 << 20))
        records = RecordWriter(ingest, lambda: NOW, 4)
        for number in range(100):
            assert records.record(record(f"s{number:02}", 80, f"u{number}"))
        records.close()
        writing = asyncio.ensure_future(ingest.run(lambda: NOW))
        await records.run()
        ingest.close()
        await writing
        return log.slates(), records.dropped

    slates, dropped = asyncio.run(main())
    assert (sorted(slates), dropped) == ([f"s{number:02}" for number in range(100)], 0)


def test_records_that_come_while_others_are_written_are_gathered_in_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.cluster.records._GATHER_SECONDS", 0)

    async def main() -> tuple[list[str], list[str]]:
        log = Log()
        ingest = ingest_into(log)
        records = RecordWriter(ingest, lambda: NOW, 4)
        keep = log.append_each

        async def append_each(frames: Sequence[bytes]) -> list[int]:
            if not log.slates():
                monkeypatch.setattr("headwater.cluster.records._GATHER_SECONDS", 3600)
                records.record(record("later", 1))
            return await keep(frames)

        log.append_each = append_each  # type: ignore[method-assign]
        records.record(record("first", 1))
        tasks = [asyncio.ensure_future(ingest.run(lambda: NOW)), asyncio.ensure_future(records.run())]
        async with asyncio.timeout(10):
            while not log.slates() or records._writing:
                await asyncio.sleep(0)
        before = log.slates()
        records.close()
        await tasks[1]
        ingest.close()
        await tasks[0]
        return before, log.slates()

    assert asyncio.run(main()) == (["first"], ["first", "later"])
