"""Events of a client on their way: packed into numbered frames, sent in lanes, acknowledged by position.

A lane carries the events of some user partitions. It has one request per owner under way; what is tracked meanwhile
leaves with the next (so one event goes out at once, and a thousand concurrent ones share a few frames). Within a lane
frames keep their order, also when they are sent again: a frame's number makes the repeat harmless, but only if no later
one was let past. `FrameWriter` numbers under a producer that this client drew at its start.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from headwater.errors import AccessDenied, HeadwaterError, InvalidInput, NotReady, StoreFull, Unavailable
from headwater.events.frame import FrameWriter, decode_header
from headwater.events.subjects import PARTITION, Subject
from headwater.events.types import Event

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 900_000
MAX_MESSAGE_FRAMES = 64
_EVENTS_PER_FRAME = 1024
_EVENTS_PER_ROUND = 8192

Send = Callable[[str, bytes], Awaitable[bytes]]
"""Sends encoded frames to a host by name and gives its answer."""

OwnerOf = Callable[[int | None], str]
"""The host that takes frames of a partition; None: of the catalogue."""

_positions = msgspec.msgpack.Decoder(dict[str, list[int]])
_encoder = msgspec.msgpack.Encoder()


class _Waiting(NamedTuple):
    event: Event
    subject: Subject
    done: asyncio.Future[int]


class _Packed(NamedTuple):
    """One frame and who waits for its position."""

    frame: bytes
    partition: int | None
    waiting: list[asyncio.Future[int]]


def packed(frame: bytes, done: asyncio.Future[int]) -> _Packed:
    """A frame that was made elsewhere."""
    subject = decode_header(frame).subject
    return _Packed(frame, subject.partition if subject.kind == PARTITION else None, [done])


class Lane:
    """One ordered way to the owners of some partitions."""

    def __init__(
        self,
        send: Send,
        owner_of: OwnerOf,
        refresh: Callable[[], Awaitable[None]],
        clock: Callable[[], int],
        patience: float,
        room: asyncio.Semaphore,
    ) -> None:
        """`patience`: seconds for which frames are sent again before their callers are told `Unavailable`."""
        self._send = send
        self._owner_of = owner_of
        self._refresh = refresh
        self._clock = clock
        self._patience = patience
        self._room = room
        self._writer = FrameWriter(f"client:{secrets.token_hex(8)}", 1)
        self._events: deque[_Waiting] = deque()
        self._frames: deque[_Packed] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, subject: Subject, event: Event) -> asyncio.Future[int]:
        """Queue an event; its position later."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._events.append(_Waiting(event, subject, done))
        self._wake()
        return done

    def add_frame(self, frame: bytes) -> asyncio.Future[int]:
        """Queue a frame as it is; its position later."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._frames.append(packed(frame, done))
        self._wake()
        return done

    def _wake(self) -> None:
        self._idle.clear()
        self._arrived.set()

    async def idle(self) -> None:
        """Wait until nothing is queued or under way."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while frames := self._next():
                try:
                    await self._deliver(frames)
                except Exception as err:
                    # A defect of this program, or an answer that is none: nobody may wait for ever because of it.
                    logger.exception("the lane broke off")
                    for entry in frames:
                        self._fail(entry.waiting, HeadwaterError(f"the events may or may not be kept: {err!r}"))
            self._idle.set()

    def _next(self) -> list[_Packed]:
        """Frames for the next messages: those that stand ready, else of the events that wait."""
        if not self._frames:
            self._pack()
        frames: list[_Packed] = []
        size = 0
        while self._frames and len(frames) < MAX_MESSAGE_FRAMES:
            size += len(self._frames[0].frame)
            if frames and size > MAX_MESSAGE_BYTES:
                break
            frames.append(self._frames.popleft())
        return frames

    def _pack(self) -> None:
        groups: dict[Subject, list[_Waiting]] = {}
        for _ in range(min(len(self._events), _EVENTS_PER_ROUND)):
            entry = self._events.popleft()
            groups.setdefault(entry.subject, []).append(entry)
        now = self._clock()
        for subject, group in groups.items():
            for start in range(0, len(group), _EVENTS_PER_FRAME):
                self._pack_group(subject, group[start : start + _EVENTS_PER_FRAME], now)

    def _pack_group(self, subject: Subject, group: list[_Waiting], now: int) -> None:
        partition = subject.partition if subject.kind == PARTITION else None
        try:
            frames = list(self._writer.pack(subject, [entry.event for entry in group], now))
        except InvalidInput as err:
            if len(group) == 1:
                self._fail([group[0].done], err)
                return
            for entry in group:
                self._pack_group(subject, [entry], now)
            return
        at = 0
        for frame in frames:
            count = decode_header(frame).events if len(frames) > 1 else len(group)
            self._frames.append(_Packed(frame, partition, [entry.done for entry in group[at : at + count]]))
            at += count

    async def _deliver(self, frames: list[_Packed]) -> None:
        """Send until all are acknowledged, refused, or patience is at its end."""
        until = time.monotonic() + self._patience
        while frames:
            by_host: dict[str, list[_Packed]] = {}
            for entry in frames:
                by_host.setdefault(self._owner_of(entry.partition), []).append(entry)
            outcomes = await asyncio.gather(*(self._attempt(host, group) for host, group in by_host.items()))
            frames, errors = [], []
            for group, err in zip(by_host.values(), outcomes, strict=True):
                if err is not None:
                    frames += group
                    errors.append(err)
            if frames:
                await self._again(frames, errors[0], until)
                frames = [entry for entry in frames if not all(done.done() for done in entry.waiting)]

    async def _again(self, frames: Sequence[_Packed], err: HeadwaterError, until: float) -> None:
        """Wait before the next attempt, or give up."""
        wait = float(err.details.get("retry_after_ms") or 100) / 1000
        if time.monotonic() + wait >= until:
            if not isinstance(err, Unavailable):
                err = Unavailable(err.message, retry_after_ms=1000)
            err.details.setdefault("kept", "unknown")
            for entry in frames:
                self._fail(entry.waiting, err)
            return
        await asyncio.sleep(wait)
        try:
            await self._refresh()
        except HeadwaterError as again:
            logger.debug("the topology is not known anew: %s", again.message)

    async def _attempt(self, host: str, group: list[_Packed]) -> HeadwaterError | None:
        """Send one message; None when its frames are settled, else why it must be sent again."""
        try:
            answer = await self._send(host, _encoder.encode([entry.frame for entry in group]))
        except (Unavailable, NotReady, StoreFull) as err:
            if isinstance(err, StoreFull | AccessDenied):
                for entry in group:
                    self._fail(entry.waiting, err)
                return None
            return err
        except HeadwaterError as err:
            for entry in group:
                self._fail(entry.waiting, err)
            return None
        for position, entry in zip(_positions.decode(answer)["positions"], group, strict=True):
            for done in entry.waiting:
                self._room.release()
                if not done.done():
                    done.set_result(position)
        return None

    def _fail(self, waiting: Sequence[asyncio.Future[int]], err: HeadwaterError) -> None:
        for done in waiting:
            self._room.release()
            if not done.done():
                done.set_exception(err)
