"""Reading the stream: in order, each frame once, whatever happens to server, connection or consumer.

A reader asks an *ephemeral pull consumer without acknowledgements* for frames in portions that it bounds itself. The
server's consumer is worth nothing: at any doubt (a gap in its numbering, silence, a reconnection) it is left behind and
a new one is made behind the last frame that was received. So where a reader stands is known to the reader alone.

nats-py's ordered consumer is not used: after a restart of the server it repeats frames, and it drops what exceeds its
buffer.

*The tail.* Who follows the log takes frames from what the server republishes of it, as long as that is whole (see
`jetstream_tail`): it comes without waiting for the server's store. It is joined where it follows directly what is known
to be here, and the consumer is left; at a gap, a reconnection or a flood a consumer is made again, behind what was
received. Both ways bring the same frames under the same positions and subjects, and the same checks apply.

*Reached.* A reader of some subjects must also know that none of its frames stands before a position. The pending count
of a living consumer does not tell: the server counts a new message in some moments after it acknowledged it. A consumer
that is made anew counts what is stored at that moment. So the proof is a fresh count: asked after the position was
acknowledged, of frames behind the last one received; when so many more have come, the position is reached.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from headwater.errors import HeadwaterError, InvalidInput, LogCorrupt, LogTailLost, Unavailable
from headwater.events.bell import Bell
from headwater.events.jetstream_api import JetStreamApi
from headwater.events.jetstream_consumer import Consumer
from headwater.events.jetstream_stream import Place, StreamState, stream_state
from headwater.events.jetstream_tail import Stored, Tail
from headwater.events.log import READ_BATCH_BYTES
from headwater.events.subjects import Subject

logger = logging.getLogger(__name__)

MISFILED = b"HWF misfiled"
"""Given to the fold in place of a frame that stands under another subject than its header says: readers of some
subjects and readers of all would otherwise count it differently. Shorter than a header: every reader passes over it."""

_INACTIVE = 30.0
_INACTIVE_COUNT = 1.0
_LOOK = 0.25
_LATE = 0.05
"""Seconds after which a position that was acknowledged is asked for, if the tail did not bring it."""
_AGAIN = 0.1
_JOINED = "the tail is followed"


class ReadBatch(NamedTuple):
    """Frames in order with their positions, and how far is known: no wanted frame that is not in this batch or an
    earlier one stands at or before `reached`. Without frames it is only that."""

    positions: list[int]
    frames: list[bytes]
    reached: int


class LogReader:
    """Frames of one stream from a position on: an asynchronous iterator of `ReadBatch`. For one task at a time."""

    def __init__(
        self,
        api: JetStreamApi,
        place: Place,
        start: int,
        subjects: Collection[Subject] | None,
        *,
        log_id: str,
        stop: int | None = None,
        batch_bytes: int = READ_BATCH_BYTES,
        idle: float = 1.0,
        patience: float | None = None,
        tail: bool = True,
    ) -> None:
        """From `start` on, for ever, or up to `stop` (exclusive; it must have been written).

        `idle`: seconds after which a reader of some subjects looks how far the log has gone. `patience`: seconds
        without a server until `Unavailable` is raised; `None`: it waits. `tail`: whether one who reads for ever may
        take frames from the tail.
        """
        if subjects is not None and not subjects:
            raise InvalidInput("no subjects to read; allowed: one or more, or None for all", field="subjects", value=())
        self._api = api
        self._place = place
        self._filters = None if subjects is None else sorted({place.subject(subject) for subject in subjects})
        self._log_id = log_id
        self._stop = stop
        self._batch_bytes = batch_bytes
        self._idle = idle
        self._patience = patience
        self._consumer: Consumer | None = None
        self._buffer: deque[tuple[int, bytes]] = deque()
        self._buffered = 0
        self._received = 0
        self._position = max(start, 1) - 1
        # Of what was received; `_reached` is the like of what was given out.
        self._known = self._reached = self._position
        self._want = 0 if stop is None else stop - 1
        self._fault: HeadwaterError | None = None
        self._proofs: deque[tuple[int, int]] = deque()
        # Kind and partition, as bytes of the header, to the subject; at most one entry a subject and odd ones.
        self._names: dict[bytes, str] = {}
        self._bell = Bell()
        api.back.add(self._bell.ring)
        self._looked = 0.0
        self._gone_since: float | None = None
        self._closed = False
        self._tail = Tail(api, place, self._on_tail) if tail and stop is None else None
        self._republished = False
        self._joined = False
        self._late_at = 0.0
        self._missing, self._missing_at = 0, 0.0
        self.restarts = 0
        """How often a consumer, or the tail, was left behind for a new consumer."""

    def __aiter__(self) -> AsyncIterator[ReadBatch]:
        return self

    @property
    def reached(self) -> int:
        """No wanted frame at or before this position is still to come, beside those that were given out."""
        return self._reached

    @property
    def on_tail(self) -> bool:
        """Whether frames come from the tail at this moment, not from a consumer."""
        return self._joined

    @property
    def buffered(self) -> int:
        """Bytes of frames that were received and not given out."""
        return self._buffered

    def reach(self, position: int) -> None:
        """Say soon (with a `ReadBatch`) whether `position`, which was acknowledged to someone, is reached."""
        if position > self._want:
            self._want = position
            self._late_at = asyncio.get_running_loop().time() + _LATE
            self._bell.ring()

    async def __anext__(self) -> ReadBatch:
        """The next batch; waits for one. May be cancelled: nothing is lost by it.

        Raises `LogCorrupt` (a gap, or trimmed), `LogTailLost`, `Unavailable`, `StoreError`, `StoreClosed`.
        """
        told = self._reached
        while not self._closed:
            if self._due():
                return await self._cut()
            if not self._buffer:
                self._reached = self._known
                if self._stop is not None and self._known >= self._stop - 1:
                    break
                if self._reached > told:
                    return ReadBatch([], [], self._reached)
            if self._fault is not None:
                await self._leave()
                raise self._fault
            try:
                await self._go_on()
                self._gone_since = None
            except Unavailable as err:
                await self._bear(err)
            except HeadwaterError:
                await self._leave()
                raise
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leave the consumer; the iterator ends."""
        self._closed = True
        self._bell.ring()
        self._api.back.discard(self._bell.ring)
        await self._leave()
        if self._tail is not None:
            await self._tail.leave()

    # --- what was received ---

    def _due(self) -> bool:
        """Whether to give out a batch: one who reads up to a position gets full ones, one who follows at once."""
        if not self._buffer:
            return False
        return self._stop is None or self._buffered >= self._batch_bytes or self._known >= self._stop - 1

    async def _cut(self) -> ReadBatch:
        if self._stop is None or self._known < self._stop - 1:
            await self._ask_ahead()
        # From here on nothing waits: a caller that gives up waiting leaves no batch half given out.
        positions: list[int] = []
        frames: list[bytes] = []
        size = 0
        while self._buffer and (not frames or size < self._batch_bytes):
            position, frame = self._buffer.popleft()
            self._buffered -= len(frame)
            positions.append(position)
            frames.append(frame)
            size += len(frame)
        self._reached = positions[-1] if self._buffer else self._known
        return ReadBatch(positions, frames, self._reached)

    async def _ask_ahead(self) -> None:
        """Have the next portion on its way while the last batch of this one is folded."""
        consumer = self._consumer
        if consumer is None or consumer.lost or consumer.wanted:
            return
        if self._buffered <= 2 * self._batch_bytes:
            try:
                await consumer.ask(self._batch_bytes)
            except Unavailable:
                consumer.lost = "the connection was lost"

    def _learn(self) -> None:
        """Frames come in order, so all before the last one are here; and with as many as were counted, all of those."""
        self._known = max(self._known, self._position)
        while self._proofs and self._proofs[0][0] <= self._received:
            self._known = max(self._known, self._proofs.popleft()[1])
        if self._tail is not None and not self._joined:
            self._on_tail()

    # --- the tail ---

    def _on_tail(self) -> None:
        """Take what follows from the tail; called when something came, from there or from the consumer."""
        assert self._tail is not None
        if self._closed:
            return
        why = "frames come more quickly than they are taken" if self._buffered > 2 * self._batch_bytes else ""
        if not why and (frames := self._tail.after(self._known)):
            self._follow_on(frames)
        elif self._joined and (why := why or self._broken()):
            self._part(why)

    def _broken(self) -> str:
        """Why the tail cannot be followed any more; empty: it can."""
        assert self._tail is not None
        if not self._tail.trouble and self._tail.skips(self._known):
            return f"position {self._known + 1} did not come"
        return self._tail.trouble

    def _part(self, why: str) -> None:
        """Leave the tail for a consumer."""
        self._joined = False
        self.restarts += 1
        logger.info("%s: the tail is left at position %d: %s", self._place.stream, self._known, why)
        self._bell.ring()

    def _follow_on(self, frames: list[Stored]) -> None:
        if not self._joined:
            self._joined = True
            self._proofs.clear()
            self._missing = 0
            if self._consumer is not None:
                self._consumer.lost = self._consumer.lost or _JOINED
        for position, subject, frame in frames:
            if self._filters is None or subject in self._filters:
                self._keep(position, subject, frame)
        # That others' frames went by is told with the next own one, or by the next look, unless somebody asked.
        asked = self._want > self._known
        self._known = self._position = frames[-1].position
        if self._buffer or asked:
            self._bell.ring()

    async def _on_the_tail(self, now: float) -> bool:
        """One step where the tail is followed; whether it is."""
        tail = self._tail
        if tail is None or not self._republished:
            return False
        if self._joined:
            await self._leave()
            if why := self._broken() or await self._missed(now):
                self._part(why)
        await tail.listen(self._joined)
        if self._joined and not self._closed and not self._due() and self._reached >= self._known:
            waits = self._missing > self._known or self._want > self._known
            await self._bell.heard(_LATE if waits else _LOOK)
        return self._joined

    async def _missed(self, now: float) -> str:
        """Ask the log how far it goes where the tail is silent, or a position is late; what is missing for good."""
        if self._missing > self._known:
            return f"position {self._missing} did not come" if now >= self._missing_at else ""
        assert self._tail is not None
        late = self._want > self._known and now >= self._late_at
        if late or now - max(self._tail.heard, self._looked) >= self._idle:
            self._looked, self._late_at = now, now + self._idle
            state = await self._state()
            # What is stored may be on its way.
            self._missing, self._missing_at = state.last, now + _LATE
        return ""

    # --- the consumer ---

    async def _go_on(self) -> None:
        """One step: have a consumer, have asked it, know what is wanted, and wait for something to happen."""
        now = asyncio.get_running_loop().time()
        if await self._on_the_tail(now):
            return
        consumer = self._consumer
        if consumer is not None:
            consumer.look(now, _LOOK)
        if consumer is not None and consumer.lost == _JOINED:  # and the tail was left again meanwhile
            await self._leave()
            consumer = None
        if consumer is not None and consumer.lost:
            logger.info("%s: a consumer is left at position %d: %s", self._place.stream, self._position, consumer.lost)
            self.restarts += 1
            await self._leave()
            consumer = None
        if consumer is None:
            consumer = await self._renew()
        if not consumer.wanted and not consumer.lost:
            await consumer.ask(self._batch_bytes)
        known, want = self._known, self._want
        await self._look(now)
        # Nobody hears the bell meanwhile.
        if self._closed or self._due() or self._known > known or self._want > want or consumer.lost or self._fault:
            return
        await self._bell.heard(_LOOK)

    async def _renew(self) -> Consumer:
        """Make a consumer behind the last frame received, after a look at the log."""
        if not self._api.connected:
            await self._api.client()
        state = await self._state()
        self._republished = state.republished
        if self._tail is not None and state.republished:
            await self._tail.listen(False)  # before the consumer is made: what comes from here on is heard
        consumer = Consumer(self._api, self._place.stream)
        await consumer.listen(functools.partial(self._take, consumer))
        self._consumer = consumer
        self._looked = asyncio.get_running_loop().time()
        want = max(self._want, state.last if self._stop is None else 0)
        received = self._received
        stored = await consumer.make(self._position + 1, self._filters, _INACTIVE)
        self._proofs.append((received + stored, want))
        self._learn()
        return consumer

    async def _state(self) -> StreamState:
        """What the log says of itself, after a check that it still holds what was read."""
        read = self._position  # the tail may bring frames that are younger than the answer
        state = await stream_state(self._api, self._place)
        if state.log_id != self._log_id:
            raise LogTailLost(
                f"nats {self._api.url}: {self._place.stream} is another log than before: it was deleted and made anew; "
                "restore it from a backup",
                last=state.last,
                expected=self._position,
            )
        if state.last < read:
            raise LogTailLost(
                f"nats {self._api.url}: {self._place.stream} ends at position {state.last}, but frames up to {read} "
                "were read: the log lost its tail; restore it from a backup",
                last=state.last,
                expected=read,
            )
        if state.first > self._position + 1 and (self._filters is None or self._stop is None):
            raise LogCorrupt(
                f"nats {self._api.url}: {self._place.stream} begins at position {state.first}, {self._position + 1} is "
                "needed (log begins after the position asked for)",
                position=self._position + 1,
                reason="gap",
            )
        return state

    async def _look(self, now: float) -> None:
        """Count anew what is stored, when someone wants to know, or after a while without frames."""
        if self._filters is None or self._buffer:
            return
        want = self._want
        if want <= self._reached:
            if self._stop is not None or now - self._looked < self._idle:
                return
            self._looked = now
            want = (await stream_state(self._api, self._place)).last
            if want <= self._reached:
                return
        if self._proofs and self._proofs[-1][1] >= want and now - self._looked < self._idle:
            return  # counted already; the frames are on their way
        self._looked = now
        counting, received = Consumer(self._api, self._place.stream), self._received
        stored = await counting.make(self._position + 1, self._filters, _INACTIVE_COUNT)
        self._proofs.append((received + stored, want))
        self._learn()
        await counting.forget()

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.leave()

    async def _bear(self, err: Unavailable) -> None:
        """Wait for the server, as long as patience lasts."""
        now = asyncio.get_running_loop().time()
        if self._gone_since is None:
            self._gone_since = now
            logger.warning("%s: reading waits at position %d: %s", self._place.stream, self._position, err)
        if self._patience is not None and now - self._gone_since >= self._patience:
            await self._leave()
            raise err
        if self._consumer is not None:
            self._consumer.lost = self._consumer.lost or "the server did not answer"
        await asyncio.sleep(_AGAIN)

    def _take(self, consumer: Consumer, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        """One message of a consumer's inbox: a frame, or a word about the portion."""
        if consumer.lost:
            return
        consumer.came()
        if not reply.startswith("$JS.ACK."):
            if consumer.hear(headers or b""):
                self._bell.ring()
            return
        tokens = reply.split(".")
        at = 5 if len(tokens) == 9 else 7  # with domain and account in front
        position, number = int(tokens[at]), int(tokens[at + 1])
        if number != consumer.received + 1 or position <= self._position:
            consumer.lost = f"its frame {number} came after {consumer.received}"
        elif self._filters is None and position != self._position + 1:
            # Its numbers are contiguous, so the server has nothing in between.
            self._fault = LogCorrupt(
                f"nats {self._api.url}: {self._place.stream}: frame {position} where {self._position + 1} should be "
                "(frames are missing)",
                position=self._position + 1,
                reason="gap",
            )
            consumer.lost = "frames are missing"
        else:
            consumer.count()
            if self._stop is None or position < self._stop:
                self._keep(position, subject, data)
            self._received += 1
            self._position = position
            self._learn()
        self._bell.ring()

    def _keep(self, position: int, subject: str, frame: bytes) -> None:
        if len(frame) >= 8:
            which = frame[4:8]
            name = self._names.get(which)
            if name is None:
                name = self._names[which] = self._place.subject_of(frame)
            if subject != name:
                frame = MISFILED
        self._buffer.append((position, frame))
        self._buffered += len(frame)
