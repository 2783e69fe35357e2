"""A log written anew: events left out, what merges carry sealed anew, frames without events gone.

What a merge carries was sealed by one fold of one log; in another generation, or behind events that are no longer
there, it is another state. So the new log's own state is asked for it, in the place where the old log has it.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from headwater.core import Core, frame_fault, moving_state
from headwater.events.frame import HEADER_LEN, FrameHeader, decode_header, encode_frame
from headwater.events.log import EventLog, LogBatch
from headwater.events.subjects import Subject
from headwater.events.types import (
    Event,
    Feedback,
    Impression,
    MergeCarried,
    MergeSettled,
    SlateServed,
    UserForget,
    UserMerge,
    UserPut,
)

Append = Callable[[Sequence[bytes]], int]
"""Makes frames part of the new log; the position of the first."""


class _Head(msgspec.Struct, array_like=True):
    """The beginning of an event."""

    tag: int


_heads = msgspec.msgpack.Decoder(list[_Head])
_bodies = msgspec.msgpack.Decoder(list[msgspec.Raw])
_event = msgspec.msgpack.Decoder(Event)
_encoder = msgspec.msgpack.Encoder()
_CHANGING = frozenset(
    tag for kind in (MergeCarried, MergeSettled, SlateServed) if isinstance(tag := kind.__struct_config__.tag, int)
)
_CARRIED_KEPT = 1024
"""States that are kept for a repeat of the event that carries them."""
_CLOSE = 64
"""So few frames behind a log, its writers are made to wait for the rest."""
_ROUNDS = 50
"""After which they are made to wait however much is missing: they write faster than it is copied."""


def people_of(event: Event) -> tuple[str, ...]:
    """The users whose event this is."""
    if isinstance(event, Feedback | Impression | UserPut | UserForget | SlateServed):
        return (event.user,)
    if isinstance(event, UserMerge | MergeCarried):
        return (event.from_user, event.into_user)
    if isinstance(event, MergeSettled):
        return (event.from_user,)
    return ()


def needles(users: Iterable[str]) -> list[bytes]:
    """The bytes of which one stands in every frame that names one of these users."""
    return [msgspec.msgpack.encode(user) for user in users]


def merged_ids(log: EventLog, account: str, known: Iterable[str] = ()) -> set[str]:
    """An account's id and all that were ever merged into it, whether the state still knows or not. O(log x depth)."""
    ids, new = {account, *known}, {account, *known}
    while new:
        sought = needles(new)
        found: set[str] = set()
        for batch in log.read(max(log.first(), 1)):
            for frame in batch.frames:
                if any(needle in frame for needle in sought) and frame_fault(frame) is None:
                    for event in _decoded(frame):
                        if isinstance(event, UserMerge) and event.into_user in ids:
                            found.add(event.from_user)
        new = found - ids
        ids |= new
    return ids


def _decoded(frame: bytes) -> Iterable[Event]:
    for body in _bodies.decode(frame[HEADER_LEN:]):
        try:
            yield _event.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


class Removed(NamedTuple):
    """What a rewriting left out: events, frames that held nothing else, damaged frames with a name in them."""

    events: int
    frames: int
    damaged: int


class Sealer:
    """Seals anew what merges carry, in a state that has folded everything before."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._carried: OrderedDict[tuple[str, int], tuple[int, bytes]] = OrderedDict()

    def anew(self, event: Event) -> Event:
        """An event as it stands in the new log."""
        if isinstance(event, MergeCarried):
            sealed, state = self._sealed(event)
            return msgspec.structs.replace(event, sealed=sealed, state=state)
        if isinstance(event, MergeSettled):
            sealed, _ = self._carried.get((event.from_user, event.sealed), (event.sealed, b""))
            return msgspec.structs.replace(event, sealed=sealed)
        return event

    def _sealed(self, event: MergeCarried) -> tuple[int, bytes]:
        """What the state sealed in the place of what the event carries; the same again for a repeat."""
        key = (event.from_user, event.sealed)
        if key not in self._carried:
            moving = moving_state(self._core, event.from_user)
            # Without anything sealed the event was refused, and will be.
            self._carried[key] = (event.sealed, event.state) if moving is None else moving[1:]
            if len(self._carried) > _CARRIED_KEPT:
                self._carried.popitem(last=False)
        return self._carried[key]


class Rewriter:
    """Copies a log's frames in order into a new log, folding them into the new log's state."""

    def __init__(self, core: Core, append: Append, erased: Iterable[str] = (), renumbered: int | None = None) -> None:
        """`erased`: users whose events are left out. Frames of the producer `renumbered` are numbered without the gaps
        that left-out frames would leave; others keep their numbers, by which an import knows what the log has."""
        self.core = core
        self._append = append
        self._erased = frozenset(erased)
        self._needles = needles(self._erased)
        self._renumbered = renumbered
        self._gone: list[int] = []
        """Positions of frames that are gone, rising."""
        self._new_position = self.positions()
        self._gone_numbers: dict[tuple[Subject, int], list[int]] = {}
        self._sealer = Sealer(core)
        self._waiting: list[bytes] = []
        self._events = self._damaged = 0
        self._done = 0
        """Up to where a log was taken by `follow` and `catch_up`."""

    @property
    def removed(self) -> Removed:
        """What was left out so far."""
        return Removed(self._events, len(self._gone), self._damaged)

    def add(self, batch: LogBatch) -> None:
        """Take the next frames; they are in the new log and its state when this returns."""
        for position, frame in zip(batch.positions, batch.frames, strict=True):
            new = self._frame(frame)
            if new is None:
                self._gone.append(position)
            else:
                self._waiting.append(new)
        self._flush()

    def follow(self, log: EventLog) -> int:
        """Take what a log holds that others go on writing, until so little is missing that they may be made to wait
        for the rest (`catch_up`). How far that is."""
        for _ in range(_ROUNDS):
            self.catch_up(log)
            if log.last() - self._done <= _CLOSE:
                break
        return self._done

    def catch_up(self, log: EventLog) -> int:
        """Take what the log holds beyond what was taken of it. Its last position."""
        last = log.last()
        for batch in log.read(self._done + 1, stop=last + 1):
            self.add(batch)
        self._done = last
        return last

    def positions(self) -> Callable[[int], int]:
        """A function that says where the last frame at or before a position of the old log stands in the new one."""
        gone = self._gone
        return lambda position: position - bisect.bisect_right(gone, position)

    def _flush(self) -> None:
        if self._waiting:
            self.core.apply(self._append(self._waiting), self._waiting)
            self._waiting = []

    def _frame(self, frame: bytes) -> bytes | None:
        """The frame as it stands in the new log; `None` for one that does not."""
        named = any(needle in frame for needle in self._needles)
        if frame_fault(frame) is not None:
            self._damaged += named  # nobody can say whose events it held
            return None if named else frame
        header = decode_header(frame)
        kept = self._events_of(frame, named)
        if kept is None and not self._gone_numbers:
            return frame
        if kept is not None and not kept:
            self._forget_number(header)
            return None
        number, count, body = self._number(header), header.events, frame[HEADER_LEN:]
        if kept is not None:
            count, body = len(kept), _encoder.encode([msgspec.Raw(raw) for raw in kept])
        elif number == header.sequence:
            return frame
        return encode_frame(header.subject, header.producer, header.epoch, number, header.appended, count, body)

    def _events_of(self, frame: bytes, named: bool) -> list[bytes] | None:
        """The events that stay, as they stand in the new log; `None` if all stay as they are."""
        if not named and _all_stay(frame):
            return None
        bodies = _bodies.decode(frame[HEADER_LEN:])
        kept = [new for raw in bodies if (new := self._event(bytes(raw))) is not None]
        self._events += len(bodies) - len(kept)
        return kept

    def _event(self, raw: bytes) -> bytes | None:
        try:
            event = _event.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None if any(needle in raw for needle in self._needles) else raw
        if self._erased.intersection(people_of(event)):
            return None
        if isinstance(event, SlateServed):
            positions = [self._new_position(position) for position in event.positions]
            moved = msgspec.structs.replace(event, positions=positions)
            return raw if positions == event.positions else _encoder.encode(moved)
        if isinstance(event, MergeCarried):
            self._flush()
        new = self._sealer.anew(event)
        return raw if new is event else _encoder.encode(new)

    def _forget_number(self, header: FrameHeader) -> None:
        if header.producer == self._renumbered:
            numbers = self._gone_numbers.setdefault((header.subject, header.epoch), [])
            if header.sequence not in numbers:
                bisect.insort(numbers, header.sequence)

    def _number(self, header: FrameHeader) -> int:
        numbers = self._gone_numbers.get((header.subject, header.epoch))
        if header.producer != self._renumbered or not numbers:
            return header.sequence
        return header.sequence - bisect.bisect_right(numbers, header.sequence)


def _all_stay(frame: bytes) -> bool:
    """Whether no event of the frame is of a kind that stands otherwise in another log."""
    try:
        heads = _heads.decode(frame[HEADER_LEN:])
    except (msgspec.DecodeError, UnicodeDecodeError):  # an event that begins in another way: looked at one by one
        return False
    return _CHANGING.isdisjoint([head.tag for head in heads])
