"""The JetStream log as a host sees it."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.errors import HeadwaterError
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.jetstream_reader import LogReader
from headwater.events.subjects import Subject


class StreamLog:
    """`headwater.actors.host_state.HostLog` on JetStream."""

    def __init__(self, log: AsyncJetStreamLog) -> None:
        self._log = log

    @property
    def epoch(self) -> int:
        """This writer's epoch: greater than any that was given out before."""
        return self._log.epoch

    @property
    def snapshots(self) -> str:
        """The folder, among a directory's snapshots, of those of this very log: empty for a log that was never written
        anew, since then there is no other."""
        return f"log-{self._log.log_id}" if self._log.rewritten else ""

    async def bounds(self) -> tuple[int, int]:
        """See `HostLog.bounds`."""
        state = await self._log.state()
        return state.first, state.last

    def follow(self, start: int, subjects: Sequence[Subject] | None) -> LogReader:
        """See `HostLog.follow`."""
        return self._log.follow(start, subjects)

    async def append(self, frames: Sequence[bytes]) -> int:
        """See `HostLog.append`."""
        return await self._log.append(frames)

    async def append_each(self, frames: Sequence[bytes]) -> list[int | HeadwaterError]:
        """See `HostLog.append_each`."""
        return await self._log.append_each(frames)

    async def frame_at(self, position: int) -> bytes | None:
        """See `HostLog.frame_at`."""
        async for batch in self._log.read(position, stop=position + 1):
            return batch.frames[0]
        return None

    async def close(self) -> None:
        """Finish appends and disconnect."""
        await self._log.close()
