"""Slate records of a host: queued behind the answers, written in groups through the host's ingest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from headwater.cluster.ingest import Clock, Ingest
from headwater.core import RecordGroup, RecordQueue
from headwater.errors import HeadwaterError
from headwater.events.subjects import PARTITION, Subject
from headwater.events.types import SlateServed
from headwater.slate_record import QUEUE_LIMIT, Making

logger = logging.getLogger(__name__)

_GATHER_SECONDS = 0.25
"""An append costs the same for one record as for fifty, each frame of it costs the log and three folds, and after each
of them item hosts look for what leads anew. A host that is killed takes with it what waits here."""
_PIECE_BYTES = 1 << 20
"""So many wait for the log at once: the least that `cluster.max_queued_bytes` may be. More would be refused where a log
that was gone is back, though nothing is wrong with them."""

Queued = SlateServed | Making


class RecordWriter:
    """A bounded queue of records. One that finds it full is refused: its slate says so, nobody waits."""

    def __init__(self, ingest: Ingest, clock: Clock, partitions: int) -> None:
        """`partitions`: among how many users are divided."""
        self._ingest = ingest
        self._clock = clock
        self._arrived = asyncio.Event()
        self.queue = RecordQueue(QUEUE_LIMIT, partitions, self._arrived.set)
        """The core puts its own there."""
        self._closed = asyncio.Event()
        self._writing = False

    @property
    def dropped(self) -> int:
        """How many were refused, or not written."""
        return self.queue.dropped

    @property
    def error(self) -> str | None:
        """Why the last group was not written; None once one was."""
        return self.queue.error

    def record(self, served: Queued, /) -> bool:
        """Queue a record, or what makes it later; whether there was room."""
        return self.queue.push(served)

    async def run(self) -> None:
        """Write what is queued until `close`."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _GATHER_SECONDS)
            # What comes while these are written is gathered in its turn.
            self._writing = True
            await self._write(*self.queue.take())
            self._writing = False
            if len(self.queue):
                self._arrived.set()
            elif self._closed.is_set():
                return

    @property
    def pending(self) -> bool:
        """Whether records are queued or on their way."""
        return self._writing or len(self.queue) > 0

    async def _write(self, others: Sequence[Queued], groups: Sequence[RecordGroup]) -> None:
        """Write records; one that is refused costs no other its place, and none is written twice."""
        refused: list[_Refused] = []
        made = await self._made(others, refused)
        for frames in _pieces([*groups, *self.queue.grouped(made)]):
            await self._write_piece(frames, refused)
        for slate, why in refused:
            if self.queue.error is None:
                logger.warning("slate record %s was not written: %s", slate, why.message)
            self.queue.drop_one()
            self.queue.error = why.message
        if not refused:
            self.queue.error = None

    async def _write_piece(self, frames: Sequence[_Frame], refused: list[_Refused]) -> None:
        waiting: list[tuple[RecordGroup, asyncio.Future[int]]] = []
        now = self._clock()
        for group, body in frames:
            subject = Subject(PARTITION, group.partition)
            try:
                waiting.append((group, self._ingest.submit_records(subject, len(group), body, now)))
            except HeadwaterError as err:
                refused += [_Refused(slate, err) for slate in group.slates]
        for group, written in waiting:
            try:
                await written
            except HeadwaterError as err:
                refused += [_Refused(slate, err) for slate in group.slates]

    async def _made(self, others: Sequence[Queued], refused: list[_Refused]) -> list[tuple[str, str, bytes]]:
        made: list[tuple[str, str, bytes]] = []
        for queued in others:
            served = queued if isinstance(queued, SlateServed) else queued()
            try:
                made.append((served.slate, served.user, self._ingest.encoded_record(served, self._clock())))
            except HeadwaterError as err:
                refused.append(_Refused(served.slate, err))
                continue
            await asyncio.sleep(0)  # all of them would hold up who asks meanwhile for milliseconds
        return made

    def close(self) -> None:
        """Take no more records; `run` returns once what is queued was written."""
        self.queue.close()
        self._closed.set()
        self._arrived.set()


class _Refused(NamedTuple):
    slate: str
    why: HeadwaterError


class _Frame(NamedTuple):
    group: RecordGroup
    body: bytes


def _pieces(groups: Iterable[RecordGroup]) -> Iterator[list[_Frame]]:
    """Groups with their bodies, as many as may wait for the log at once."""
    piece: list[_Frame] = []
    size = 0
    for group in groups:
        frame = _Frame(group, group.body)
        if piece and size + len(frame.body) > _PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(frame)
        size += len(frame.body)
    if piece:
        yield piece
