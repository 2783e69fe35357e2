"""Events into the log: validated, framed, numbered, appended in groups, acknowledged when the log has them.

One append is under way at a time; what arrives meanwhile goes out together with the next (group commit). Frames are
numbered by this host under an epoch of its own, so an append whose acknowledgement was lost is sent again until the
log says that it has it: the fold knows the number and counts it once. A caller who does not wait that long is told
that the outcome is not known.

Frames that clients made (bulk, pipelined) are checked whole and appended as they are, under the client's own numbers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from headwater.actors.host_state import HostLog
from headwater.cluster.metrics import HostMetrics
from headwater.cluster.rate import TokenBucket
from headwater.cluster_limits import ClusterConfig
from headwater.core import frame_faults
from headwater.errors import (
    AccessDenied,
    HeadwaterError,
    InvalidEvent,
    InvalidInput,
    Overloaded,
    StoreError,
    Unavailable,
)
from headwater.events.embedding_rules import EmbeddingRules, carries_embeddings
from headwater.events.frame import MAX_FRAME, FrameWriter, decode_frame, decode_header
from headwater.events.jetstream_writer import MAX_APPEND
from headwater.events.subjects import CATALOGUE, PARTITION, Subject, subject_of
from headwater.events.types import Event, SlateServed
from headwater.events.validate import check_event, check_record

logger = logging.getLogger(__name__)

_GROUP_BYTES = 4 << 20
_EVENT_BYTES = 256
"""What an event is reckoned with before it is encoded."""
_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
_RETRY_OVERLOADED_MS = 100
_CHECKED_AT_ONCE = 16


Clock = Callable[[], int]
"""UTC milliseconds."""


class _Ticket(NamedTuple):
    """Events of one subject, or frames as they are, whose caller waits for a position."""

    subject: Subject | None
    events: list[Event]
    frames: list[bytes]
    size: int
    done: asyncio.Future[int]


class Ingest:
    """The one writer of a host."""

    def __init__(
        self,
        log: HostLog,
        producer: str,
        epoch: int,
        partitions: int,
        max_future_ms: int,
        limits: ClusterConfig,
        metrics: HostMetrics,
        embedding_dims: Callable[[], Mapping[str, int]],
    ) -> None:
        """`embedding_dims`: the dimension of each embedding name, as far as this host has read the catalogue."""
        self._embedding_dims = embedding_dims
        self._log = log
        self._writer = FrameWriter(producer, epoch)
        # Numbered when they are asked for, not when their turn comes: so they need numbers of their own.
        self._apart = FrameWriter(f"{producer}:apart", epoch)
        self._partitions = partitions
        self._max_future_ms = max_future_ms
        self._limits = limits
        self._metrics = metrics
        self._rate = TokenBucket(limits.events_per_second)
        self._queue: deque[_Ticket] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self.queued_bytes = 0
        self.error: str | None = None
        """Why the last append did not succeed; None once one did."""

    # --- for callers ---------------------------------------------------------------------------------------------

    def submit(self, event: Event, now: int) -> asyncio.Future[int]:
        """Validate and queue an event; its frame's position later. Who waits for it may settle it before the log does.
        Raises `InvalidEvent`, `Overloaded`, `Unavailable`; the future raises `StoreFull` too."""
        self._check(event, now, self._rules([event]))
        self._admit(1, _EVENT_BYTES)
        return self._enqueue(subject_of(event, self._partitions), [event], [], _EVENT_BYTES)

    async def write(self, events: Sequence[Event], now: int) -> int:
        """Validate and append events; the position of the last one's frame. Raises as `submit` and its future."""
        groups: dict[Subject, list[Event]] = {}
        rules = self._rules(events)
        for event in events:
            self._check(event, now, rules)
            groups.setdefault(subject_of(event, self._partitions), []).append(event)
        self._admit(len(events), _EVENT_BYTES * len(events))
        waiting = [self._enqueue(subject, group, [], _EVENT_BYTES * len(group)) for subject, group in groups.items()]
        return max(await asyncio.gather(*waiting))

    async def write_apart(self, events: Sequence[Event], now: int) -> int:
        """`write` with each event in a frame of its own, in this order, all or none; for what hosts write of their own
        accord, in whatever partition it belongs."""
        for event in events:
            check_event(event, now, self._max_future_ms)
        frames = [
            frame for event in events for frame in self._apart.pack(subject_of(event, self._partitions), [event], now)
        ]
        size = sum(map(len, frames))
        self._admit(len(events), size)
        position = await self._enqueue(None, [], frames, size)
        self._metrics.wrote(len(events))
        return position

    def _rules(self, events: Sequence[Event]) -> EmbeddingRules | None:
        return EmbeddingRules(self._embedding_dims()) if carries_embeddings(events) else None

    def _check(self, event: Event, now: int, rules: EmbeddingRules | None) -> None:
        try:
            if isinstance(event, SlateServed):
                check_record(event, now, self._max_future_ms)
            else:
                check_event(event, now, self._max_future_ms)
            if rules is not None:
                rules.check(event)
        except InvalidEvent as err:
            self._metrics.dead_letter(f"invalid:{err.details.get('field')}")
            raise

    async def append(self, frames: list[bytes], partitions: Sequence[int]) -> int:
        """Append a client's frames of user partitions that this host owns, or of the catalogue; the last position.
        Raises `InvalidEvent` naming the first fault; then none of them was appended."""
        count = 0
        rules = EmbeddingRules(self._embedding_dims())
        for at, frame in enumerate(frames):
            if at % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)  # some thousand events, about a millisecond: others may go first
            fault, faults = frame_faults(frame, self._max_future_ms)
            if fault is None:
                header = decode_header(frame)
                foreign = header.subject.kind == PARTITION and header.subject.partition not in partitions
                if foreign or header.subject.kind > PARTITION + 1:
                    fault = f"subject {header.subject.name} is not taken here"
                else:
                    fault = f"event {faults[0][0]}: {faults[0][1]}" if faults else None
                    if fault is None and header.subject.kind == CATALOGUE:
                        fault = rules.first_fault(decode_frame(frame)[1])
                    count += header.events
            if fault is not None:
                self._metrics.dead_letter("frame")
                rule = f"sound frames of owned partitions, at most {MAX_FRAME:,} bytes"
                raise InvalidEvent(f"frame {at}: {fault}; allowed: {rule}", field=f"frames[{at}]", rule=rule)
        size = sum(map(len, frames))
        self._admit(count, size)
        position = await self._enqueue(None, [], frames, size)
        self._metrics.wrote(count)
        return position

    def _admit(self, events: int, size: int) -> None:
        if self._closing:
            raise Unavailable("the host is leaving; ask again", retry_after_ms=250)
        if self.queued_bytes + size > self._limits.max_queued_bytes and self._queue:
            raise Overloaded(
                f"{self.queued_bytes:,} bytes wait for the log (cluster.max_queued_bytes); ask again",
                retry_after_ms=_RETRY_OVERLOADED_MS,
            )
        if not self._rate.take(events):
            raise Overloaded(
                f"the host takes {self._limits.events_per_second:,} events a second; ask again",
                retry_after_ms=self._rate.wait_ms(events),
            )

    def _enqueue(
        self, subject: Subject | None, events: list[Event], frames: list[bytes], size: int
    ) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Ticket(subject, events, frames, size, done))
        self.queued_bytes += size
        self._arrived.set()
        return done

    # --- the writer ----------------------------------------------------------------------------------------------

    async def run(self, clock: Clock) -> None:
        """Append what is queued until `close`. `clock` gives UTC ms."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while group := self._take():
                await self._append_group(group, clock())
            if self._closing:
                return

    def _take(self) -> list[_Ticket]:
        group: list[_Ticket] = []
        size = count = 0
        while self._queue and size < _GROUP_BYTES:
            ticket = self._queue[0]
            # Of events it is not known yet how many frames they need: at worst one each.
            count += len(ticket.events) + len(ticket.frames)
            if group and count > MAX_APPEND:
                break
            size += ticket.size
            group.append(self._queue.popleft())
        return group

    async def _append_group(self, group: list[_Ticket], now: int) -> None:
        frames, places = self._frames(group, now)
        size = sum(ticket.size for ticket in group)
        try:
            first = await self._until_kept(frames) if frames else 0
        except (StoreError, AccessDenied) as err:
            self._settle(group, err)
            return
        finally:
            self.queued_bytes -= size
        self._metrics.wrote(sum(len(ticket.events) for ticket in group))
        for ticket, place in zip(group, places, strict=True):
            if not ticket.done.done():
                ticket.done.set_result(first + place)

    def _frames(self, group: list[_Ticket], now: int) -> tuple[list[bytes], list[int]]:
        """Frames of a group, and per ticket the place of its last one. Events of one subject share frames."""
        frames: list[bytes] = []
        places = [0] * len(group)
        by_subject: dict[Subject, list[int]] = {}
        for at, ticket in enumerate(group):
            if ticket.subject is None:
                frames += ticket.frames
                places[at] = len(frames) - 1
            else:
                by_subject.setdefault(ticket.subject, []).append(at)
        for subject, tickets in by_subject.items():
            try:  # all of them or none: what is refused is packed again, each ticket alone
                packed = list(self._writer.pack(subject, [e for at in tickets for e in group[at].events], now))
            except InvalidInput:  # one event that no frame can hold costs no other its place
                for at in tickets:
                    frames += self._alone(group[at], now)
                    places[at] = len(frames) - 1
            else:
                frames += packed
                for at in tickets:
                    places[at] = len(frames) - 1
        return frames, places

    def _alone(self, ticket: _Ticket, now: int) -> list[bytes]:
        assert ticket.subject is not None
        try:
            return list(self._writer.pack(ticket.subject, ticket.events, now))
        except InvalidInput as err:
            _fail(ticket, err)
            return []

    async def _until_kept(self, frames: list[bytes]) -> int:
        """Append, again and again while the log does not answer. Raises what asking again would not mend
        (`StoreFull` among it)."""
        attempt = 0
        while True:
            try:
                first = await self._log.append(frames)
                self.error = None
                return first
            except (StoreError, AccessDenied):
                raise
            except Unavailable as err:
                if self.error is None:
                    logger.warning("the log does not acknowledge: %s", err.message)
                self.error = err.message
                await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                attempt += 1

    def _settle(self, group: list[_Ticket], err: HeadwaterError) -> None:
        self.error = err.message
        logger.warning("%d writes were refused: %s", len(group), err.message)
        for ticket in group:
            _fail(ticket, err)

    def close(self) -> None:
        """Take no more events; `run` returns once what is queued is in the log."""
        self._closing = True
        self._arrived.set()


def _fail(ticket: _Ticket, err: HeadwaterError) -> None:
    if not ticket.done.done():  # whoever waited may have given up
        ticket.done.set_exception(err)
