"""The one writer of a host: what shares its turn with an event that no frame can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from headwater.cluster.ingest import Ingest
from headwater.cluster.metrics import HostMetrics
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

    def slates(self) -> list[str]:
        frames = [frame for batch in self.log.read() for frame in batch.frames]
        return [event.slate for frame in frames for event in decode_frame(frame)[1] if isinstance(event, SlateServed)]


def record(slate: str, slots: int) -> SlateServed:
    return SlateServed(
        slate=slate,
        user="u",
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


@pytest.mark.parametrize("given_up", [False, True])
def test_an_event_that_no_frame_can_hold_costs_no_other_its_place(given_up: bool) -> None:
    async def main() -> tuple[list[Any], list[str]]:
        log: Any = Log()
        limits = ClusterConfig()
        ingest = Ingest(log, "host:s0", 1, 4, 0, limits, HostMetrics("n", "s0"), dict)
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
