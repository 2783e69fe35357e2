"""The frame writer and Python's own reader. Golden bytes and refusals: `tests/replay`."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Feedback
from headwater.core import frame_fault
from headwater.errors import InvalidInput, LogCorrupt
from headwater.events.frame import (
    HEADER_LEN,
    MAX_EVENTS,
    MAX_FRAME,
    FrameHeader,
    FrameWriter,
    claimed_events,
    decode_frame,
    decode_header,
    encode_frame,
)
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject, stable_hash
from headwater.events.types import Event

NOW = 1_700_000_000_000
EV3 = Subject(0, 3)


def views(count: int, size: int = 1) -> list[Event]:
    return [Feedback("view", "ann", f"i{n}", NOW, context={"x": "y" * size}) for n in range(count)]


@given(
    st.one_of(
        st.builds(Subject, st.just(0), st.integers(0, 0xFFFF)), st.sampled_from([CATALOGUE_SUBJECT, CONTROL_SUBJECT])
    ),
    *[st.integers(0, 2**64 - 1)] * 3,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(1, MAX_EVENTS),
    st.binary(max_size=200),
)
def test_a_header_reads_back(
    subject: Subject, producer: int, epoch: int, sequence: int, appended: int, count: int, body: bytes
) -> None:
    frame = encode_frame(subject, producer, epoch, sequence, appended, count, body)
    assert decode_header(frame) == FrameHeader(1, subject, producer, epoch, sequence, appended, count)
    assert claimed_events(frame) == count
    assert frame[HEADER_LEN:] == body


def test_of_bytes_that_are_no_frame_some_count_is_claimed() -> None:
    assert [claimed_events(b"x" * size) for size in (0, 40, 41)] == [0, 0, ord("x")]


@pytest.mark.parametrize(("count", "size"), [(0, 10), (-1, 10), (MAX_EVENTS + 1, 10), (1, MAX_FRAME - HEADER_LEN + 1)])
def test_a_frame_keeps_its_limits(count: int, size: int) -> None:
    with pytest.raises(InvalidInput, match="allowed: 1 to 65535 events, 262144 bytes"):
        encode_frame(EV3, 1, 1, 1, NOW, count, bytes(size))


def test_the_largest_frame_is_read() -> None:
    overhead = len(msgspec.msgpack.encode(views(1, 100_000))) - 100_000
    (frame,) = FrameWriter("p", 1).pack(EV3, views(1, MAX_FRAME - HEADER_LEN - overhead), NOW)
    assert len(frame) == MAX_FRAME
    assert frame_fault(frame) is None
    assert decode_header(frame).events == 1


def test_numbers_count_per_subject_from_one() -> None:
    writer = FrameWriter("shop-1", 9)
    headers = [
        decode_header(frame)
        for subject in (EV3, CATALOGUE_SUBJECT, EV3, EV3)
        for frame in writer.pack(subject, views(2), 5)
    ]
    assert [(h.subject, h.sequence) for h in headers] == [(EV3, 1), (CATALOGUE_SUBJECT, 1), (EV3, 2), (EV3, 3)]
    assert {(h.producer, h.epoch, h.appended, h.events) for h in headers} == {(stable_hash("shop-1"), 9, 5, 2)}


def test_a_refused_body_takes_no_number() -> None:
    writer = FrameWriter("shop-1", 1)
    with pytest.raises(InvalidInput):
        writer.body(EV3, 1, bytes(MAX_FRAME), NOW)
    assert decode_header(writer.body(EV3, 1, b"\x90", NOW)).sequence == 1


@pytest.mark.parametrize(("count", "size"), [(1, 10), (7, 60_000), (16, 100_000), (300, 3_000), (1000, 500)])
def test_events_are_split_where_a_frame_would_be_too_large(count: int, size: int) -> None:
    events = views(count, size)
    frames = list(FrameWriter("p", 1).pack(EV3, events, NOW))
    assert all(len(frame) <= MAX_FRAME and frame_fault(frame) is None for frame in frames)
    read = [decode_frame(frame) for frame in frames]
    assert [event for _, group in read for event in group] == events
    assert [header.sequence for header, _ in read] == list(range(1, len(frames) + 1))
    assert len(frames) <= 2 * -(-count * (size + 60) // MAX_FRAME)


def test_events_are_split_at_the_count_that_a_header_holds() -> None:
    events: list[Event] = [Feedback("v", "u", "i", 0)] * (MAX_EVENTS + 1)
    frames = list(FrameWriter("p", 1).pack(EV3, events, NOW))
    assert sum(decode_header(frame).events for frame in frames) == MAX_EVENTS + 1
    assert all(len(frame) <= MAX_FRAME for frame in frames)


def test_one_event_larger_than_a_frame_is_refused() -> None:
    with pytest.raises(InvalidInput, match="an event of") as refused:
        list(FrameWriter("p", 1).pack(EV3, views(1, MAX_FRAME), NOW))
    assert refused.value.details["field"] == "event"


def test_an_event_that_the_fold_would_refuse_alone_refuses_the_whole_for_python() -> None:
    body = msgspec.msgpack.encode([Feedback("view", "ann", "i", NOW), [1, "view", None, "i", NOW]])
    frame = encode_frame(EV3, 1, 1, 1, NOW, 2, body)
    assert frame_fault(frame) is None
    with pytest.raises(LogCorrupt) as refused:
        decode_frame(frame)
    assert refused.value.details["reason"] == "bad-body"


@pytest.mark.parametrize("count", [1, 15, 16, 300, 65_535])
def test_counts_of_every_array_head(count: int) -> None:
    body = msgspec.msgpack.encode([Feedback("", "", "", 0)] * min(count, 300))
    if count == 65_535:
        body = b"\xdc\xff\xff" + b"\xc0" * count
    sound = encode_frame(EV3, 1, 1, 1, NOW, count, body)
    wrong = encode_frame(EV3, 1, 1, 1, NOW, count - 1 or 2, body)
    assert frame_fault(sound) is None
    assert frame_fault(wrong) == "bad-count"
    with pytest.raises(LogCorrupt) as refused:
        decode_frame(wrong)
    assert refused.value.details["reason"] == "bad-count"
