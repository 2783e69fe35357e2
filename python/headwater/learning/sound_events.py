"""The events of a log that the fold would take, in Python.

Repeated frames, damaged frames and refused events are what they are to the fold: counted, and nothing else. Which
ones those are is asked of the core, so that no second opinion can arise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from headwater.core import event_faults, frame_fault
from headwater.errors import LogCorrupt
from headwater.events.frame import HEADER_LEN, FrameHeader, decode_frame, decode_header
from headwater.events.log import EventLog
from headwater.events.subjects import Subject
from headwater.events.types import Event

FRAME_WINDOW = 1024
"""Numbers below a producer's highest that are told apart; lower ones are set aside, as the fold does."""

_bodies = msgspec.msgpack.Decoder(list[msgspec.Raw])
_event = msgspec.msgpack.Decoder(Event)


def sound_events(
    log: EventLog, start: int, stop: int | None, max_future_ms: int, set_aside: Counter[str]
) -> Iterator[tuple[int, FrameHeader, Event]]:
    """(position, header, event) of frames `start` up to, not including, `stop`; what is left out is counted by reason.

    Reads batch by batch. A frame that repeats one before `start` is not known for a repeat. Raises `LogCorrupt` for a
    gap in the log.
    """
    for position, _, header, event in named_events(log, start, stop, max_future_ms, set_aside):
        yield position, header, event


def named_events(
    log: EventLog,
    start: int,
    stop: int | None,
    max_future_ms: int,
    set_aside: Counter[str],
    subjects: Collection[Subject] | None = None,
) -> Iterator[tuple[int, int, FrameHeader, Event]]:
    """`sound_events` with each event's index in its frame: (position, index, header, event); of some subjects only, if
    they are named."""
    received = ReceivedFrames()
    for batch in log.read(start, stop=stop, subjects=subjects):
        for position, frame in zip(batch.positions, batch.frames, strict=True):
            fault = frame_fault(frame)
            if fault is not None:
                set_aside[fault] += 1
                continue
            header = decode_header(frame)
            repeat = received.known(header)
            if repeat is not None:
                set_aside[repeat] += header.events
                continue
            received.note(header)
            for index, event in taken_events(frame, max_future_ms, set_aside):
                yield position, index, header, event


def taken_events(frame: bytes, max_future_ms: int, set_aside: Counter[str]) -> Iterator[tuple[int, Event]]:
    """(index, event) of what the fold would take of a frame."""
    faults = event_faults(frame, max_future_ms)
    set_aside.update(code for _, code in faults)
    refused = {index for index, _ in faults}
    try:
        events = decode_frame(frame)[1]
    except LogCorrupt:  # one bad event refuses the frame there; here only itself
        for index, body in enumerate(_bodies.decode(frame[HEADER_LEN:])):
            if index not in refused:
                try:
                    event = _event.decode(body)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    set_aside["unreadable-event"] += 1
                    continue
                yield index, event
        return
    for index, event in enumerate(events):
        if index not in refused:
            yield index, event


class ReceivedFrames:
    """Frame numbers per subject, producer and epoch, by the rule of `core_rs/src/admission/frames.rs`."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int, int], tuple[int, set[int]]] = {}

    def known(self, header: FrameHeader) -> str | None:
        """Why a frame must not count, or `None`."""
        high, received = self._numbers.get(_key(header), (0, set()))
        if header.sequence <= high - FRAME_WINDOW:
            return "beyond-frame-window"
        return "repeat-frame" if header.sequence in received else None

    def note(self, header: FrameHeader) -> None:
        """A frame was received."""
        high, received = self._numbers.get(_key(header), (0, set()))
        received.add(header.sequence)
        high = max(high, header.sequence)
        if len(received) > 2 * FRAME_WINDOW:
            received = {number for number in received if number > high - FRAME_WINDOW}
        self._numbers[_key(header)] = (high, received)


def _key(header: FrameHeader) -> tuple[int, int, int]:
    return header.subject.number, header.producer, header.epoch
