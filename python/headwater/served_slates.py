"""Slate records in a log: one by its id, or all of them in the order in which the slates were answered.

Records are written behind the answers, so they stand in the log later than the positions that they name, and not
always in their order. Who folds a log once to make all slates again needs them by the position that answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from headwater.events.frame import decode_frame
from headwater.events.log import EventLog
from headwater.events.types import SlateServed
from headwater.learning.sound_events import named_events

_FRAMES_HELD = 64
_STRETCH = 4096
_POSITION_BITS = 48
_INDEX_BITS = 16


def find_record(slate: str, log: EventLog) -> SlateServed | None:
    """The record of a slate. O(log behind it): who asks for a slate mostly asks for a late one, so stretches of the log
    are read from its end, each longer than the one behind it."""
    # The id's own bytes stand in the frame that holds the record: most frames are passed over without decoding.
    needle = msgspec.msgpack.encode(slate)
    first, stop, length = max(log.first(), 1), log.last() + 1, _STRETCH
    while stop > first:
        start = max(first, stop - length)
        found = _record_in(slate, needle, log, start, stop)
        if found is not None:
            return found
        stop, length = start, 2 * length
    return None


def _record_in(slate: str, needle: bytes, log: EventLog, start: int, stop: int) -> SlateServed | None:
    for batch in log.read(start, stop=stop):
        for frame in batch.frames:
            if needle not in frame:
                continue
            for event in decode_frame(frame)[1]:
                if isinstance(event, SlateServed) and event.slate == slate:
                    return event
    return None


class ServedSlates:
    """Which slates a log records whose answering position lies in `since` to `until`, both included.

    Made in one pass; it keeps some 50 bytes for each record and reads the record again when it is its turn.
    `set_aside` counts what the fold does not take either, by reason. Raises `LogCorrupt` for a gap.
    """

    def __init__(self, log: EventLog, max_future_ms: int, *, since: int = 1, until: int | None = None) -> None:
        self.set_aside: Counter[str] = Counter()
        self._log = log
        self._max_future_ms = max_future_ms
        last = log.last() if until is None else min(until, log.last())
        # (answered at, position of the record, index in its frame) as one integer: small, and sorted as such.
        self._order: list[int] = []
        for position, index, _, event in named_events(log, max(log.first(), 1), None, max_future_ms, self.set_aside):
            if isinstance(event, SlateServed) and event.positions and since <= event.positions[0] <= last:
                answered = event.positions[0] << _POSITION_BITS
                self._order.append((answered | position) << _INDEX_BITS | index)
        self._order.sort()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[SlateServed]:
        """The records in the order of the positions that answered."""
        frame = lru_cache(_FRAMES_HELD)(self._records)
        for packed in self._order:
            index, position = packed & ((1 << _INDEX_BITS) - 1), packed >> _INDEX_BITS & ((1 << _POSITION_BITS) - 1)
            yield frame(position)[index]

    def _records(self, position: int) -> dict[int, SlateServed]:
        """The slate records of one frame by their index in it."""
        events = named_events(self._log, position, position + 1, self._max_future_ms, Counter())
        return {index: event for _, index, _, event in events if isinstance(event, SlateServed)}

    def first_position(self) -> int:
        """The first position that answered one of them; 0 if there are none."""
        return 0 if not self._order else self._order[0] >> _POSITION_BITS + _INDEX_BITS
