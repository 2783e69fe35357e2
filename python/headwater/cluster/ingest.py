"""Events into the log: validated, framed, numbered, appended in groups, acknowledged when the log has them.

One append is under way at a time; what arrives meanwhile goes out together with the next (group commit). Frames are
numbered by this host under an epoch of its own, so an append whose acknowledgement was lost is sent again until the
log says that it has it: the fold knows the number and counts it once. A caller who does not wait that long is told
that the outcome is not known.

Frames that clients made (bulk, pipelined) are checked whole and appended as they are, under the client's own numbers.
"""

from __future__ import annotations

import asyncio
import itertools
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
from headwater.events.frame import MAX_FRAME, FrameWriter, decode_frame, decode_header, encode_event
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
_FRAME_SECONDS, _MOST_SECONDS = 0.004, 0.02
"""From one append to the next while events come quickly: so long for each of its frames, and at most. Frames are few
where each holds the events of some time, and frames are what the log, its readers and the folds pay for."""
_PACED_BYTES = 65_536
"""More than this is appended at once."""


Clock = Callable[[], int]
"""UTC milliseconds."""


class _Ticket(NamedTuple):
    """Events of one subject, or frames as they are, whose caller waits for a position."""

    subject: Subject | None
    events: list[Event]
    frames: list[bytes]
    size: int
    done: asyncio.Future[int]
    whole: bool = False
    """Whether all its frames are kept or none."""
    positions: list[int] | None = None
    """Takes the position of each frame."""


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
        self._began = 0.0
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

    def encoded_record(self, record: SlateServed, now: int) -> bytes:
        """A record of a slate as `submit_records` takes it. Raises `InvalidEvent`."""
        self._check(record, now, None)
        return encode_event(record)

    def submit_records(self, subject: Subject, count: int, body: bytes, now: int) -> asyncio.Future[int]:
        """Queue so many records of slates of one subject, as the body of a frame; its position later. Raises
        `InvalidInput` for more than a frame holds, `Overloaded`, `Unavailable`; the future raises `StoreFull` too."""
        self._admit(count, len(body))
        frame = self._apart.body(subject, count, body, now)
        self._metrics.wrote(count)
        return self._enqueue(None, [], [frame], len(frame))

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
        position = await self._enqueue(None, [], frames, size, whole=True)
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

    async def append(self, frames: list[bytes], partitions: Sequence[int]) -> list[int]:
        """Append a client's frames of user partitions that this host owns, or of the catalogue; their positions. Raises
        `InvalidEvent` naming the first fault; then none of them was appended."""
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
        positions: list[int] = []
        await self._enqueue(None, [], frames, size, positions=positions)
        self._metrics.wrote(count)
        return positions

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
        self,
        subject: Subject | None,
        events: list[Event],
        frames: list[bytes],
        size: int,
        *,
        whole: bool = False,
        positions: list[int] | None = None,
    ) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Ticket(subject, events, frames, size, done, whole, positions))
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
                began = asyncio.get_running_loop().time()
                await self._pause(began, await self._append_group(group, clock()))
            if self._closing:
                return

    async def _pause(self, began: float, frames: int) -> None:
        """Let more events come, if they come quickly; `began`: when the last append did, of so many frames."""
        quickly, self._began = began - self._began < 2 * _MOST_SECONDS, began
        pace = min(frames * _FRAME_SECONDS, _MOST_SECONDS)
        wait = began + pace - asyncio.get_running_loop().time()
        if quickly and wait > 0 and self.queued_bytes < _PACED_BYTES and not self._closing:
            await asyncio.sleep(wait)

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

    async def _append_group(self, group: list[_Ticket], now: int) -> int:
        """How many frames that took."""
        frames, spans = self._frames(group, now)
        size = sum(ticket.size for ticket in group)
        whole = any(ticket.whole for ticket in group)
        try:
            kept = await self._until_kept(frames, whole) if frames else []
        except (StoreError, AccessDenied) as err:
            kept = [err] * len(frames)
        finally:
            self.queued_bytes -= size
        self._note(kept)
        self._metrics.wrote(sum(len(ticket.events) for ticket in group))
        for ticket, span in zip(group, spans, strict=True):
            outcomes = kept[span.start : span.stop]
            refused = next((outcome for outcome in outcomes if not isinstance(outcome, int)), None)
            if refused is not None:
                _fail(ticket, refused)
            elif outcomes and isinstance(outcomes[-1], int) and not ticket.done.done():
                if ticket.positions is not None:
                    ticket.positions.extend(outcome for outcome in outcomes if isinstance(outcome, int))
                ticket.done.set_result(outcomes[-1])
        return len(frames)

    def _note(self, kept: list[int | HeadwaterError]) -> None:
        refusals = [outcome for outcome in kept if not isinstance(outcome, int)]
        self.error = refusals[0].message if refusals else None
        if refusals:
            logger.warning("%d of %d frames were refused: %s", len(refusals), len(kept), refusals[0].message)

    def _frames(self, group: list[_Ticket], now: int) -> tuple[list[bytes], list[range]]:
        """Frames of a group, and per ticket the places of those that it is in. Events of one subject share frames."""
        frames: list[bytes] = []
        spans = [range(0)] * len(group)
        by_subject: dict[Subject, list[int]] = {}
        for at, ticket in enumerate(group):
            if ticket.subject is None:
                spans[at] = range(len(frames), len(frames) + len(ticket.frames))
                frames += ticket.frames
            else:
                by_subject.setdefault(ticket.subject, []).append(at)
        for subject, tickets in by_subject.items():
            begin = len(frames)
            try:  # all of them or none: what is refused is packed again, each ticket alone
                frames += list(self._writer.pack(subject, [e for at in tickets for e in group[at].events], now))
            except InvalidInput:  # one event that no frame can hold costs no other its place
                for at in tickets:
                    begin = len(frames)
                    frames += self._alone(group[at], now)
                    spans[at] = range(begin, len(frames))
            else:
                for at in tickets:
                    spans[at] = range(begin, len(frames))
        return frames, spans

    def _alone(self, ticket: _Ticket, now: int) -> list[bytes]:
        assert ticket.subject is not None
        try:
            return list(self._writer.pack(ticket.subject, ticket.events, now))
        except InvalidInput as err:
            _fail(ticket, err)
            return []

    async def _until_kept(self, frames: list[bytes], whole: bool) -> list[int | HeadwaterError]:
        """Append, again and again while the log does not answer; for each frame its position, or what asking again
        would not mend (`StoreFull` among it). `whole`: all are kept or none."""
        kept: list[int | HeadwaterError] = []
        for attempt in itertools.count():
            kept, again = await self._attempt(frames, whole, kept)
            if again is None:
                return kept
            if self.error is None:
                logger.warning("the log does not acknowledge: %s", again.message)
            self.error = again.message
            await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
        raise AssertionError  # counting does not end

    async def _attempt(
        self, frames: list[bytes], whole: bool, kept: list[int | HeadwaterError]
    ) -> tuple[list[int | HeadwaterError], Unavailable | None]:
        """One attempt for what is not settled yet, and why another one is needed."""
        if whole:
            try:
                first = await self._log.append(frames)
            except Unavailable as err:
                return kept, err
            return list(range(first, first + len(frames))), None
        open_places = [at for at, outcome in enumerate(kept) if isinstance(outcome, Unavailable)] or range(len(frames))
        outcomes = await self._log.append_each([frames[at] for at in open_places])
        kept = kept or list(outcomes)
        for at, outcome in zip(open_places, outcomes, strict=True):
            kept[at] = outcome
        return kept, next((outcome for outcome in outcomes if isinstance(outcome, Unavailable)), None)

    def close(self) -> None:
        """Take no more events; `run` returns once what is queued is in the log."""
        self._closing = True
        self._arrived.set()


def _fail(ticket: _Ticket, err: HeadwaterError) -> None:
    if not ticket.done.done():  # whoever waited may have given up
        ticket.done.set_exception(err)
